"""VANotify's delivery callbacks: who is believed, and what early, doubled, late and contradictory ones come to."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.upstreams.va_notify import callback_signature
from sandbox.upstreams.settings import FakeSettings
from tests.integration.steps import command, counts, file_claim, listening, reconfigure, sends, sweep, texts
from tests.product import Product, eventually

PATH = "/va_notify/callbacks"
KNOWN = FakeSettings()
BEARER = {"Authorization": f"Bearer {KNOWN.vanotify_callback_token}"}
DELIVERED, BLOCKED, UNREACHABLE = "delivered", "permanent-failure", "temporary-failure"


def body(reference: Any, status: str, second: int | None = 9, **changes: Any) -> dict[str, Any]:
    """What VANotify posts; `second` orders the moments, None leaves them out."""
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
    """A text VANotify has taken."""
    file_claim(product)
    product.work()
    assert notification(product).state == "sent"
    return notification(product)


def tell(product: Product, *statuses: str, second: int | None = 9) -> None:
    for status in statuses:
        assert post(product, body(notification(product).id, status, second)).status_code == 200


# -- who is believed ----------------------------------------------------------


def test_both_modes_are_believed_and_nothing_else(product: Product) -> None:
    reference = sent_notification(product).id
    content = body(reference, DELIVERED)
    signature = callback_signature(KNOWN.vanotify_secret, content)
    unbelieved = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {KNOWN.vanotify_callback_token}"},
        {"x-enp-signature": signature[:-1] + ("0" if signature[-1] != "0" else "1")},
        {"x-enp-signature": ""},
        {"x-enp-signature": callback_signature("another secret", content)},
        {"Authorization": "Bearer wrong", "x-enp-signature": signature},
    ]
    for headers in unbelieved:
        response = post(product, content, headers)
        assert (response.status_code, response.get_json()) == (401, {"message": "Unauthorized"}), headers
    assert post(product, content | {"status": BLOCKED}, {"x-enp-signature": signature}).status_code == 401
    assert notification(product).state == "sent"
    taken = post(product, content, {"x-enp-signature": signature.upper()})
    assert (taken.status_code, taken.get_json()) == (200, {"message": "success"})
    assert notification(product).state == "delivered"
    assert post(product, content, BEARER).status_code == 200


def test_a_reference_that_is_not_ours_is_taken_and_changes_nothing(product: Product) -> None:
    sent_notification(product)
    before = counts(product)
    for reference in (uuid.uuid4(), "outbox-42", "", None):
        response = post(product, body(reference, BLOCKED))
        assert (response.status_code, response.get_json()) == (200, {"message": "success"})
    assert post(product, {"status": "delivered"}).status_code == 200
    assert counts(product) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"reference": "\\u0000"}'])
def test_what_is_no_json_object_is_a_400(product: Product, content: bytes) -> None:
    response = post(product, content)
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (400, "400")


# -- what they come to --------------------------------------------------------


def test_delivered_is_the_end_and_telling_it_twice_is_once(product: Product) -> None:
    sent_notification(product)
    tell(product, "sent", DELIVERED, DELIVERED)
    assert (notification(product).state, notification(product).upstream_status) == ("delivered", DELIVERED)
    assert product.value("SELECT count(*) FROM outbox_history WHERE moved_to = 'delivered'") == 1
    assert product.cases() == []


@pytest.mark.parametrize("failure", [BLOCKED, UNREACHABLE])
def test_a_failure_opens_one_case_and_a_later_delivery_closes_it(product: Product, failure: str) -> None:
    sent_notification(product)
    tell(product, failure, failure)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_undeliverable"])
    assert command(product, "audit").exit_code == 0
    tell(product, DELIVERED, second=10)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_of_two_that_contradict_each_other_the_later_counts(product: Product) -> None:
    sent_notification(product)
    tell(product, DELIVERED, second=9)
    tell(product, BLOCKED, second=10)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_undeliverable"])


def test_older_news_than_what_is_known_changes_nothing(product: Product) -> None:
    sent_notification(product)
    tell(product, DELIVERED, second=9)
    tell(product, BLOCKED, second=8)
    tell(product, "sent", second=8)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_a_repeated_status_moves_what_counts_as_old(product: Product) -> None:
    """Delivered at 9 and again at 11: a failure of 10 is overtaken news."""
    sent_notification(product)
    tell(product, DELIVERED, second=9)
    tell(product, DELIVERED, second=11)
    tell(product, BLOCKED, second=10)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_a_status_without_its_timestamp_is_folded_in_as_it_comes(product: Product) -> None:
    sent_notification(product)
    tell(product, BLOCKED, DELIVERED, second=None)
    assert (notification(product).state, product.cases()) == ("delivered", [])


def test_words_nobody_knows_change_nothing(product: Product) -> None:
    sent_notification(product)
    tell(product, "returned-letter", "teleported")
    assert post(product, body(notification(product).id, "x", completed_at="yesterday")).status_code == 200
    assert notification(product).state == "sent"


def test_a_callback_before_our_own_record_of_the_send_is_kept(product: Product) -> None:
    """It comes while the notice is still pending: the message then finds nothing left to send."""
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM notifications"))
    tell(product, DELIVERED)
    assert notification(product).state == "delivered"
    product.work()
    assert (notification(product).state, sends(product)) == ("delivered", [])
    assert command(product, "audit").exit_code == 0


def test_a_delivery_of_a_text_we_had_given_up_closes_its_case(product: Product) -> None:
    """VANotify's reply was lost and could not be looked up for days, but the person has the text."""
    product.control.set("va_notify", "drop", times=1, operation="POST")
    product.control.set("va_notify", "html", operation="GET")
    file_claim(product)
    product.work(until=lambda: product.control.received("va_notify", "GET"))
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    assert (notification(product).state, product.cases()) == ("undeliverable", ["notification_not_sent"])
    tell(product, DELIVERED)
    assert (notification(product).state, product.cases()) == ("delivered", [])


# -- as VANotify really makes them --------------------------------------------


@pytest.mark.parametrize(
    ("mode", "manner"),
    [
        ("bearer", {"twice": True}),
        ("bearer", {"contradict": True}),
        ("signed", {"twice": True}),
        ("signed", {"early": True}),
    ],
)
def test_the_fakes_own_callbacks_reach_us_in_either_mode_and_any_manner(
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
    assert {call["outcome"] for call in made} == {"200"}
    assert {call["signed"] for call in made} == {mode == "signed"}
    assert product.cases() == (["notification_undeliverable"] if manner.get("contradict") else [])
    assert texts(product) == ["cie.created"]
