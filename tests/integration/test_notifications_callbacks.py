"""VANotify's delivery callbacks: which are trusted, and the effect of early, repeated, late and contradictory ones."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from flaskapp.notifications import routes
from flaskapp.upstreams.va_notify import callback_signature
from sandbox.upstreams.notify_lifecycle import BAD_ENDS
from sandbox.upstreams.settings import FakeSettings
from tests.integration.steps import command, counts, file_claim, listening, reconfigure, sends, sweep, texts
from tests.product import Product, eventually

PATH = "/va_notify/callbacks"
KNOWN = FakeSettings()
BEARER = {"Authorization": f"Bearer {KNOWN.vanotify_callback_token}"}
DELIVERED, BLOCKED, UNREACHABLE = "delivered", "permanent-failure", "temporary-failure"


def body(reference: Any, status: str, second: int | None = 9, **changes: Any) -> dict[str, Any]:
    """What VANotify posts; `second` orders the timestamps, None leaves them out."""
    timestamp = None if second is None else f"2026-03-01T12:00:{second:02d}.500000Z"
    return {
        "id": "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d",
        "reference": str(reference),
        "to": "+15555550100",
        "status": status,
        "created_at": None if second is None else "2026-03-01T12:00:00.000000Z",
        "completed_at": timestamp,
        "sent_at": None,
        "notification_type": "sms",
        "status_reason": None,
        "provider": "pinpoint",
    } | changes


def post(product: Product, content: Any, headers: dict[str, str] | None = None) -> Any:
    """The signature covers the pairs in their order, so the body goes out exactly as written."""
    data = json.dumps(content) if isinstance(content, dict) else content
    known = BEARER if headers is None else headers
    return product.app.test_client().post(PATH, data=data, content_type="application/json", headers=known)


def notification(product: Product) -> Any:
    (row,) = product.rows("SELECT * FROM notifications")
    return row


def sent_notification(product: Product) -> Any:
    """A text that VANotify has accepted."""
    file_claim(product)
    product.work()
    assert notification(product).state == "sent"
    return notification(product)


def report(product: Product, *statuses: str, second: int | None = 9) -> None:
    for status in statuses:
        assert post(product, body(notification(product).id, status, second)).status_code == 200


# -- which are trusted ---------------------------------------------------------


def test_both_modes_are_trusted_and_nothing_else(product: Product) -> None:
    reference = sent_notification(product).id
    content = body(reference, DELIVERED)
    signature = callback_signature(KNOWN.vanotify_secret, content)
    untrusted = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KNOWN.vanotify_callback_token}"},
        {"x-enp-signature": signature[:-1] + ("0" if signature[-1] != "0" else "1")},
        {"x-enp-signature": ""},
        {"x-enp-signature": callback_signature("another secret", content)},
        {"Authorization": "Bearer wrong", "x-enp-signature": signature},
    ]
    for headers in untrusted:
        response = post(product, content, headers)
        assert (response.status_code, response.get_json()) == (401, {"message": "Unauthorized"}), headers
    assert post(product, content | {"status": BLOCKED}, {"x-enp-signature": signature}).status_code == 401
    assert notification(product).state == "sent"
    accepted = post(product, content, {"x-enp-signature": signature.upper()})
    assert (accepted.status_code, accepted.get_json()) == (200, {"message": "success"})
    assert notification(product).state == "delivered"
    assert post(product, content, BEARER).status_code == 200


def test_a_callback_may_be_signed_with_the_key_before(product: Product) -> None:
    """It is about what was sent with that key, days before it was replaced."""
    reference = sent_notification(product).id
    secret = str(uuid.uuid4())
    reconfigure(product, vanotify_earlier_api_keys=(f"earlier-{uuid.uuid4()}-{secret}",))
    content = body(reference, DELIVERED)
    assert post(product, content, {"x-enp-signature": callback_signature(secret, content)}).status_code == 200
    assert notification(product).state == "delivered"


def test_a_callback_that_is_nested_too_deep_is_refused_and_never_our_fault(product: Product) -> None:
    """Whether or not Python can just read it, and whoever sent it."""
    content = body(sent_notification(product).id, DELIVERED)
    for depth in (300, *range(800, 1000, 2), 100_000):
        raw = json.dumps(content)[:-1] + ', "provider_payload": ' + "[" * depth + "]" * depth + "}"
        for headers in (BEARER, {"x-enp-signature": "0" * 64}):
            assert post(product, raw.encode(), headers).status_code in (400, 413), depth
    assert notification(product).state != "delivered"


HARMLESS = {
    "texts that Postgres cannot keep, and depth": {
        "id": "\0",
        "status_reason": "\0",
        "to": "\ud800",
        "provider_payload": json.loads("[" * 100 + '"\\u0000\\ud800"' + "]" * 100),
    },
    "one key in two spellings": {"provider_payload": {"messageId": "a", "message_id": "b"}, "completedAt": None},
    "no number": {"provider_payload": {"cost": float("nan"), "most": float("inf")}},
    "a long key": {"provider_payload": {"k" * 500: 1}},
}
HARMLESS_BYTES = {
    "a key twice": b'{"provider": "a", "provider": "b", ',
    "no UTF-8": b'{"provider_payload": "\xff", ',
    "a byte order mark": b"\xef\xbb\xbf{",
    "more digits than Python reads": b'{"provider_payload": ' + b"9" * 5000 + b", ",
}


def test_what_is_not_read_of_a_callback_may_be_anything(product: Product) -> None:
    """A refusal would lose it: VANotify does not repeat a 4xx. It is signed as it was sent."""
    content = body(sent_notification(product).id, DELIVERED)
    plain = json.dumps(content).encode()
    written = {name: json.dumps(content | extra).encode() for name, extra in HARMLESS.items()}
    written |= {name: start + plain[1:] for name, start in HARMLESS_BYTES.items()}
    for second, (name, raw) in enumerate(written.items()):
        wanted = ("undeliverable", BLOCKED) if second % 2 else ("delivered", DELIVERED)
        raw = raw.replace(b"delivered", wanted[1].encode()).replace(b":09.5", f":{10 + second}.5".encode())
        assert post(product, raw).status_code == 200, name
        assert notification(product).state == wanted[0], name
    extra = content | {"provider_payload": {"messageId": "a", "message_id": "b"}, "completed_at": None}
    signature = callback_signature(KNOWN.vanotify_secret, extra)
    assert post(product, extra, {"x-enp-signature": signature}).status_code == 200
    assert post(product, content | {"to": "\ud800"}, {"x-enp-signature": signature}).status_code == 401


def test_a_reference_that_is_not_ours_is_accepted_and_changes_nothing(product: Product) -> None:
    sent_notification(product)
    before = counts(product)
    for reference in (uuid.uuid4(), "outbox-42", "", None):
        response = post(product, body(reference, BLOCKED))
        assert (response.status_code, response.get_json()) == (200, {"message": "success"})
    assert post(product, {"status": "delivered"}).status_code == 200
    assert counts(product) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_json_object_is_a_400(product: Product, content: bytes) -> None:
    response = post(product, content)
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (400, "400")


@pytest.mark.parametrize("away", [OperationalError, InterfaceError, PoolTimeoutError])
def test_while_the_database_is_away_va_notify_is_asked_to_repeat(
    product: Product, monkeypatch: pytest.MonkeyPatch, away: Any
) -> None:
    content = body(sent_notification(product).id, DELIVERED)

    def fail(*_: Any, **__: Any) -> None:
        raise away("SELECT", {}, Exception("away")) if away is not PoolTimeoutError else away("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(routes, "record_delivery", fail)
        response = post(product, content)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert post(product, content).status_code == 200
    assert notification(product).state == "delivered"


# -- their effect --------------------------------------------------------------


def test_delivered_is_final_and_reporting_it_twice_changes_nothing(product: Product) -> None:
    sent_notification(product)
    report(product, "sent", DELIVERED, DELIVERED)
    assert (notification(product).state, notification(product).upstream_status) == ("delivered", DELIVERED)
    assert product.value("SELECT count(*) FROM outbox_history WHERE moved_to = 'delivered'") == 1
    assert product.cases() == []


@pytest.mark.parametrize("failure", [BLOCKED, UNREACHABLE])
def test_a_failure_opens_one_case_and_a_later_delivery_closes_it(product: Product, failure: str) -> None:
    sent_notification(product)
    report(product, failure, failure)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_undeliverable"])
    assert command(product, "audit").exit_code == 0
    report(product, DELIVERED, second=10)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_of_two_contradictory_reports_the_later_one_counts(product: Product) -> None:
    sent_notification(product)
    report(product, DELIVERED, second=9)
    report(product, BLOCKED, second=10)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_undeliverable"])


def test_a_report_older_than_the_last_one_changes_nothing(product: Product) -> None:
    sent_notification(product)
    report(product, DELIVERED, second=9)
    report(product, BLOCKED, second=8)
    report(product, "sent", second=8)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_a_repeated_status_moves_the_time_before_which_reports_are_old(product: Product) -> None:
    """Delivered at 9 and again at 11: a failure reported for 10 is out of date."""
    sent_notification(product)
    report(product, DELIVERED, second=9)
    report(product, DELIVERED, second=11)
    report(product, BLOCKED, second=10)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_reports_without_timestamps_are_applied_in_the_order_of_their_arrival(product: Product) -> None:
    sent_notification(product)
    report(product, BLOCKED, DELIVERED, second=None)
    assert (notification(product).state, product.cases()) == ("delivered", [])


@pytest.mark.parametrize("word", BAD_ENDS)
def test_every_bad_end_is_final_and_opens_a_case(product: Product, word: str) -> None:
    sent_notification(product)
    report(product, word)
    assert (notification(product).state, notification(product).upstream_status) == ("undeliverable", word)
    assert product.cases() == ["notification_undeliverable"]


def test_an_unknown_status_changes_nothing(product: Product) -> None:
    sent_notification(product)
    report(product, "on-its-way", "teleported")
    assert post(product, body(notification(product).id, "x", completed_at="yesterday")).status_code == 200
    assert notification(product).state == "sent"


def test_a_callback_before_our_own_record_of_the_send_is_kept(product: Product) -> None:
    """It arrives while the notification is still pending; the message then finds nothing left to send."""
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM notifications"))
    report(product, DELIVERED)
    assert notification(product).state == "delivered"
    product.work()
    assert (notification(product).state, sends(product)) == ("delivered", [])
    assert command(product, "audit").exit_code == 0


def test_a_delivery_of_a_text_that_was_given_up_closes_its_case(product: Product) -> None:
    """VANotify's reply was lost and could not be looked up for days, but the person has the text."""
    product.control.set("va_notify", "drop", times=1, operation="POST")
    product.control.set("va_notify", "html", operation="GET")
    file_claim(product)
    product.work(until=lambda: product.control.received("va_notify", "GET"))
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_not_sent"])
    report(product, DELIVERED)
    assert (notification(product).state, product.cases()) == ("delivered", [])


# -- callbacks of the fake VANotify --------------------------------------------


@pytest.mark.parametrize(
    ("mode", "manner"),
    [
        ("bearer", {"twice": True}),
        ("bearer", {"contradict": True}),
        ("signed", {"twice": True}),
        ("signed", {"early": True}),
    ],
)
def test_the_fakes_own_callbacks_arrive_in_each_mode_and_manner(
    product: Product, mode: str, manner: dict[str, bool]
) -> None:
    with listening(product.app) as url:
        if mode == "signed":
            public = "https://surefile.example.gov"
            product.control.turn("va_notify", rewrites={public: url}, **manner)
            reconfigure(product, vanotify_callback_url=f"{public}{PATH}")
        else:
            product.control.turn("va_notify", callback_url=f"{url}{PATH}", **manner)
        file_claim(product)
        product.work()
        expected = "undeliverable" if manner.get("contradict") else "delivered"
        eventually(lambda: notification(product).state == expected)
        made = eventually(lambda: product.control.call("GET", "va_notify", "callbacks"))
    # Two at once about one text: the second may be told to come again, and does.
    assert {call["outcome"] for call in made} - {"503"} == {"200"}
    assert {call["signed"] for call in made} == {mode == "signed"}
    assert product.cases() == (["notification_undeliverable"] if manner.get("contradict") else [])
    assert texts(product) == ["cie.created"]
