"""Creations that go wrong in every way and still succeed: one ITF upstream, dated by the time of the request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import (
    WITH_ITF,
    Signed,
    attempts,
    creates,
    creating,
    itfs,
    mails,
    on_file,
    pass_time,
    reading,
    reads,
    row_of,
    sign_in,
    travel_to,
)
from tests.integration.steps import reconfigure, tokens_may_be_replaced
from tests.product import ADA, Product

NOON = datetime(2031, 3, 4, 18, tzinfo=UTC)
Fault = dict[str, Any]
# Answers to a creation that was done, and to one that was not: none of them says which.
DONE: tuple[Fault, ...] = (
    {"kind": "drop"},
    {"kind": "half"},
    {"kind": "late", "seconds": 4.0},
    {"kind": "status", "status": 504, "works": True},
    {"kind": "html", "status": 200, "works": True},
    {"kind": "empty", "status": 200, "works": True},
)
NOT_DONE: tuple[Fault, ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502},
    {"kind": "html", "status": 200},
    {"kind": "empty", "status": 200},
)
# Answers to a read from a server that knows nothing about anybody's ITFs.
DOUBTFUL: tuple[Fault, ...] = (
    {"kind": "html", "status": 404},
    {"kind": "html", "status": 200},
    {"kind": "empty", "status": 404},
    {"kind": "status", "status": 404},
    {"kind": "status", "status": 500},
    {"kind": "half"},
)


def set_fault(product: Product, person: Signed, operation: str, fault: Fault, times: int | None = 1) -> None:
    product.control.set("lighthouse", operation=operation, times=times, **fault)


@pytest.fixture
def product(product: Product) -> Product:
    """A failure opens the breaker only for an instant: these tests are about what follows."""
    reconfigure(product, breaker_cap_seconds=0.05)
    return product


def people(product: Product, number: int) -> list[Signed]:
    return [sign_in(product, veteran) for veteran in DEFAULT_CAST[:number]]


def tries(product: Product, person: Signed) -> list[tuple[Any, ...]]:
    """Every finished attempt at this person's creation: purpose, status, and what upstream answered."""
    query = """SELECT purpose, status, http_status, error_class, error_detail FROM outbox_attempts
                WHERE subject_id = :id AND job LIKE '%.create_itf' AND finished_at IS NOT NULL ORDER BY id"""
    return [tuple(row) for row in product.rows(query, id=str(row_of(product, person)["id"]))]


def has_tried(product: Product, everybody: Iterable[Signed], times: int) -> bool:
    return all(len(tries(product, person)) >= times for person in everybody)


def created_for(product: Product, person: Signed) -> int:
    """How many creations for this person reached Lighthouse."""
    return len(product.control.received("lighthouse", creating(person.veteran)))


def endings(product: Product, person: Signed) -> list[tuple[str, str]]:
    return attempts(product, row_of(product, person)["id"])


# -- refused ------------------------------------------------------------------


def test_a_refused_creation_is_tried_again_and_the_itf_stays_unchanged_meanwhile(
    product: Product, monkeypatch: Any
) -> None:
    """This holds for every refusal, known or not; the person whom upstream does not know at first is known later."""
    words = f"No {ADA.icn} here, call 303-555-0123"
    monkeypatch.setattr(product.fakes.fakes.lighthouse, "error_body", lambda *_: {"errors": [{"detail": words}]})
    refused = dict(zip((400, 403, 422), people(product, 3), strict=True))
    for status, person in refused.items():
        set_fault(product, person, creating(person.veteran), {"kind": "status", "status": status}, times=None)
    unknown = sign_in(product, WITH_ITF["unknown"])
    everybody = [*refused.values(), unknown]
    for person in everybody:
        person.ask()
    before = itfs(product)
    product.work(until=lambda: has_tried(product, everybody, 1))
    assert itfs(product) == before
    kept = "No [icn] here, call [phone]"
    for status, person in refused.items():
        error = "Unauthorized" if status == 403 else "Unavailable"
        assert set(tries(product, person)) == {("write", "error", status, error, kept)}
    assert set(tries(product, unknown)) == {("write", "error", 404, "Rejected", "Veteran ID not found")}
    assert (product.cases(), product.control.phone()) == ([], [])
    product.control.clear("lighthouse")
    product.fakes.fakes.cast.add(replace(unknown.veteran, itf="none"))
    product.work()
    assert [(row["state"], row["how"]) for row in itfs(product)] == [("confirmed", "created")] * 4
    assert [len(on_file(product, person.veteran)) for person in everybody] == [1] * 4
    assert [endings(product, person)[-1] for person in everybody] == [("write", "success")] * 4
    assert mails(product, 4) == ["itf.confirmed"] * 4


def test_a_token_that_expired_early_costs_no_attempt(product: Product) -> None:
    signed = people(product, 2)
    for person, operation in zip(signed, (reading, creating), strict=True):
        set_fault(product, person, operation(person.veteran), {"kind": "expire"})
        person.ask()
        product.work()
        tokens_may_be_replaced(product.redis)
    assert [tries(product, person) for person in signed] == [[("write", "success", None, None, None)]] * 2
    assert len(on_file(product)) == len(on_file(product, signed[1].veteran)) == 1


# -- unanswered ---------------------------------------------------------------


def test_a_creation_whose_answer_is_lost_is_found_by_reading_and_not_repeated(product: Product) -> None:
    patience = product.app.extensions["config"].lighthouse_total_seconds
    signed = people(product, len(DONE))
    for person, fault in zip(signed, DONE, strict=True):
        # Only the late answer meets a short limit: a busy machine may need as long for any other.
        reconfigure(product, lighthouse_total_seconds=2.0 if fault["kind"] == "late" else patience)
        set_fault(product, person, creating(person.veteran), fault)
        person.ask()
        product.work(until=lambda person=person: has_tried(product, [person], 1))
    reconfigure(product, lighthouse_total_seconds=patience)
    product.work()
    for person, fault in zip(signed, DONE, strict=True):
        assert endings(product, person) == [("write", "unknown"), ("look_up", "success")], fault
        row, (filed,) = row_of(product, person), on_file(product, person.veteran)
        assert (row["state"], row["how"], row["upstream_id"]) == ("confirmed", "found", filed["id"])
        assert row["effective_date"] == row["asked_at"]
    assert creates(product) == len(DONE)
    assert mails(product, len(DONE)) == ["itf.confirmed"] * len(DONE)


def test_a_creation_is_repeated_after_two_late_enough_reads_that_do_not_find_it(product: Product) -> None:
    """One of them is still being processed upstream: it is found, because nothing is repeated early."""
    patience = product.app.extensions["config"].lighthouse_total_seconds
    reconfigure(product, lighthouse_confirm_seconds=3600.0)
    travel_to(product, NOON)
    odd, slow, *lost = people(product, 2 + len(NOT_DONE))
    product.control.turn("lighthouse", create_status="incomplete")
    odd.ask()
    product.work(until=lambda: has_tried(product, [odd], 1))
    product.control.turn("lighthouse", create_status="active")
    set_fault(product, slow, creating(slow.veteran), {"kind": "slow", "seconds": 4.0})
    reconfigure(product, lighthouse_total_seconds=2.0)
    slow.ask()
    product.work(until=lambda: has_tried(product, [slow], 1))
    reconfigure(product, lighthouse_total_seconds=patience)
    for person, fault in zip(lost, NOT_DONE, strict=True):
        set_fault(product, person, creating(person.veteran), fault)
        person.ask()
    doubtful = [odd, *lost]
    product.work(until=lambda: row_of(product, slow)["state"] == "confirmed")
    product.work(until=lambda: has_tried(product, doubtful, 3))
    assert [row["state"] for row in itfs(product)].count("confirmed") == 1
    assert [created_for(product, person) for person in (slow, *doubtful)] == [1] * 6
    too_early = ("look_up", "error", None, None, "too early to tell")
    for person in doubtful:
        assert tries(product, person)[0][:2] == ("write", "unknown")
        assert set(tries(product, person)[1:]) == {too_early}
    pass_time(product, hours=1, seconds=5)
    product.work()
    for person in doubtful:
        late_enough = [each for each in tries(product, person)[1:] if each != too_early]
        absent = ("look_up", "error", None, None, None)
        assert late_enough == [absent, absent, ("write", "success", None, None, None)]
        assert [filed["status"] for filed in on_file(product, person.veteran)].count("active") == 1
    assert [created_for(product, person) for person in (slow, *doubtful)] == [1] + [2] * 5
    assert mails(product, 6) == ["itf.confirmed"] * 6


# -- there already ------------------------------------------------------------


@pytest.mark.parametrize("duplicate_as", ["new", "existing"])
def test_a_duplicate_confirms_the_itf_that_counts_upstream(product: Product, duplicate_as: str) -> None:
    """Filed elsewhere between our read and our creation. The second person's read fails, so the answer counts."""
    travel_to(product, NOON)
    product.control.turn("lighthouse", duplicate_as=duplicate_as)
    signed = people(product, 2)
    absent, away = {"kind": "status", "status": 404}, {"kind": "status", "status": 503}
    for person in signed:
        planted = {"icn": person.veteran.icn, "created_at": (NOON - timedelta(days=9)).isoformat()}
        product.control.call("POST", "lighthouse", "itfs", json=planted)
        set_fault(product, person, reading(person.veteran), absent)
    set_fault(product, signed[1], reading(signed[1].veteran), away)
    for person in signed:
        person.ask()
    product.work()
    for person in signed:
        assert tries(product, person) == [("write", "success", None, None, None)]
    read, unread = (row_of(product, person) for person in signed)
    assert [(row["state"], row["how"]) for row in (read, unread)] == [("confirmed", "found")] * 2
    first, second = on_file(product, signed[0].veteran), on_file(product, signed[1].veteran)
    assert (read["upstream_id"], read["effective_date"]) == (first[0]["id"], NOON - timedelta(days=9))
    assert unread["upstream_id"] == second[-1]["id"]
    earlier = unread["asked_at"] if duplicate_as == "new" else NOON - timedelta(days=9)
    assert unread["effective_date"] == earlier
    assert product.cases() == []
    assert mails(product, 2) == ["itf.confirmed"] * 2


# -- slow, throttled, doubtful ------------------------------------------------


def test_a_slow_answer_counts_like_a_fast_one(product: Product) -> None:
    (person,) = people(product, 1)
    for operation in (reading, creating):
        set_fault(product, person, operation(ADA), {"kind": "slow", "seconds": 0.3})
    person.ask()
    product.work()
    assert tries(product, person) == [("write", "success", None, None, None)]


def test_a_rate_limit_opens_the_breaker_for_as_long_as_it_says_and_charges_nobody(product: Product) -> None:
    travel_to(product, NOON)
    reconfigure(product, breaker_cap_seconds=900.0)
    product.control.turn("lighthouse", minute_limit=0)
    signed = people(product, 3)
    for person in signed:
        person.ask()
    trip = "SELECT reason, open_until - opened_at AS span FROM outbox_breakers WHERE opened_at IS NOT NULL"
    product.work(until=lambda: product.rows(trip))
    (breaker,) = product.rows(trip)
    assert breaker.reason == "throttled"
    assert timedelta(seconds=58) < breaker.span <= timedelta(seconds=61)
    product.control.turn("lighthouse", minute_limit=60_000)
    pass_time(product, seconds=62)
    product.work()
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert [row["state"] for row in itfs(product)] == ["confirmed"] * 3
    assert creates(product) == 3


def test_a_403_for_one_person_at_every_try_keeps_nobody_else_waiting(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=60.0, breaker_cap_seconds=900.0)
    (refused,) = people(product, 1)
    body = '{"errors":[{"title":"Forbidden","detail":"Forbidden","code":"403","status":"403"}]}'
    fault = {"status": 403, "body": body, "headers": {"Content-Type": "application/json"}}
    product.control.set("lighthouse", "answer", operation=f"/veterans/{ADA.icn}/", **fault)
    refused.ask()
    for count in (1, 2, 3):
        product.work(until=lambda count=count: has_tried(product, [refused], count))
        assert product.value("SELECT count(*) FROM outbox_breaker_trips") == 0
        pass_time(product, hours=1)
    other = sign_in(product, DEFAULT_CAST[1])
    other.ask()
    product.work(until=lambda: row_of(product, other)["state"] == "confirmed")
    assert row_of(product, refused)["state"] == "pending"


def test_a_doubtful_read_creates_nothing(product: Product) -> None:
    """In particular a 404 that is not worded as the API's own."""
    (person,) = people(product, 1)
    product.control.turn("lighthouse", error_family="kong")
    person.ask()
    for count, fault in enumerate(DOUBTFUL, 1):
        set_fault(product, person, reading(ADA), fault)
        product.work(until=lambda count=count: has_tried(product, [person], count))
    assert (creates(product), row_of(product, person)["state"]) == (0, "pending")
    assert {each[:4:3] for each in tries(product, person)} == {("write", "Unavailable")}
    product.work()
    assert (creates(product), reads(product)) == (1, len(DOUBTFUL) + 1)
    assert row_of(product, person)["state"] == "confirmed"
