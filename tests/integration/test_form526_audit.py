"""A form and each of its documents is owed, watched, held or told at every moment; whatever is lost is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from flaskapp.audit.report import audit
from flaskapp.db import transaction
from jobs import housekeeping
from tests.house import House
from tests.integration.form526_steps import UPLOADS, evidence, filer, grant, owed_of, poll
from tests.integration.itf_steps import mails
from tests.integration.steps import command, reconfigure

FORM, DOCUMENT = "form526_submission", "form526_document"
GONE_MESSAGES = "DELETE FROM outbox_messages"
GONE_CASES = "DELETE FROM cases"
PARKED = (
    "UPDATE outbox_messages SET state = 'parked', fence = id, parked_reason = 'x' WHERE state IN ('ready', 'later')"
)
DOCUMENTS = "UPDATE form526_document_submissions SET"


class Undo(Exception):
    """Ends a transaction that only looked."""


@pytest.fixture(autouse=True)
def one_document_a_form(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")


def standing(house: House, subject_type: str, *losses: str) -> str:
    """How the one form or document stands, and how it would after these losses; nothing is kept of them."""
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


def assert_lost(house: House, subject_type: str, *ways: tuple[str, ...]) -> None:
    for losses in ways:
        assert standing(house, subject_type, *losses) == "unaccounted", losses


def asked(house: House) -> None:
    person = filer(house)
    person.file(person.attach())


def accepted(house: House) -> None:
    asked(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM form526_document_submissions"))


def test_a_form_is_owed_until_it_is_accepted_and_told(house: House) -> None:
    asked(house)
    assert standing(house, FORM) == "owed"
    assert_lost(house, FORM, (GONE_MESSAGES,), (PARKED,))
    house.work(until=lambda: house.value("SELECT identity IS NOT NULL FROM accounts"))
    grant(house, house.value("SELECT id FROM form526_submissions"))
    assert standing(house, FORM) == "owed"
    house.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 second' RETURNING 1")
    housekeeping.sweep()
    house.work(until=lambda: house.value("SELECT count(*) FROM form526_document_submissions"))
    assert standing(house, FORM) == "owed"
    assert_lost(house, FORM, (GONE_MESSAGES,), ("DELETE FROM notifications",))
    house.work()
    assert standing(house, FORM) == "told"
    open_again = "UPDATE form526_submissions SET state = 'pending', finished_at = NULL"
    ways = [(open_again,), ("DELETE FROM notifications",), ("UPDATE notifications SET kind = 'failed'",)]
    ways += [("UPDATE form526_submissions SET cycle = 2",), ("UPDATE form526_submissions SET notice = NULL",)]
    ways += [("UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()",)]
    assert_lost(house, FORM, *ways)


def test_a_failed_form_is_held_and_told(house: House) -> None:
    house.control.turn("form526", refuse_with="")
    asked(house)
    house.work()
    assert (standing(house, FORM), standing(house, FORM, GONE_CASES)) == ("held", "told")
    assert_lost(house, FORM, (GONE_CASES, "DELETE FROM notifications"))


def test_a_document_is_owed_then_watched_then_done(house: House) -> None:
    accepted(house)
    assert standing(house, DOCUMENT) == "owed"
    assert_lost(house, DOCUMENT, (GONE_MESSAGES,), (f"{PARKED} AND subject_type = '{DOCUMENT}'",))
    house.work()
    assert standing(house, DOCUMENT) == "watched"
    assert_lost(house, DOCUMENT, (f"{DOCUMENTS} poll_due_at = NULL",))
    poll(house)
    assert standing(house, DOCUMENT) == "told"
    assert_lost(house, DOCUMENT, (f"{DOCUMENTS} lighthouse_status = 'pending', finished_at = NULL",))


def refused(house: House) -> None:
    house.control.set("documents", "status", status=400, operation=UPLOADS)
    accepted(house)
    house.work()


def failed_behind(house: House) -> None:
    house.control.turn("documents", plan="fails_at_bgs")
    accepted(house)
    house.work()
    poll(house)


@pytest.mark.parametrize("fail", [refused, failed_behind])
def test_a_failed_document_is_held_and_told_and_brought_by_hand_is_done(
    house: House, fail: Callable[[House], None]
) -> None:
    fail(house)
    mails(house, 2)
    assert (standing(house, DOCUMENT), standing(house, DOCUMENT, GONE_CASES)) == ("held", "told")
    of_document = f"DELETE FROM notifications WHERE subject_type = '{DOCUMENT}'"
    assert_lost(house, DOCUMENT, (GONE_CASES, of_document), (GONE_CASES, f"{DOCUMENTS} cycle = 2"))
    done = command(house, "documents", "delivered", str(evidence(house)["id"]), "--note", "by courier")
    assert (done.exit_code, standing(house, DOCUMENT)) == (0, "told")
    assert command(house, "audit").exit_code == 0


def test_what_is_lost_becomes_a_case_and_is_named_until_somebody_ends_it(house: House) -> None:
    accepted(house)
    document = str(evidence(house)["id"])
    house.rows(f"DELETE FROM outbox_messages WHERE id = {owed_of(house, document)['id']} RETURNING 1")
    result = command(house, "audit")
    assert (result.exit_code, f"unaccounted: {DOCUMENT} {document}" in result.output) == (1, True)
    for _ in range(2):
        housekeeping.audit_all()
    assert (house.cases(), standing(house, DOCUMENT)) == (["unaccounted"], "held")
    house.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' RETURNING 1")
    assert standing(house, DOCUMENT) == "unaccounted"
