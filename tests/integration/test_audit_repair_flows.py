"""Every flow survives the loss of everything it owes, again and again: each time the repair owes it anew, done once."""

from __future__ import annotations

import json
from typing import Any

from tests.house import ADA, House
from tests.integration import form526_steps, itf_steps, travel_pay_steps
from tests.integration.steps import command, file_claim, reconfigure
from tests.integration.travel_pay_filing import assert_filed_once, file

ROUNDS = 30
LOSS = "DELETE FROM outbox_messages WHERE state <> 'running' RETURNING 1"
OPEN = """
    SELECT (SELECT count(*) FROM travel_claims WHERE state = 'pending')
         + (SELECT count(*) FROM intents_to_file WHERE state = 'pending')
         + (SELECT count(*) FROM form526_submissions WHERE state = 'pending')
         + (SELECT count(*) FROM travel_pay_claims WHERE state = 'pending')
         + (SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status = 'pending'
               AND poll_due_at IS NULL)
         + (SELECT count(*) FROM notifications WHERE state = 'pending')
"""


def repair(house: House) -> dict[str, Any]:
    result = command(house, "audit", "--repair", "--json")
    assert result.exit_code == 0, result.stdout
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def lose_everything_at_every_step(house: House) -> set[str]:
    """One step of work, everything owed is lost, one repair; until nothing is left. Returns what was mended of whom."""
    mended: set[str] = set()
    for _ in range(ROUNDS):
        if not house.value(OPEN):
            return mended
        house.rows(LOSS)
        done = repair(house)["repaired"]
        assert all(item["mended"] for item in done if item["rule"] == "pending_unowed")
        mended |= {item["about"].split()[0] for item in done if item["rule"] == "pending_unowed"}
        house.beat()
        house.relay.run_once()
        house.run_queued()
    raise AssertionError("it never came to its end")


def test_whatever_is_lost_at_whatever_step_each_is_filed_once_and_told_once(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")
    claim = file_claim(house)
    itf_steps.sign_in(house).ask()
    person = form526_steps.filer(house)
    person.file(person.attach())
    traveled = file(house)
    mended = lose_everything_at_every_step(house)
    everybody = {"travel_claim", "intent_to_file", "form526_submission", "form526_document", "travel_pay_claim"}
    assert mended == {*everybody, "notification"}
    house.rows("UPDATE form526_document_submissions SET poll_due_at = NULL RETURNING 1")
    assert [item["did"] for item in repair(house)["repaired"]] == ["it is due to be asked after again"]
    form526_steps.poll(house)
    assert (claim.state["state"], len(house.submits()), len(house.filed())) == ("submitted", 1, 1)
    assert (len(itf_steps.on_file(house)), len(form526_steps.submissions(house))) == (1, 1)
    assert (form526_steps.statuses(house), len(form526_steps.uploaded(house))) == (["done"], 1)
    assert_filed_once(traveled, "answered")
    told = "SELECT subject_type FROM notifications WHERE state IN ('sent', 'delivered') ORDER BY 1"
    assert [row[0] for row in house.rows(told)] == sorted(everybody - {"form526_document"})
    assert command(house, "audit", "--trace").exit_code == 0


def test_a_lost_notice_of_any_flow_is_asked_after_and_not_sent_twice(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")
    house.control.set("documents", "status", status=400, operation=form526_steps.UPLOADS)
    file_claim(house)
    itf_steps.sign_in(house).ask()
    person = form526_steps.filer(house)
    person.file(person.attach())
    file(house)
    house.work()
    everything = len(house.phone(5))
    before = {str(row[0]) for row in house.rows("SELECT id FROM notifications")}
    assert len(before) == 5
    house.rows("DELETE FROM notifications RETURNING 1")
    assert {item["rule"] for item in repair(house)["repaired"]} == {"unnoticed"}
    house.work()
    assert {str(row[0]) for row in house.rows("SELECT id FROM notifications")} == before, "under their own ids"
    assert len(house.phone(5)) == everything, "VANotify knew them all"
    assert not house.value("SELECT count(*) FROM notifications WHERE state = 'pending'")
    assert travel_pay_steps.on_file(house, ADA)
