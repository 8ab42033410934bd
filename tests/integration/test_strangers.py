"""Answers that are about us, or a stranger's: nobody's work ends by them, and all of it is done afterwards."""

from __future__ import annotations

import json

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_filing
from tests.integration.itf_steps import itfs, pass_time, sign_in
from tests.integration.steps import file_claim, reconfigure
from tests.integration.travel_pay_reading import mend
from tests.product import Product

BEN, CARLA = DEFAULT_CAST[1:3]
JSON = {"Content-Type": "application/json"}
SPRING = {"timestamp": "2031-03-04T09:30:00Z", "status": 404, "error": "Not Found", "path": "/accounts/x"}
FORBIDDEN = {"statusCode": 403, "success": False, "message": "Forbidden", "data": None}


def test_nobodys_work_ends_by_a_mistake_of_ours_or_a_strangers_answer(product: Product) -> None:
    config = product.app.extensions["config"]
    right = {name: getattr(config, name) for name in ("btsss_client_number", "btsss_client_number_oh")}
    reconfigure(product, **dict.fromkeys(right, "9999"))
    product.control.set(
        "accounts", "answer", status=404, body=json.dumps(SPRING), headers=JSON, operation=CARLA.account
    )
    forbidden = {"body": json.dumps(FORBIDDEN), "headers": JSON, "operation": "Auth/access-token"}
    product.control.set("travel_pay", "answer", status=403, **forbidden)
    claim, person, filing = file_claim(product), sign_in(product, CARLA), travel_pay_filing.file(product, BEN)
    person.post()
    for upstream, refusal in (("btsss", "submitclaim"), ("accounts", CARLA.account), ("travel_pay", "access-token")):
        product.work(until=lambda u=upstream, r=refusal: len(product.control.received(u, r)) > 0)
    product.run_queued()
    waiting = (claim.state["state"], [each["state"] for each in itfs(product)], filing.stands[0])
    assert (waiting, product.cases()) == (("pending", ["pending"], "pending"), [])
    assert product.rows("SELECT kind FROM notifications") == []
    reconfigure(product, **right)
    mend(product, "accounts", "travel_pay")
    pass_time(product, hours=1)
    product.work()
    done = (claim.state["state"], [each["state"] for each in itfs(product)], filing.stands[0])
    assert (done, product.cases()) == (("submitted", ["confirmed"], "submitted"), [])
