"""A signed-in travel pay claim is owed, held or told at every moment of its way; whatever is lost is found."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import text

from flaskapp.audit.report import TRAVEL_PAY, audit
from flaskapp.db import transaction
from jobs import housekeeping
from tests.house import House
from tests.integration.steps import command
from tests.integration.travel_pay_filing import BEN, CARLA, DOV, ELENA, JONAS, Filing, come_to, file, plant
from tests.integration.travel_pay_steps import SUBMIT

PARKED = "UPDATE outbox_messages SET state = 'parked', fence = id, parked_reason = 'x'"
CLAIMS = "UPDATE travel_pay_claims SET"


def standings(house: House, loss: str = "SELECT 1") -> dict[str, str]:
    """How each claim would stand after this loss, which does not happen: its standing by its id."""
    with transaction() as session:
        nested = session.begin_nested()
        session.execute(text(loss))
        rows = session.execute(text(TRAVEL_PAY), {"since": None, "until": None})
        found = {row.subject_id: row.standing for row in rows}
        counted = audit(session)
        nested.rollback()
    assert counted.standings["travel_pay_claim"] == dict(Counter(found.values()))
    return found


def at_every_step(house: House, filing: Filing) -> list[str]:
    """How it stands, and what would be of it without its message, before each step and once its e-mail is owed."""
    found = []
    for step in ("appointment", "claim", "expense", "submit"):
        come_to(house, step, filing)
        found += [standings(house)[filing.id], standings(house, PARKED)[filing.id]]
    house.work(until=lambda: house.value("SELECT count(*) FROM notifications"))
    found += [standings(house)[filing.id], standings(house, "DELETE FROM notifications")[filing.id]]
    house.work()
    return [*found, standings(house)[filing.id]]


def test_every_claim_is_accounted_for_and_every_loss_is_found(house: House) -> None:
    submitted = file(house)
    assert standings(house) == {submitted.id: "owed"}
    assert standings(house, "DELETE FROM outbox_messages") == {submitted.id: "unaccounted"}
    assert at_every_step(house, submitted) == ["owed", "unaccounted"] * 5 + ["told"]
    plant(house, BEN)
    duplicate, refused, half = file(house, BEN), file(house, JONAS), file(house, CARLA)
    house.control.set("travel_pay", "status", status=400, operation=SUBMIT)
    house.work()
    waiting, working = file(house, DOV), file(house, ELENA)
    come_to(house, "claim", working, waiting)
    told = [submitted.id, duplicate.id]
    held, owed = [refused.id, half.id], [waiting.id, working.id]
    sound = dict.fromkeys(told, "told") | dict.fromkeys(held, "held") | dict.fromkeys(owed, "owed")
    assert standings(house) == sound
    lost = "unaccounted"
    losses = {
        "DELETE FROM outbox_messages": dict.fromkeys(owed, lost),
        PARKED: dict.fromkeys(owed, lost),
        "DELETE FROM cases": dict.fromkeys(held, "told"),
        "DELETE FROM notifications": dict.fromkeys(told, lost),
        "UPDATE notifications SET kind = 'other'": dict.fromkeys(told, lost),
        "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()": dict.fromkeys(told, lost),
        f"{CLAIMS} notice = NULL": dict.fromkeys(told, lost),
        f"{CLAIMS} cycle = 2": dict.fromkeys(told, lost),
        f"{CLAIMS} state = 'pending', finished_at = NULL WHERE id = '{submitted.id}'": {submitted.id: lost},
    }
    found = {loss: standings(house, loss) for loss in losses}
    assert found == {loss: sound | changed for loss, changed in losses.items()}
    assert_a_lost_one_becomes_a_case(house, waiting)


def assert_a_lost_one_becomes_a_case(house: House, filing: Filing) -> None:
    """Named by the command until the beat has put it into somebody's hands, once."""
    house.rows("DELETE FROM outbox_messages WHERE subject_id = :id RETURNING 1", id=filing.id)
    result = command(house, "audit", "--json")
    (found,) = json.loads(result.output)["findings"]
    assert (result.exit_code, found["subject_type"], found["subject_id"]) == (1, "travel_pay_claim", filing.id)
    for _ in range(2):
        housekeeping.audit_all()
    assert (filing.cases, standings(house)[filing.id]) == (["unaccounted"], "held")
    assert command(house, "audit").exit_code == 0
