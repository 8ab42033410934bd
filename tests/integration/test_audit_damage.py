"""Damage that keeps work from ever being done, or has it done twice, is found by its own rule and goes no further."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from flaskapp.db import transaction
from flaskapp.travel_pay.record import record_submitted
from flaskapp.travel_pay.service import Filed
from flaskapp.works import WORKS
from jobs.registry import SPECS
from tests.house import House
from tests.integration import form526_steps
from tests.integration.steps import call, command, file_claim, lose, refused, take
from tests.integration.test_audit_repair import broken_rules, damage, found
from tests.integration.travel_pay_filing import Filing, assert_filed_once, file

AFAR = "timestamptz '3000-01-01'"
PUBLISHED = "state = 'published', fence = 1, published_at = outbox_now()"


def fault_rules(house: House) -> set[str]:
    return {item["rule"] for item in found(house)["faults"]}


def test_the_list_of_what_is_served_is_the_list_of_jobs() -> None:
    assert {path: spec.queue for path, spec in SPECS.items()} == WORKS


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("queue = 'nowhere'", "unserved"),
        (f"queue = 'nowhere', {PUBLISHED}", "unserved"),
        ("upstream = NULL", "unserved"),
        ("upstream = 'accounts'", "unserved"),
        (f"state = 'later', due_at = {AFAR}", "waits_for_ever"),
        (f"deadline_at = {AFAR}", "waits_for_ever"),
        (f"give_up_at = {AFAR}, budget_from = {AFAR}", "waits_for_ever"),
        (f"state = 'published', fence = 1, published_at = {AFAR}", "waits_for_ever"),
    ],
)
def test_what_would_never_be_done_is_found_and_done(house: House, change: str, rule: str) -> None:
    asked = file_claim(house)
    damage(house, f"UPDATE outbox_messages SET {change}")
    assert fault_rules(house) == {rule}
    mended = found(house, "--repair")
    assert [(item["rule"], item["mended"]) for item in mended["repaired"]] == [(rule, True)]
    assert (mended["fault_count"], house.cases()) == (0, [])
    if "published" in change:
        # What Redis does not hold the relay misses after some seconds.
        damage(house, "UPDATE outbox_messages SET state = 'ready'")
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)


def test_a_job_nobody_knows_is_parked_for_a_human(house: House) -> None:
    file_claim(house)
    damage(house, "UPDATE outbox_messages SET job = 'jobs.nowhere'")
    assert fault_rules(house) == {"unserved"}
    assert found(house, "--repair")["fault_count"] == 0
    assert ([message["state"] for message in house.messages()], house.cases()) == (["parked"], ["contradiction"])
    assert command(house, "audit").exit_code == 0, "a named human has it"


def test_a_question_that_was_wiped_out_is_asked_before_anything_is_sent_again(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    assert call(house, held).kind == "accepted"
    lose(house, held)
    assert command(house, "audit").exit_code == 0
    damage(house, "UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL")
    assert fault_rules(house) == {"question_lost"}
    assert [item["mended"] for item in found(house, "--repair")["repaired"]] == [True]
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)


def test_two_look_ups_that_deny_a_write_answer_the_question(house: House) -> None:
    """Then it is gone by rights, and what is sent again is no fault."""
    asked = file_claim(house)
    lose(house, take(house, asked))
    denied = "SELECT count(*) FROM outbox_attempts WHERE purpose = 'look_up' AND answered AND error_detail IS NULL"
    seen: set[str] = set()

    def looked() -> bool:
        seen.update(fault_rules(house))
        return bool(house.value(denied) >= 2)

    house.work(until=looked)
    assert seen == set()
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)


@pytest.mark.parametrize("filed", [False, True])
def test_bytes_that_are_gone_while_they_are_owed_are_found_and_left_to_a_human(house: House, filed: bool) -> None:
    person = form526_steps.filer(house)
    person.file(person.attach())
    if filed:
        house.work(until=lambda: house.value("SELECT count(*) FROM form526_document_submissions"))
    assert broken_rules(house) == set()
    damage(house, "DELETE FROM form526_attachment_chunks")
    (item,) = found(house)["broken"]
    subject = "form526_document" if filed else "form526_submission"
    assert (item["rule"], item["subject_type"]) == ("bytes_missing", subject)
    (left,) = found(house, "--repair")["repaired"]
    assert (left["mended"], house.cases()) == (False, ["contradiction"])
    assert command(house, "audit").exit_code == 0, "a named human has it"


def set_back(house: House, filing: Filing) -> Any:
    """Before its submission, the claim's row says that the mileage is missing."""
    house.work(until=lambda: filing.stands == ("pending", "submit"))
    assert broken_rules(house) == set()
    damage(house, "UPDATE travel_pay_claims SET step = 'expense'")
    return filing.message


def test_a_step_set_back_is_found_and_its_work_parked_until_a_human_set_it_right(house: House) -> None:
    filing = file(house)
    message = set_back(house, filing)
    assert broken_rules(house) == {"step_and_work_differ"}
    (left,) = found(house, "--repair")["repaired"]
    assert (left["mended"], filing.message["state"], filing.cases) == (False, "parked", ["contradiction"])
    damage(house, "UPDATE travel_pay_claims SET step = 'submit'")
    case = str(house.value("SELECT id FROM cases"))
    assert command(house, "cases", "close", case, "--resolution", "set right").exit_code == 0
    assert command(house, "outbox", "requeue", str(message["id"])).exit_code == 0
    house.work()
    assert_filed_once(filing, "answered")


def test_work_for_a_step_set_back_stays_owed_and_is_done_once_its_turn_has_come(house: House) -> None:
    filing = file(house)
    message = set_back(house, filing)
    tried = "SELECT count(*) FROM outbox_attempts WHERE message_id = :id AND status = 'error'"
    house.work(until=lambda: house.value(tried, id=message["id"]) >= 2)
    assert filing.message["id"] == message["id"], "it did not end as if it were done"
    damage(house, "UPDATE travel_pay_claims SET step = 'submit'")
    house.work()
    assert_filed_once(filing, "answered")


def test_what_was_done_for_a_step_set_back_meanwhile_is_a_humans(house: House) -> None:
    filing = file(house)
    set_back(house, filing)
    with transaction() as session:
        record_submitted(session, filing.id, Filed("c", "answered"))
    assert (filing.stands, filing.cases) == (("pending", "expense"), ["contradiction"])


def test_postgres_knows_no_case_of_a_kind_that_nobody_can_act_on(house: House) -> None:
    refused(house)
    with pytest.raises(IntegrityError, match="ck_cases_kind"):
        house.rows("UPDATE cases SET kind = 'zzz' RETURNING 1")
