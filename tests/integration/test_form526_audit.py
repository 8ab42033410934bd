"""The audit of forms and documents: each is outstanding, watched, held or notified at all times; each loss is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from flaskapp.audit.report import audit
from flaskapp.db import transaction
from jobs import housekeeping
from tests.integration.form526_steps import UPLOADS, evidence, filer, grant, message_of, poll
from tests.integration.itf_steps import mails
from tests.integration.steps import command, reconfigure
from tests.product import Product

FORM, DOCUMENT = "form526_submission", "form526_document"
GONE_MESSAGES = "DELETE FROM outbox_messages"
GONE_CASES = "DELETE FROM cases"
PARKED = (
    "UPDATE outbox_messages SET state = 'parked', fence = id, parked_reason = 'x' WHERE state IN ('ready', 'later')"
)
DOCUMENTS = "UPDATE form526_document_submissions SET"


class Undo(Exception):
    """Ends a transaction that only read."""


@pytest.fixture(autouse=True)
def one_document_a_form(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")


def standing(product: Product, subject_type: str, *losses: str) -> str:
    """The standing of the one form or document after these losses, which are rolled back."""
    found: list[dict[str, int]] = []
    try:
        with transaction() as session:
            for loss in losses:
                assert session.execute(text(f"{loss} RETURNING 1")).all(), loss
            found.append(audit(session).standings[subject_type])
            raise Undo
    except Undo:
        ((name, count),) = found[0].items()
        assert count == 1
        return name


def assert_lost(product: Product, subject_type: str, *ways: tuple[str, ...]) -> None:
    for losses in ways:
        assert standing(product, subject_type, *losses) == "unaccounted", losses


def file_form(product: Product) -> None:
    person = filer(product)
    person.file(person.attach())


def accepted(product: Product) -> None:
    file_form(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))


def test_a_form_is_outstanding_until_it_is_accepted_and_notified(product: Product) -> None:
    file_form(product)
    assert standing(product, FORM) == "outstanding"
    assert_lost(product, FORM, (GONE_MESSAGES,), (PARKED,))
    product.work(until=lambda: product.value("SELECT identity IS NOT NULL FROM accounts"))
    grant(product, product.value("SELECT id FROM form526_submissions"))
    assert standing(product, FORM) == "outstanding"
    product.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 second' RETURNING 1")
    housekeeping.sweep()
    product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))
    assert standing(product, FORM) == "outstanding"
    assert_lost(product, FORM, (GONE_MESSAGES,), ("DELETE FROM notifications",))
    product.work()
    assert standing(product, FORM) == "notified"
    open_again = "UPDATE form526_submissions SET state = 'pending', finished_at = NULL"
    ways = [(open_again,), ("DELETE FROM notifications",), ("UPDATE notifications SET kind = 'failed'",)]
    ways += [("UPDATE form526_submissions SET cycle = 2",), ("UPDATE form526_submissions SET notification = NULL",)]
    ways += [("UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()",)]
    assert_lost(product, FORM, *ways)


def test_a_failed_form_is_held_and_notified(product: Product) -> None:
    product.control.turn("form526", refuse_with="")
    file_form(product)
    product.work()
    assert (standing(product, FORM), standing(product, FORM, GONE_CASES)) == ("held", "notified")
    assert_lost(product, FORM, (GONE_CASES, "DELETE FROM notifications"))


def test_a_document_is_outstanding_then_watched_then_done(product: Product) -> None:
    accepted(product)
    assert standing(product, DOCUMENT) == "outstanding"
    assert_lost(product, DOCUMENT, (GONE_MESSAGES,), (f"{PARKED} AND subject_type = '{DOCUMENT}'",))
    product.work()
    assert standing(product, DOCUMENT) == "watched"
    assert_lost(product, DOCUMENT, (f"{DOCUMENTS} poll_due_at = NULL",))
    poll(product)
    assert standing(product, DOCUMENT) == "notified"
    assert_lost(product, DOCUMENT, (f"{DOCUMENTS} lighthouse_status = 'pending', finished_at = NULL",))


def refused(product: Product) -> None:
    product.control.set("documents", "status", status=413, operation=UPLOADS)
    accepted(product)
    product.work()


def failed_behind(product: Product) -> None:
    product.control.turn("documents", plan="fails_at_bgs")
    accepted(product)
    product.work()
    poll(product)


@pytest.mark.parametrize("fail", [refused, failed_behind])
def test_a_failed_document_is_held_and_notified_until_it_is_delivered_by_hand(
    product: Product, fail: Callable[[Product], None]
) -> None:
    fail(product)
    mails(product, 2)
    assert (standing(product, DOCUMENT), standing(product, DOCUMENT, GONE_CASES)) == ("held", "notified")
    of_document = f"DELETE FROM notifications WHERE subject_type = '{DOCUMENT}'"
    assert_lost(product, DOCUMENT, (GONE_CASES, of_document), (GONE_CASES, f"{DOCUMENTS} cycle = 2"))
    done = command(product, "documents", "delivered", str(evidence(product)["id"]), "--note", "by courier")
    assert (done.exit_code, standing(product, DOCUMENT)) == (0, "notified")
    assert command(product, "audit").exit_code == 0


def test_a_lost_upload_is_a_case_and_a_finding_until_somebody_ends_it(product: Product) -> None:
    accepted(product)
    document = str(evidence(product)["id"])
    product.rows(f"DELETE FROM outbox_messages WHERE id = {message_of(product, document)['id']} RETURNING 1")
    result = command(product, "audit")
    assert (result.exit_code, f"unaccounted: {DOCUMENT} {document}" in result.output) == (1, True)
    for _ in range(2):
        housekeeping.audit_all()
    assert (product.cases(), standing(product, DOCUMENT)) == (["unaccounted"], "held")
    product.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' RETURNING 1")
    assert standing(product, DOCUMENT) == "unaccounted"
