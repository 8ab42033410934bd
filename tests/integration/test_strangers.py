"""Answers that are about us, or a stranger's: nobody's work ends by them, and all of it is done afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_filing
from tests.integration.itf_steps import begin_at_noon, itfs, pass_time, sign_in
from tests.integration.steps import file_claim, reconfigure
from tests.integration.travel_pay_reading import mend, refusal
from tests.integration.travel_pay_steps import BEGIN, FIND, MILEAGE, SUBMIT, traveling
from tests.product import ADA, Product

BEN, CARLA = DEFAULT_CAST[1:3]
JSON = {"Content-Type": "application/json"}
SPRING = {"timestamp": "2031-03-04T09:30:00Z", "status": 404, "error": "Not Found", "path": "/accounts/x"}
NO_URL = {"message": "The requested URL was not found on the server.", "result": "error"}
NO_ROUTE = {"message": "no Route matched with those values"}
NO_ENDPOINT = {"errors": [{"status": 404, "code": "not_found", "title": "Endpoint not found."}]}
OPEN = "SELECT count(*) FROM outbox_breakers WHERE upstream = :upstream AND opened_at IS NOT NULL"
FORBIDDEN = {"statusCode": 403, "success": False, "message": "Forbidden", "data": None}


def test_nobodys_work_ends_by_a_mistake_of_ours_or_a_strangers_answer(product: Product) -> None:
    begin_at_noon(product)
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
    for upstream, refused in (("btsss", "submitclaim"), ("accounts", CARLA.account), ("travel_pay", "access-token")):
        product.work(until=lambda u=upstream, r=refused: len(product.control.received(u, r)) > 0)
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


def no_address(product: Product, upstream: str, operation: str, body: dict[str, Any]) -> None:
    product.control.set(upstream, "answer", status=404, body=json.dumps(body), headers=JSON, operation=operation)


@pytest.mark.parametrize("body", [NO_URL, NO_ROUTE])
def test_texts_wait_for_an_address_that_va_notify_does_not_have(product: Product, body: dict[str, Any]) -> None:
    no_address(product, "va_notify", "POST /v2/notifications/sms", body)
    for veteran in (ADA, BEN, CARLA):
        file_claim(product, veteran)
    product.work(until=lambda: product.value(OPEN, upstream="va_notify"))
    _nothing_ended_and_all_is_sent(product, 3)


@pytest.mark.parametrize("body", [NO_URL, NO_ROUTE])
def test_emails_wait_for_an_address_that_va_notify_does_not_have(product: Product, body: dict[str, Any]) -> None:
    no_address(product, "va_notify", "POST /v2/notifications/email", body)
    for veteran in (ADA, BEN, CARLA):
        assert sign_in(product, veteran).post().status_code in (200, 202)
    product.work(until=lambda: product.value(OPEN, upstream="va_notify"))
    _nothing_ended_and_all_is_sent(product, 3)


def _nothing_ended_and_all_is_sent(product: Product, count: int) -> None:
    states = {row.state for row in product.rows("SELECT state FROM notifications")}
    assert (states, product.cases()) == ({"pending"}, [])
    product.control.clear("va_notify")
    product.work()
    states_after = [row.state for row in product.rows("SELECT state FROM notifications")]
    assert (states_after, product.cases()) == (["sent"] * count, [])


@pytest.mark.parametrize("operation", [FIND, BEGIN, MILEAGE, SUBMIT])
def test_a_step_waits_for_an_address_that_travel_pay_does_not_have(product: Product, operation: str) -> None:
    no_address(product, "travel_pay", operation, NO_ENDPOINT)
    filings = [travel_pay_filing.file(product, veteran) for veteran in (ADA, BEN, CARLA)]
    product.work(until=lambda: product.value(OPEN, upstream="travel_pay"))
    assert ({filing.stands[0] for filing in filings}, product.cases()) == ({"pending"}, [])
    assert product.rows("SELECT kind FROM notifications") == []
    product.control.clear("travel_pay")
    product.work()
    for filing in filings:
        travel_pay_filing.assert_filed_once(filing, "answered")


@pytest.mark.parametrize("path", ["claims", "claims/{id}"])
def test_a_read_never_says_that_a_claim_is_not_there_for_want_of_an_address(product: Product, path: str) -> None:
    filing = travel_pay_filing.file(product)
    product.work()
    claim_id = filing.row["claim_id"]
    url = f"/travel_pay/v0/{path}".format(id=claim_id)
    no_address(product, "travel_pay", "GET /api/v3/claims" if "{id}" in path else "GET /api/v2/claims", NO_ENDPOINT)
    response = traveling(product).get(url)
    assert refusal(response)[0] in (502, 503)
    assert "no such claim" not in response.text
    mend(product)
    assert traveling(product).get(url).status_code == 200
