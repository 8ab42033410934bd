"""The VANotify client against the fake: sends, look-ups, refusals, every fault, and signed callbacks."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Rejected, Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.va_notify import callback_signature
from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import EMAIL, TEMPLATE_IDS
from tests.contract.clients import (
    CUT_SECONDS,
    STRIKES,
    Strike,
    clients_for,
    settled,
    write_nothing_first,
)
from tests.contract.receiver import eventually, listening

ADA, MONA = "1012300001V654001", "1012300013V654013"
WORDS = {"claim_number": "0042", "appt_date": "Mar 07"}


def text(clients: Clients, upstreams: Upstreams, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "reference": "notification-1",
        "template_id": TEMPLATE_IDS["cie.created"],
        "sender_id": upstreams.fakes.settings.vanotify_sms_sender_id,
        "personalisation": WORDS,
        "icn": ADA,
        "before_write": write_nothing_first,
    }
    return clients.va_notify.send_sms(**{**fields, **changes}).notification_id


def test_a_text_by_icn_arrives_and_is_found_by_its_reference(
    clients: Clients, upstreams: Upstreams, control: Control
) -> None:
    sent = text(clients, upstreams)
    eventually(lambda: clients.va_notify.find_by_reference("notification-1")[0].status == "delivered")
    (found,) = clients.va_notify.find_by_reference("notification-1")
    assert found == clients.va_notify.get(sent, "notification-1")
    assert (found.id, found.reference, found.status_reason) == (sent, "notification-1", None)
    assert found.completed_at is not None and found.completed_at.tzinfo is not None
    assert "0042" in str(control.phone()[0])


def test_a_text_by_phone_and_an_email_are_accepted(clients: Clients, upstreams: Upstreams) -> None:
    assert text(clients, upstreams, icn=None, phone="+15555550101")
    for address in ({"email": "ada@example.com"}, {"icn": ADA}):
        assert clients.va_notify.send_email(
            reference="notification-2",
            template_id=EMAIL.id,
            personalisation=WORDS,
            before_write=write_nothing_first,
            **address,
        )
    assert len(clients.va_notify.find_by_reference("notification-2")) == 2


def test_an_unknown_recipient_shows_only_in_the_status(clients: Clients, upstreams: Upstreams) -> None:
    sent = text(clients, upstreams, icn=MONA)

    def failed() -> bool:
        found = clients.va_notify.get(sent, "notification-1")
        return found is not None and found.status == "permanent-failure"

    eventually(failed)


def test_an_unknown_id_and_an_unknown_reference_are_not_found(clients: Clients) -> None:
    assert clients.va_notify.get("7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d", "notification-1") is None
    assert clients.va_notify.find_by_reference("never sent") == []


def test_two_sends_of_one_reference_are_both_found(clients: Clients, upstreams: Upstreams) -> None:
    ids = {text(clients, upstreams), text(clients, upstreams)}
    assert {found.id for found in clients.va_notify.find_by_reference("notification-1")} == ids


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"icn": None, "phone": "12"}, Rejected),
        ({"template_id": "no uuid"}, Unavailable),
        ({"template_id": "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d"}, Unavailable),
        ({"personalisation": {}}, Unavailable),
        ({"template_id": EMAIL.id}, Unavailable),
    ],
    ids=str,
)
def test_only_a_refused_recipient_is_final(
    clients: Clients, upstreams: Upstreams, changes: dict[str, Any], kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind) as caught:
        text(clients, upstreams, **changes)
    assert (caught.value.http_status, bool(caught.value.detail)) == (400, True)


def test_too_large_a_body_is_rejected(clients: Clients, upstreams: Upstreams) -> None:
    with pytest.raises(Rejected) as caught:
        text(clients, upstreams, personalisation={**WORDS, "more": "x" * 1024 * 1024})
    assert caught.value.http_status == 413


@pytest.mark.parametrize("knob", ["minute_limit", "daily_limit"])
def test_both_limits_throttle_without_a_retry_after(
    clients: Clients, upstreams: Upstreams, control: Control, knob: str
) -> None:
    control.turn("va_notify", **{knob: 1})
    text(clients, upstreams)
    with pytest.raises(Throttled) as caught:
        text(clients, upstreams)
    assert caught.value.retry_after is None


def test_a_wrong_or_revoked_key_is_unauthorized_everywhere(upstreams: Upstreams, control: Control) -> None:
    known = upstreams.fakes.settings
    wrong = f"name-{known.vanotify_service_id}-00000000-0000-4000-8000-000000000000"
    control.turn("va_notify", key_revoked=True)
    for clients in (clients_for(upstreams, VANOTIFY_API_KEY=wrong), clients_for(upstreams)):
        with pytest.raises(Unauthorized):
            text(clients, upstreams)
        with pytest.raises(Unauthorized):
            clients.va_notify.find_by_reference("notification-1")
    assert len(control.received("va_notify", "/sms")) == 2


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_a_send_says_what_a_fault_did(clients: Clients, upstreams: Upstreams, control: Control, strike: Strike) -> None:
    control.set("va_notify", strike.kind, **strike.fields)
    started = time.monotonic()
    with pytest.raises(strike.write) as caught:
        text(clients, upstreams)
    assert time.monotonic() - started < CUT_SECONDS
    assert type(caught.value) is strike.write and caught.value.retry_after == strike.retry_after
    settled(control, "va_notify", "/sms")
    control.clear("va_notify")
    assert len(clients.va_notify.find_by_reference("notification-1")) == strike.worked


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_a_look_up_never_guesses_during_a_fault(
    clients: Clients, upstreams: Upstreams, control: Control, strike: Strike
) -> None:
    sent = text(clients, upstreams)
    control.set("va_notify", strike.kind, **strike.fields)
    with pytest.raises(strike.read):
        clients.va_notify.find_by_reference("notification-1")
    with pytest.raises(strike.read) as caught:
        clients.va_notify.get(sent, "notification-1")
    assert type(caught.value) is strike.read and caught.value.retry_after == strike.retry_after


def test_a_wrong_content_type_is_no_fault(clients: Clients, upstreams: Upstreams, control: Control) -> None:
    control.set("va_notify", "content_type")
    sent = text(clients, upstreams)
    assert [found.id for found in clients.va_notify.find_by_reference("notification-1")] == [sent]


def test_a_signed_callback_is_proven_by_its_signature(upstreams: Upstreams, control: Control) -> None:
    clients = clients_for(upstreams, VANOTIFY_CALLBACK_URL="https://surefile.example/callbacks")
    with listening() as receiver:
        base = receiver.url.removesuffix("/callbacks")
        control.turn("va_notify", rewrites={"https://surefile.example": base})
        sent = text(clients, upstreams)
        eventually(lambda: "delivered" in receiver.statuses())
    for headers, body in receiver.came:
        assert body["id"] == sent
        assert headers["x-enp-signature"] == callback_signature(clients.va_notify.callback_secrets[0], body)
