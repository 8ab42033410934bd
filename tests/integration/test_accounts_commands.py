"""A wrong ICN is corrected by asking the account service again: shown first, recorded, and nothing is done for two."""

from __future__ import annotations

import uuid
from dataclasses import asdict

import pytest

from flaskapp.accounts.service import Identity, identity_of, remember_person
from flaskapp.db import transaction
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import itfs, on_file, sign_in
from tests.integration.steps import command
from tests.product import ADA, Product

OTHER = next(each for each in DEFAULT_CAST if each.icn != ADA.icn)
ACCOUNT = uuid.UUID(ADA.account)
WRONG = Identity(OTHER.icn, ADA.participant_id, ADA.file_number, ADA.email)
LOOK_UP = ("accounts", "look-up", ADA.account, "--reason", "the clinic called")


def kept() -> Identity | None:
    with transaction() as session:
        return identity_of(session, ACCOUNT)


@pytest.fixture
def mistaken(product: Product) -> Product:
    """Somebody whose account we take for another person's, with a pending ITF."""
    with transaction() as session:
        remember_person(session, ACCOUNT, WRONG)
    sign_in(product).ask()
    return product


def test_a_look_up_shows_what_differs_and_what_it_concerns_and_changes_nothing(mistaken: Product) -> None:
    shown = command(mistaken, *LOOK_UP)
    assert shown.exit_code == 0
    assert "differs: ICN\n" in shown.output and "With --apply" in shown.output
    assert str(itfs(mistaken)[0]["id"]) in shown.output
    assert not {ADA.icn, OTHER.icn, ADA.email} & set(shown.output.split())
    assert kept() == WRONG


def test_what_is_pending_goes_on_for_the_right_person_and_the_correction_is_recorded(mistaken: Product) -> None:
    assert "Corrected." in command(mistaken, *LOOK_UP, "--apply").output
    person = kept()
    assert person is not None and asdict(person) == {**asdict(WRONG), "icn": ADA.icn}
    mistaken.work()
    assert (len(on_file(mistaken)), on_file(mistaken, OTHER)) == (1, [])
    (row,) = mistaken.rows("SELECT actor, detail FROM outbox_history WHERE what = 'account.corrected'")
    assert row.actor.startswith("shell:")
    assert row.detail == {"reason": "the clinic called", "differs": ["ICN"]}
    assert "Nothing to correct." in command(mistaken, *LOOK_UP, "--apply").output


def test_what_was_filed_for_the_other_person_is_named_and_an_unsent_e_mail_is_readdressed(mistaken: Product) -> None:
    mistaken.work(until=lambda: mistaken.value("SELECT count(*) FROM notifications"))
    shown = command(mistaken, *LOOK_UP, "--apply").output
    over = shown.partition("Over: ")[2]
    assert str(itfs(mistaken)[0]["id"]) in over
    mistaken.work()
    sent = mistaken.control.received("va_notify", "POST /v2/notifications/email")
    assert ADA.icn in str(sent[-1]["body"]) and OTHER.icn not in str(sent[-1]["body"])


def test_nothing_is_corrected_while_something_may_have_been_done_for_the_other_person(mistaken: Product) -> None:
    mistaken.rows(
        "UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered' RETURNING 1"
    )
    refused = command(mistaken, *LOOK_UP, "--apply")
    assert (refused.exit_code, "may have gone through" in refused.output) == (1, True)
    assert kept() == WRONG


def test_without_an_answer_nothing_is_corrected(mistaken: Product) -> None:
    mistaken.control.set("accounts", "status", status=503)
    refused = command(mistaken, *LOOK_UP, "--apply")
    assert (refused.exit_code, "gave no answer" in refused.output) == (1, True)
    assert kept() == WRONG
