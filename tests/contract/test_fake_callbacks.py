"""The fake VANotify's delivery callbacks: both kinds, and what each repeats (contract: travel 6.6).

Also the ways in which they can surprise a receiver.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.notify_callbacks import RETRIES, Callback, Caller, gap, signature
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.timeline import Timeline
from tests.contract.notify_wire import Sender
from tests.contract.receiver import Receiver, eventually, listening

SERVICE_FIELDS = [
    "id",
    "reference",
    "to",
    "status",
    "created_at",
    "completed_at",
    "sent_at",
    "notification_type",
    "status_reason",
    "provider",
]
PUBLIC = "https://surefile.example"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture
def sender(http: requests.Session, upstreams: Upstreams) -> Sender:
    return Sender(http, upstreams)


@pytest.fixture
def service_level(receiver: Receiver, control: Control) -> Receiver:
    """Callbacks of the first kind arrive at the receiver. Repeats come after milliseconds, not seconds."""
    control.turn("va_notify", callback_url=receiver.url, retry_scale=0.01)
    return receiver


@pytest.fixture
def signed(receiver: Receiver, control: Control) -> Receiver:
    """The same for callbacks to `PUBLIC`/callbacks, as a send requests them."""
    base = receiver.url.removesuffix("/callbacks")
    control.turn("va_notify", rewrites={PUBLIC: base}, retry_scale=0.01)
    return receiver


def test_the_signature_is_the_contracts_made_up_vector() -> None:
    body = {
        "id": "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d",
        "reference": "outbox-42",
        "to": "+15555550100",
        "status": "delivered",
        "created_at": "2025-03-01T12:00:00.000000Z",
        "completed_at": "2025-03-01T12:00:09.500000Z",
        "sent_at": None,
        "notification_type": "sms",
        "status_reason": None,
        "provider": "pinpoint",
        "provider_payload": None,
    }
    expected = "4414fcd7154c31e3e8179f9fa4990db96ad62cd7a449008e569226a31b41c91f"
    assert signature("0c9e7d52-3f14-4d7a-8a51-6f0a1b2c3d4e", body) == expected


def test_the_gaps_between_repeats_double_to_five_minutes() -> None:
    assert [gap(retry) for retry in (1, 2, 3, 8, 9, RETRIES)] == [2, 4, 8, 256, 300, 300]


def test_a_service_callback_has_the_bearer_token_and_the_contracts_fields(
    sender: Sender, service_level: Receiver
) -> None:
    sent = sender.text().json()
    eventually(lambda: "delivered" in service_level.statuses())
    headers, body = service_level.came[-1]
    assert headers["authorization"] == f"Bearer {sender.known.vanotify_callback_token}"
    assert "x-enp-signature" not in headers
    assert list(body) == SERVICE_FIELDS
    assert (body["id"], body["reference"], body["notification_type"]) == (sent["id"], "outbox-42", "sms")


def test_service_callbacks_leave_out_statuses_outside_their_list(sender: Sender, service_level: Receiver) -> None:
    sender.text()
    eventually(lambda: "delivered" in service_level.statuses())
    assert service_level.statuses() == ["sent", "delivered"]


def test_a_signed_callback_covers_its_pairs_in_order_and_has_no_bearer_token(sender: Sender, signed: Receiver) -> None:
    sender.text(callback_url=f"{PUBLIC}/callbacks")
    eventually(lambda: "delivered" in signed.statuses())
    assert signed.statuses() == ["sending", "sent", "delivered"]
    headers, body = signed.came[-1]
    encoded = "&".join(f"{name}={quote_plus(str(value))}" for name, value in body.items())
    expected = hmac.new(sender.known.vanotify_secret.encode(), encoded.encode(), hashlib.sha256).hexdigest()
    assert headers["x-enp-signature"] == expected
    assert "authorization" not in headers
    assert list(body) == [*SERVICE_FIELDS, "provider_payload"]


def test_a_callback_url_replaces_the_service_level_one(sender: Sender, signed: Receiver, control: Control) -> None:
    with listening() as service_level:
        control.turn("va_notify", callback_url=service_level.url)
        sender.text(callback_url=f"{PUBLIC}/callbacks")
        eventually(lambda: "delivered" in signed.statuses())
        assert service_level.came == []


def calls(control: Control) -> list[dict[str, Any]]:
    return list(control.call("GET", "va_notify", "callbacks"))


@pytest.mark.parametrize("kind", ["service_level", "signed"])
@pytest.mark.parametrize(("status", "of_service", "of_signed"), [(500, 2, 2), (503, 2, 2), (429, 1, 2), (401, 1, 1)])
def test_what_is_repeated_depends_on_the_answer_and_the_kind(
    request: pytest.FixtureRequest,
    sender: Sender,
    control: Control,
    kind: str,
    status: int,
    of_service: int,
    of_signed: int,
) -> None:
    receiver: Receiver = request.getfixturevalue(kind)
    receiver.answers = [status]
    sent = sender.text(callback_url=f"{PUBLIC}/callbacks" if kind == "signed" else None).json()
    eventually(lambda: "delivered" in receiver.statuses())
    wanted = of_signed if kind == "signed" else of_service
    first = receiver.statuses()[0]
    eventually(lambda: receiver.statuses().count(first) == wanted)
    outcomes = [call["outcome"] for call in calls(control) if call["body"]["id"] == sent["id"]]
    assert outcomes.count(str(status)) == 1


class Forgetful(Timeline):
    """A timeline that runs nothing, but says after how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def after(self, seconds: float, step: object) -> None:
        self.waits.append(seconds)


@pytest.mark.parametrize(("is_signed", "repeated"), [(False, True), (True, False)])
def test_a_connection_that_fails_is_repeated_for_the_service_only(is_signed: bool, repeated: bool) -> None:
    timeline = Forgetful()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    Caller(timeline, lambda: 1.0).call(Callback(f"http://127.0.0.1:{port}/callbacks", {}, {}, is_signed))
    assert timeline.waits == ([2.0] if repeated else [])
    timeline.close()


def test_repeats_end_after_sixty(receiver: Receiver) -> None:
    timeline = Forgetful()
    receiver.answers = [500, 500]
    caller = Caller(timeline, lambda: 1.0)
    caller.call(Callback(receiver.url, {}, {"status": "sent"}, signed=True), retry=RETRIES - 1)
    caller.call(Callback(receiver.url, {}, {"status": "sent"}, signed=True), retry=RETRIES)
    assert timeline.waits == [300.0]
    timeline.close()


def test_a_slow_receiver_is_given_up_after_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/callbacks"
        assert Callback(url, {}, {}, signed=True).outcome() == "timeout"


def test_callbacks_can_come_before_the_201(sender: Sender, service_level: Receiver, control: Control) -> None:
    control.turn("va_notify", early=True)
    sender.text()
    assert service_level.statuses() == ["sent", "delivered"]


def test_callbacks_can_come_twice(sender: Sender, service_level: Receiver, control: Control) -> None:
    control.turn("va_notify", twice=True)
    sender.text()
    eventually(lambda: len(service_level.came) == 4)
    assert service_level.statuses() == ["sent", "sent", "delivered", "delivered"]


@pytest.mark.parametrize("end", ["delivered", "permanent-failure"])
def test_callbacks_can_contradict_each_other(
    sender: Sender, service_level: Receiver, control: Control, end: str
) -> None:
    control.turn("va_notify", contradict=True)
    plan = {"recipient": sender.text_body()["phone_number"], "status": end}
    control.call("POST", "va_notify", "outcomes", json=plan)
    sent = sender.text().json()
    opposite = "delivered" if end == "permanent-failure" else "permanent-failure"
    eventually(lambda: service_level.statuses() == ["sent", end, opposite])
    assert sender.get(sent["id"]).json()["status"] == opposite


def test_a_callback_can_be_made_on_demand(sender: Sender, service_level: Receiver, control: Control) -> None:
    sent = sender.text(phone_number="+16132532222").json()
    body = {"id": sent["id"], "status": "temporary-failure", "times": 2}
    control.call("POST", "va_notify", "callbacks", json=body)
    assert service_level.statuses() == ["temporary-failure", "temporary-failure"]
    assert service_level.came[0][1]["status_reason"].startswith("Retryable")
