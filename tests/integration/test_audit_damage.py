"""Damage that keeps work from being done, or has it done twice: its own rule finds it, and it spreads no further."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from flaskapp.db import transaction
from flaskapp.travel_pay.service import Filed, record_submitted
from tests.integration import form526_steps
from tests.integration.steps import call, command, file_claim, lose, refused, take
from tests.integration.test_audit_repair import broken_rules, damage, found
from tests.integration.travel_pay_filing import Filing, assert_filed_once, file
from tests.product import Product

FAR_FUTURE = "timestamptz '3000-01-01'"
PUBLISHED = "state = 'published', fence = 1, published_at = outbox_now()"


def fault_rules(product: Product) -> set[str]:
    return {item["rule"] for item in found(product)["faults"]}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("queue = 'nowhere'", "unserved"),
        (f"queue = 'nowhere', {PUBLISHED}", "unserved"),
        ("upstream = NULL", "unserved"),
        ("upstream = 'accounts'", "unserved"),
        (f"state = 'later', due_at = {FAR_FUTURE}", "waits_for_ever"),
        (f"deadline_at = {FAR_FUTURE}", "waits_for_ever"),
        (f"give_up_at = {FAR_FUTURE}, budget_from = {FAR_FUTURE}", "waits_for_ever"),
        (f"state = 'published', fence = 1, published_at = {FAR_FUTURE}", "waits_for_ever"),
    ],
)
def test_work_that_would_never_be_done_is_found_and_done(product: Product, change: str, rule: str) -> None:
    claim = file_claim(product)
    damage(product, f"UPDATE outbox_messages SET {change}")
    assert fault_rules(product) == {rule}
    repaired = found(product, "--repair")
    assert [(item["rule"], item["repaired"]) for item in repaired["repaired"]] == [(rule, True)]
    assert (repaired["fault_count"], product.cases()) == (0, [])
    if "published" in change:
        # The relay would detect only after some seconds that Redis does not hold this pointer.
        damage(product, "UPDATE outbox_messages SET state = 'ready'")
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)


def test_a_message_of_an_unknown_job_is_parked_for_a_human(product: Product) -> None:
    file_claim(product)
    damage(product, "UPDATE outbox_messages SET job = 'jobs.nowhere'")
    assert fault_rules(product) == {"unserved"}
    assert found(product, "--repair")["fault_count"] == 0
    assert ([message["state"] for message in product.messages()], product.cases()) == (["parked"], ["contradiction"])
    assert command(product, "audit").exit_code == 0, "a named human has it"


def test_a_deleted_open_question_is_looked_up_before_anything_is_sent_again(product: Product) -> None:
    claim = file_claim(product)
    grant = take(product, claim)
    assert call(product, grant).kind == "accepted"
    lose(product, grant)
    assert command(product, "audit").exit_code == 0
    damage(product, "UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL")
    assert fault_rules(product) == {"question_lost"}
    assert [item["repaired"] for item in found(product, "--repair")["repaired"]] == [True]
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)


def test_two_look_ups_that_find_nothing_answer_the_open_question(product: Product) -> None:
    """Then the question is closed rightly, and sending the claim again is no fault."""
    claim = file_claim(product)
    lose(product, take(product, claim))
    denied = "SELECT count(*) FROM outbox_attempts WHERE purpose = 'look_up' AND answered AND error_detail IS NULL"
    seen: set[str] = set()

    def looked_up_twice() -> bool:
        seen.update(fault_rules(product))
        return bool(product.value(denied) >= 2)

    product.work(until=looked_up_twice)
    assert seen == set()
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)


@pytest.mark.parametrize("filed", [False, True])
def test_missing_file_bytes_are_found_while_they_are_needed_and_left_to_a_human(product: Product, filed: bool) -> None:
    person = form526_steps.filer(product)
    person.file(person.attach())
    if filed:
        product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))
    assert broken_rules(product) == set()
    damage(product, "DELETE FROM form526_attachment_chunks")
    (item,) = found(product)["broken"]
    subject = "form526_document" if filed else "form526_submission"
    rule = "document_bytes_missing" if filed else "form_bytes_missing"
    assert (item["rule"], item["subject_type"]) == (
        rule,
        subject,
    )
    (left,) = found(product, "--repair")["repaired"]
    assert (left["repaired"], product.cases()) == (False, ["contradiction"])
    assert command(product, "audit").exit_code == 0, "a named human has it"


def set_back(product: Product, filing: Filing) -> Any:
    """Damage: before its submission, the claim's row says that the mileage is missing."""
    product.work(until=lambda: filing.stands == ("pending", "submit"))
    assert broken_rules(product) == set()
    damage(product, "UPDATE travel_pay_claims SET step = 'expense'")
    return filing.message


def test_a_step_set_back_is_found_and_its_work_is_parked_until_a_human_corrects_it(product: Product) -> None:
    filing = file(product)
    message = set_back(product, filing)
    assert broken_rules(product) == {"step_and_work_differ"}
    (left,) = found(product, "--repair")["repaired"]
    assert (left["repaired"], filing.message["state"], filing.cases) == (False, "parked", ["contradiction"])
    damage(product, "UPDATE travel_pay_claims SET step = 'submit'")
    case = str(product.value("SELECT id FROM cases"))
    assert command(product, "cases", "close", case, "--resolution", "corrected").exit_code == 0
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    product.work()
    assert_filed_once(filing, "answered")


def test_work_for_a_step_set_back_stays_outstanding_until_the_step_is_corrected(product: Product) -> None:
    filing = file(product)
    message = set_back(product, filing)
    tried = "SELECT count(*) FROM outbox_attempts WHERE message_id = :id AND status = 'error'"
    product.work(until=lambda: product.value(tried, id=message["id"]) >= 2)
    assert filing.message["id"] == message["id"], "it did not end as if it were done"
    damage(product, "UPDATE travel_pay_claims SET step = 'submit'")
    product.work()
    assert_filed_once(filing, "answered")


def test_a_result_for_a_step_set_back_goes_to_a_human(product: Product) -> None:
    filing = file(product)
    set_back(product, filing)
    with transaction() as session:
        record_submitted(session, filing.id, Filed("c", "answered"))
    assert (filing.stands, filing.cases) == (("pending", "expense"), ["contradiction"])


def test_postgres_refuses_a_case_of_an_unknown_kind(product: Product) -> None:
    refused(product)
    with pytest.raises(IntegrityError, match="ck_cases_kind"):
        product.rows("UPDATE cases SET kind = 'zzz' RETURNING 1")
