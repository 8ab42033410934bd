"""Retention: what rows hold of a person goes when its use has ended, then the rows; what is still of use stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import housekeeping
from tests.integration import travel_pay_steps
from tests.integration.form526_steps import filer, poll
from tests.integration.itf_steps import pass_time, sign_in
from tests.integration.steps import command, file_claim, reconfigure, refused, sweep
from tests.integration.test_audit_repair import found
from tests.product import ADA, Product, eventually


def retain(product: Product, **span: float) -> None:
    """Let time pass, then run the sweep and retention as the scheduler does.

    VANotify gets the moment that it needs first: after days without a delivery, a notification counts as undeliverable.
    """
    eventually(lambda: len(product.control.phone()) == len(product.control.call("GET", "va_notify", "notifications")))
    pass_time(product, **span)
    sweep(product)
    housekeeping.poll_documents()
    product.work()
    housekeeping.retain()


def close_cases(product: Product) -> None:
    for (case,) in product.rows("SELECT id FROM cases WHERE closed_at IS NULL"):
        assert command(product, "cases", "note", str(case), "called her at home").exit_code == 0
        assert command(product, "cases", "close", str(case), "--resolution", "told Ada by phone").exit_code == 0


def clean(product: Product) -> None:
    """No audit finds anything, neither the counts and rules nor the trace."""
    report = found(product, "--trace")
    assert (report["unaccounted"], report["broken"], report["faults"]) == (0, [], [])
    assert report["trace"]["illegal"] == []
    housekeeping.audit_all()


def claim(product: Product) -> Callable[[], Any]:
    filed = file_claim(product)
    product.work()
    before = filed.state
    assert before["claim_number_last_four"]

    def read() -> None:
        assert filed.state == before, "what is known is still shown"
        assert product.ask(product.sign_in(), ADA).get_json()["data"]["id"] == filed.id, "it is still the same claim"

    return read


def failed_claim(product: Product) -> Callable[[], Any]:
    filed = refused(product)
    close_cases(product)

    def read() -> None:
        assert filed.state["state"] == "failed"
        assert product.ask(product.sign_in(), ADA).get_json()["data"]["id"] == filed.id
        assert product.messages() == [], "the parked message that nobody requeued is gone"

    return read


def form(product: Product) -> Callable[[], Any]:
    ana = filer(product)
    letter = ana.attach()
    filed = ana.file(letter, form0781={"screenedPtsd": True})
    product.work()
    poll(product)

    def read() -> None:
        assert ana.word(filed) == "success"
        assert {each["status"] for each in ana.documents(filed)} == {"done"}
        assert all(each["name"] for each in ana.documents(filed))
        again = filer(product).file(letter, form0781={"screenedPtsd": True})
        assert again["submissionId"] == filed["submissionId"]

    return read


def travel_pay(product: Product) -> Callable[[], Any]:
    traveler = travel_pay_steps.traveling(product)
    claim_id = traveler.file()
    product.work()

    def read() -> None:
        again = travel_pay_steps.traveling(product).post()
        assert again.status_code < 300, again.text
        assert str(product.value("SELECT id FROM travel_pay_claims")) == claim_id

    return read


def itf(product: Product) -> Callable[[], Any]:
    sign_in(product).ask()
    product.work()

    def read() -> None:
        assert [each["recordState"] for each in sign_in(product).shown()] == ["confirmed"]

    return read


CONTENT = """
    SELECT 'claim' FROM travel_claims WHERE identity IS NOT NULL
    UNION ALL SELECT 'form' FROM form526_submissions WHERE form IS NOT NULL
    UNION ALL SELECT 'document' FROM form526_document_submissions WHERE name IS NOT NULL OR upstream_error IS NOT NULL
    UNION ALL SELECT 'file' FROM form526_attachments WHERE name IS NOT NULL
    UNION ALL SELECT 'travel pay' FROM travel_pay_claims WHERE requested IS NOT NULL
    UNION ALL SELECT 'notification' FROM notifications WHERE recipient IS NOT NULL OR personalisation IS NOT NULL
    UNION ALL SELECT 'case' FROM cases WHERE resolution IS NOT NULL OR notes <> '[]' OR details ? 'asked_on'
"""


def content(product: Product) -> set[str]:
    return {row[0] for row in product.rows(CONTENT)}


@pytest.mark.parametrize("flow", [claim, failed_claim, form, travel_pay])
def test_content_of_what_ended_is_removed_and_what_is_known_is_still_shown(
    product: Product, flow: Callable[[Product], Callable[[], Any]]
) -> None:
    read = flow(product)
    before = content(product)
    retain(product, days=29)
    assert content(product) == before
    retain(product, days=92)
    assert (content(product), product.value("SELECT count(*) FROM accounts WHERE identity IS NOT NULL")) == (set(), 0)
    clean(product)
    read()
    assert product.cases() == []


def test_an_itf_needs_its_person_for_its_year_and_no_longer(product: Product) -> None:
    read = itf(product)
    for days in (100, 200, 60):
        retain(product, days=days)
        assert product.value("SELECT count(*) FROM accounts WHERE identity IS NOT NULL") == 1
        read()
    retain(product, days=10)
    assert product.value("SELECT count(*) FROM accounts WHERE identity IS NOT NULL") == 0
    clean(product)
    sign_in(product).ask()
    product.work()
    assert [each["recordState"] for each in sign_in(product).shown()] == ["confirmed"], "looked up again"


def test_nothing_goes_that_a_human_has_or_that_is_outstanding(product: Product) -> None:
    refused(product)
    ana = filer(product)
    product.control.turn("documents", plans={"L023": "fails_at_claims_evidence"}, step_seconds=1)
    ana.file(ana.attach())
    product.work()
    poll(product)
    assert sorted(product.cases()) == ["document_failed", "refused"]
    before = content(product)
    retain(product, days=100)
    assert content(product) >= before - {"file"}
    product.control.play("btsss", "ok")
    (message,) = [each for each in product.messages() if each["subject_type"] == "travel_claim"]
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    product.work()
    assert product.cases() == ["document_failed"]


def test_what_was_emptied_cannot_be_taken_up_again(product: Product) -> None:
    ana = filer(product)
    product.control.turn("documents", plans={"L023": "fails_at_claims_evidence"}, step_seconds=1)
    ana.file(ana.attach())
    product.work()
    poll(product)
    close_cases(product)
    retain(product, days=100)
    document = product.value("SELECT id FROM form526_document_submissions WHERE lighthouse_status = 'failed'")
    refusal = command(product, "documents", "upload-again", str(document))
    assert (refusal.exit_code, "removed long after its end" in refusal.output) == (1, True)
    assert command(product, "documents", "delivered", str(document), "--note", "by hand").exit_code == 0
    clean(product)


def test_rows_are_removed_with_their_history_and_nobody_is_accused(product: Product) -> None:
    for flow in (failed_claim, form, travel_pay, itf):
        flow(product)
    reconfigure(product, keep_history_months=13)
    for days in (100, 300):
        retain(product, days=days)
        clean(product)
    assert product.value("SELECT count(*) FROM travel_claims") == 1
    for _ in range(4):
        retain(product, days=31)
        clean(product)
    for _ in range(3):
        retain(product, hours=1)
    left = {table: product.value(f"SELECT count(*) FROM {table}") for table in TABLES}
    assert left == dict.fromkeys(TABLES, 0)


RECORDS = ("outbox_history", "outbox_attempts", "outbox_messages", "notifications", "cases")


def test_nobody_is_accused_whose_records_may_be_gone(product: Product) -> None:
    """Whatever is missing of what ended before that time: history, attempts, notifications and cases."""
    for flow in (failed_claim, form, travel_pay, itf):
        flow(product)
    product.rows("UPDATE travel_pay_claims SET state = 'failed', step = 'appointment' RETURNING 1")
    pass_time(product, days=1)
    for table in RECORDS:
        product.rows(f"DELETE FROM {table} RETURNING 1")
    report = found(product, "--trace")
    accused = {each["subject_type"] for each in report["broken"]}
    assert {"travel_claim", "form526_submission", "form526_document", "travel_pay_claim", "intent_to_file"} <= accused
    assert (report["unaccounted"] > 3, len(report["trace"]["illegal"]) > 3) == (True, True)
    product.rows("UPDATE outbox_retention SET kept_since = outbox_now() RETURNING 1")
    clean(product)
    assert found(product)["standings"]["travel_claim"] == {"past": 1}


TABLES = (
    *("travel_claims", "travel_pay_claims", "intents_to_file", "itf_first_looks", "form526_submissions"),
    *("form526_document_submissions", "form526_attachments", "form526_attachment_chunks", "notifications", "cases"),
    *("accounts", "outbox_messages", "outbox_attempts", "outbox_history", "contact_discrepancies"),
    *("idempotency_keys", "check_in_sessions"),
)
