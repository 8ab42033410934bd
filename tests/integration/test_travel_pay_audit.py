"""The audit of travel pay claims: each is outstanding, held or notified at every step; each loss is found."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import text

from flaskapp.audit.report import audit, standing_of
from flaskapp.db import transaction
from flaskapp.travel_pay.service import TRAVEL_PAY_SUBJECT
from jobs import housekeeping
from tests.integration.steps import command
from tests.integration.travel_pay_filing import BEN, CARLA, DOV, ELENA, JONAS, Filing, come_to, file, plant
from tests.integration.travel_pay_steps import SUBMIT
from tests.product import Product

PARKED = "UPDATE outbox_messages SET state = 'parked', fence = id, parked_reason = 'x'"
CLAIMS = "UPDATE travel_pay_claims SET"


def standings(product: Product, loss: str = "SELECT 1") -> dict[str, str]:
    """The standing of each claim after this loss, which is rolled back, by the claim's id."""
    with transaction() as session:
        nested = session.begin_nested()
        session.execute(text(loss))
        rows = session.execute(text(standing_of(TRAVEL_PAY_SUBJECT)), {"since": None, "until": None, "unpromised": []})
        found = {row.subject_id: row.standing for row in rows}
        counted = audit(session)
        nested.rollback()
    assert counted.standings["travel_pay_claim"] == dict(Counter(found.values()))
    return found


def at_every_step(product: Product, filing: Filing) -> list[str]:
    """Its standing, and that after the loss of its message, before each step and when its e-mail is outstanding."""
    found = []
    for step in ("appointment", "claim", "expense", "submit"):
        come_to(product, step, filing)
        found += [standings(product)[filing.id], standings(product, PARKED)[filing.id]]
    product.work(until=lambda: product.value("SELECT count(*) FROM notifications"))
    found += [standings(product)[filing.id], standings(product, "DELETE FROM notifications")[filing.id]]
    product.work()
    return [*found, standings(product)[filing.id]]


def test_every_claim_is_accounted_for_and_every_loss_is_found(product: Product) -> None:
    submitted = file(product)
    assert standings(product) == {submitted.id: "outstanding"}
    assert standings(product, "DELETE FROM outbox_messages") == {submitted.id: "unaccounted"}
    assert at_every_step(product, submitted) == ["outstanding", "unaccounted"] * 5 + ["notified"]
    plant(product, BEN)
    duplicate, refused, half = file(product, BEN), file(product, JONAS), file(product, CARLA)
    product.control.set("travel_pay", "status", status=404, operation=SUBMIT)
    product.work()
    waiting, working = file(product, DOV), file(product, ELENA)
    come_to(product, "claim", working, waiting)
    notified = [submitted.id, duplicate.id]
    held, outstanding = [refused.id, half.id], [waiting.id, working.id]
    sound = (
        dict.fromkeys(notified, "notified") | dict.fromkeys(held, "held") | dict.fromkeys(outstanding, "outstanding")
    )
    assert standings(product) == sound
    lost = "unaccounted"
    losses = {
        "DELETE FROM outbox_messages": dict.fromkeys(outstanding, lost),
        PARKED: dict.fromkeys(outstanding, lost),
        "DELETE FROM cases": dict.fromkeys(held, "notified"),
        "DELETE FROM notifications": dict.fromkeys(notified, lost),
        "UPDATE notifications SET kind = 'other'": dict.fromkeys(notified, lost),
        "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()": dict.fromkeys(notified, lost),
        f"{CLAIMS} notification = NULL": dict.fromkeys(notified, lost),
        f"{CLAIMS} cycle = 2": dict.fromkeys(notified, lost),
        f"{CLAIMS} state = 'pending', finished_at = NULL WHERE id = '{submitted.id}'": {submitted.id: lost},
    }
    found = {loss: standings(product, loss) for loss in losses}
    assert found == {loss: sound | changed for loss, changed in losses.items()}
    assert_a_lost_one_becomes_a_case(product, waiting)


def assert_a_lost_one_becomes_a_case(product: Product, filing: Filing) -> None:
    """The command names it until the periodic audit has opened one case for it."""
    product.rows("DELETE FROM outbox_messages WHERE subject_id = :id RETURNING 1", id=filing.id)
    result = command(product, "audit", "--json")
    (found,) = json.loads(result.output)["findings"]
    assert (result.exit_code, found["subject_type"], found["subject_id"]) == (1, "travel_pay_claim", filing.id)
    for _ in range(2):
        housekeeping.audit_all()
    assert (filing.cases, standings(product)[filing.id]) == (["unaccounted"], "held")
    assert command(product, "audit").exit_code == 0
