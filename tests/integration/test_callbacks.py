"""VANotify's delivery callbacks: who is believed, and what early, doubled, late and contradictory ones come to."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.upstreams.va_notify import callback_signature
from sandbox.upstreams.settings import FakeSettings
from tests.house import House, eventually
from tests.integration.steps import command, counts, file_claim, listening, reconfigure, sends, sweep, texts

PATH = "/va_notify/callbacks"
KNOWN = FakeSettings()
BEARER = {"Authorization": f"Bearer {KNOWN.vanotify_callback_token}"}
DELIVERED, BLOCKED, UNREACHABLE = "delivered", "permanent-failure", "temporary-failure"


def body(reference: Any, status: str, second: int | None = 9, **changes: Any) -> dict[str, Any]:
    """What VANotify posts; `second` orders the moments, None leaves them out."""
    moment = None if second is None else f"2026-03-01T12:00:{second:02d}.500000Z"
    return {
        "id": "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d",
        "reference": str(reference),
        "to": "+15555550100",
        "status": status,
        "created_at": None if second is None else "2026-03-01T12:00:00.000000Z",
        "completed_at": moment,
        "sent_at": None,
        "notification_type": "sms",
        "status_reason": None,
        "provider": "pinpoint",
    } | changes


def post(house: House, content: Any, headers: dict[str, str] | None = None) -> Any:
    """The signature covers the pairs in their order, so the body goes out exactly as written."""
    data = json.dumps(content) if isinstance(content, dict) else content
    known = BEARER if headers is None else headers
    return house.app.test_client().post(PATH, data=data, content_type="application/json", headers=known)


def notice(house: House) -> Any:
    (row,) = house.rows("SELECT * FROM notifications")
    return row


def sent_notice(house: House) -> Any:
    """A text VANotify has taken."""
    file_claim(house)
    house.work()
    assert notice(house).state == "sent"
    return notice(house)


def tell(house: House, *statuses: str, second: int | None = 9) -> None:
    for status in statuses:
        assert post(house, body(notice(house).id, status, second)).status_code == 200


# -- who is believed ----------------------------------------------------------


def test_both_modes_are_believed_and_nothing_else(house: House) -> None:
    reference = sent_notice(house).id
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
        response = post(house, content, headers)
        assert (response.status_code, response.get_json()) == (401, {"message": "Unauthorized"}), headers
    assert post(house, content | {"status": BLOCKED}, {"x-enp-signature": signature}).status_code == 401
    assert notice(house).state == "sent"
    taken = post(house, content, {"x-enp-signature": signature.upper()})
    assert (taken.status_code, taken.get_json()) == (200, {"message": "success"})
    assert notice(house).state == "delivered"
    assert post(house, content, BEARER).status_code == 200


def test_a_reference_that_is_not_ours_is_taken_and_changes_nothing(house: House) -> None:
    sent_notice(house)
    before = counts(house)
    for reference in (uuid.uuid4(), "outbox-42", "", None):
        response = post(house, body(reference, BLOCKED))
        assert (response.status_code, response.get_json()) == (200, {"message": "success"})
    assert post(house, {"status": "delivered"}).status_code == 200
    assert counts(house) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"reference": "\\u0000"}'])
def test_what_is_no_json_object_is_a_400(house: House, content: bytes) -> None:
    response = post(house, content)
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (400, "400")


# -- what they come to --------------------------------------------------------


def test_delivered_is_the_end_and_telling_it_twice_is_once(house: House) -> None:
    sent_notice(house)
    tell(house, "sent", DELIVERED, DELIVERED)
    assert (notice(house).state, notice(house).upstream_status) == ("delivered", DELIVERED)
    assert house.value("SELECT count(*) FROM outbox_history WHERE moved_to = 'delivered'") == 1
    assert house.cases() == []


@pytest.mark.parametrize("failure", [BLOCKED, UNREACHABLE])
def test_a_failure_opens_one_case_and_a_later_delivery_closes_it(house: House, failure: str) -> None:
    sent_notice(house)
    tell(house, failure, failure)
    assert (notice(house).state, house.cases()) == ("undeliverable", ["notice_undeliverable"])
    assert command(house, "audit").exit_code == 0
    tell(house, DELIVERED, second=10)
    assert (notice(house).state, house.cases()) == ("delivered", [])


def test_of_two_that_contradict_each_other_the_later_counts(house: House) -> None:
    sent_notice(house)
    tell(house, DELIVERED, second=9)
    tell(house, BLOCKED, second=10)
    assert (notice(house).state, house.cases()) == ("undeliverable", ["notice_undeliverable"])


def test_older_news_than_what_is_known_changes_nothing(house: House) -> None:
    sent_notice(house)
    tell(house, DELIVERED, second=9)
    tell(house, BLOCKED, second=8)
    tell(house, "sent", second=8)
    assert (notice(house).state, house.cases()) == ("delivered", [])


def test_a_repeated_status_moves_what_counts_as_old(house: House) -> None:
    """Delivered at 9 and again at 11: a failure of 10 is overtaken news."""
    sent_notice(house)
    tell(house, DELIVERED, second=9)
    tell(house, DELIVERED, second=11)
    tell(house, BLOCKED, second=10)
    assert (notice(house).state, house.cases()) == ("delivered", [])


def test_a_status_without_its_moment_is_folded_in_as_it_comes(house: House) -> None:
    sent_notice(house)
    tell(house, BLOCKED, DELIVERED, second=None)
    assert (notice(house).state, house.cases()) == ("delivered", [])


def test_words_nobody_knows_change_nothing(house: House) -> None:
    sent_notice(house)
    tell(house, "returned-letter", "teleported")
    assert post(house, body(notice(house).id, "x", completed_at="yesterday")).status_code == 200
    assert notice(house).state == "sent"


def test_a_callback_before_our_own_record_of_the_send_is_kept(house: House) -> None:
    """It comes while the notice is still pending: the message then finds nothing left to send."""
    file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM notifications"))
    tell(house, DELIVERED)
    assert notice(house).state == "delivered"
    house.work()
    assert (notice(house).state, sends(house)) == ("delivered", [])
    assert command(house, "audit").exit_code == 0


def test_a_delivery_of_a_text_we_had_given_up_closes_its_case(house: House) -> None:
    """VANotify's reply was lost and could not be looked up for days, but the person has the text."""
    house.control.set("va_notify", "drop", times=1, operation="POST")
    house.control.set("va_notify", "html", operation="GET")
    file_claim(house)
    house.work(until=lambda: house.control.received("va_notify", "GET"))
    house.move_clock(timedelta(days=3, hours=1))
    sweep(house)
    assert (notice(house).state, house.cases()) == ("undeliverable", ["notice_not_sent"])
    tell(house, DELIVERED)
    assert (notice(house).state, house.cases()) == ("delivered", [])


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
    house: House, mode: str, manner: dict[str, bool]
) -> None:
    with listening(house.app) as url:
        if mode == "signed":
            public = "https://surefile.example.gov"
            house.control.turn("va_notify", rewrites={public: url}, **manner)
            reconfigure(house, vanotify_callback_url=f"{public}{PATH}")
        else:
            house.control.turn("va_notify", callback_url=f"{url}{PATH}", **manner)
        file_claim(house)
        house.work()
        expected = "undeliverable" if manner.get("contradict") else "delivered"
        eventually(lambda: notice(house).state == expected)
        made = eventually(lambda: house.control.call("GET", "va_notify", "callbacks"))
    assert {call["outcome"] for call in made} == {"200"}
    assert {call["signed"] for call in made} == {mode == "signed"}
    assert house.cases() == (["notice_undeliverable"] if manner.get("contradict") else [])
    assert texts(house) == ["cie.created"]
