"""Every way a creation can go wrong and still come right: once upstream, dated by the moment the person asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.house import ADA, House
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
from tests.integration.steps import reconfigure

NOON = datetime(2031, 3, 4, 18, tzinfo=UTC)
Fault = dict[str, Any]
# What a creation is answered with after it was done, and after it was not: none of it says which.
DONE: tuple[Fault, ...] = (
    {"kind": "drop"},
    {"kind": "half"},
    {"kind": "late", "seconds": 1.5},
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
# What a read is answered with by somebody who knows nothing of anybody's ITFs.
DOUBTFUL: tuple[Fault, ...] = (
    {"kind": "html", "status": 404},
    {"kind": "html", "status": 200},
    {"kind": "empty", "status": 404},
    {"kind": "status", "status": 404},
    {"kind": "status", "status": 500},
    {"kind": "half"},
)


def set_fault(house: House, person: Signed, operation: str, fault: Fault, times: int | None = 1) -> None:
    house.control.set("lighthouse", operation=operation, times=times, **fault)


@pytest.fixture
def house(house: House) -> House:
    """A failure closes the gate for a moment only: what is shown here is what comes after it."""
    reconfigure(house, gate_cap_seconds=0.05)
    return house


def people(house: House, number: int) -> list[Signed]:
    return [sign_in(house, veteran) for veteran in DEFAULT_CAST[:number]]


def tries(house: House, person: Signed) -> list[tuple[Any, ...]]:
    """Every attempt at this person's creation that is over: purpose, status, and what upstream answered."""
    query = """SELECT purpose, status, http_status, error_class, error_detail FROM outbox_attempts
                WHERE subject_id = :id AND job LIKE '%.create_itf' AND finished_at IS NOT NULL ORDER BY id"""
    return [tuple(row) for row in house.rows(query, id=str(row_of(house, person)["id"]))]


def has_tried(house: House, asked: Iterable[Signed], times: int) -> bool:
    return all(len(tries(house, person)) >= times for person in asked)


def created_for(house: House, person: Signed) -> int:
    """How often Lighthouse was asked to create this person's."""
    return len(house.control.received("lighthouse", creating(person.veteran)))


def endings(house: House, person: Signed) -> list[tuple[str, str]]:
    return attempts(house, row_of(house, person)["id"])


# -- refused ------------------------------------------------------------------


def test_what_is_refused_is_tried_again_and_the_itf_stays_as_it_is_meanwhile(house: House, monkeypatch: Any) -> None:
    """Whatever upstream says; the one nobody there knew is known later."""
    words = f"No {ADA.icn} here, call 303-555-0123"
    monkeypatch.setattr(house.fakes.fakes.lighthouse, "error_body", lambda *_: {"errors": [{"detail": words}]})
    refused = dict(zip((400, 403, 422), people(house, 3), strict=True))
    for status, person in refused.items():
        set_fault(house, person, creating(person.veteran), {"kind": "status", "status": status}, times=None)
    unknown = sign_in(house, WITH_ITF["unknown"])
    everybody = [*refused.values(), unknown]
    for person in everybody:
        person.ask()
    before = itfs(house)
    house.work(until=lambda: has_tried(house, everybody, 1), seconds=40)
    assert itfs(house) == before
    kept = "No [icn] here, call [phone]"
    for status, person in refused.items():
        error = "Unauthorized" if status == 403 else "Rejected"
        assert set(tries(house, person)) == {("write", "error", status, error, kept)}
    assert set(tries(house, unknown)) == {("write", "error", 404, "Rejected", "Veteran ID not found")}
    assert (house.cases(), house.control.phone()) == ([], [])
    house.control.clear("lighthouse")
    house.fakes.fakes.cast.add(replace(unknown.veteran, itf="none"))
    house.work()
    assert [(row["state"], row["how"]) for row in itfs(house)] == [("confirmed", "created")] * 4
    assert [len(on_file(house, person.veteran)) for person in everybody] == [1] * 4
    assert [endings(house, person)[-1] for person in everybody] == [("write", "success")] * 4
    assert mails(house, 4) == ["itf.confirmed"] * 4


def test_a_token_that_died_early_is_nobodys_attempt(house: House) -> None:
    asked = people(house, 2)
    for person, operation in zip(asked, (reading, creating), strict=True):
        set_fault(house, person, operation(person.veteran), {"kind": "expire"})
        person.ask()
    house.work()
    assert [tries(house, person) for person in asked] == [[("write", "success", None, None, None)]] * 2
    assert len(on_file(house)) == len(on_file(house, asked[1].veteran)) == 1


# -- unanswered ---------------------------------------------------------------


def test_a_creation_whose_answer_is_lost_is_found_by_reading_and_not_repeated(house: House) -> None:
    reconfigure(house, lighthouse_total_seconds=1.0)
    asked = people(house, len(DONE))
    for person, fault in zip(asked, DONE, strict=True):
        set_fault(house, person, creating(person.veteran), fault)
        person.ask()
    house.work()
    for person, fault in zip(asked, DONE, strict=True):
        assert endings(house, person) == [("write", "unknown"), ("look_up", "success")], fault
        row, (filed,) = row_of(house, person), on_file(house, person.veteran)
        assert (row["state"], row["how"], row["upstream_id"]) == ("confirmed", "found", filed["id"])
        assert row["effective_date"] == row["asked_at"]
    assert creates(house) == len(DONE)
    assert mails(house, len(DONE)) == ["itf.confirmed"] * len(DONE)


def test_what_reads_do_not_find_late_enough_and_twice_is_created_again(house: House) -> None:
    """One of them is still on its way to be done: it is found, for we waited."""
    reconfigure(house, lighthouse_settle_seconds=3600.0, lighthouse_total_seconds=1.0)
    travel_to(house, NOON)
    odd, on_its_way, *lost = people(house, 2 + len(NOT_DONE))
    house.control.turn("lighthouse", create_status="incomplete")
    odd.ask()
    house.work(until=lambda: has_tried(house, [odd], 1))
    house.control.turn("lighthouse", create_status="active")
    set_fault(house, on_its_way, creating(on_its_way.veteran), {"kind": "slow", "seconds": 1.5})
    for person, fault in zip(lost, NOT_DONE, strict=True):
        set_fault(house, person, creating(person.veteran), fault)
    for person in (on_its_way, *lost):
        person.ask()
    doubtful = [odd, *lost]
    house.work(until=lambda: row_of(house, on_its_way)["state"] == "confirmed", seconds=40)
    house.work(until=lambda: has_tried(house, doubtful, 3), seconds=40)
    assert [row["state"] for row in itfs(house)].count("confirmed") == 1
    assert [created_for(house, person) for person in (on_its_way, *doubtful)] == [1] * 6
    too_early = ("look_up", "error", None, None, "too early to tell")
    for person in doubtful:
        assert tries(house, person)[0][:2] == ("write", "unknown")
        assert set(tries(house, person)[1:]) == {too_early}
    pass_time(house, hours=1, seconds=5)
    house.work()
    for person in doubtful:
        late_enough = [each for each in tries(house, person)[1:] if each != too_early]
        absent = ("look_up", "error", None, None, None)
        assert late_enough == [absent, absent, ("write", "success", None, None, None)]
        assert [filed["status"] for filed in on_file(house, person.veteran)].count("active") == 1
    assert [created_for(house, person) for person in (on_its_way, *doubtful)] == [1] + [2] * 5
    assert mails(house, 6) == ["itf.confirmed"] * 6


# -- there already ------------------------------------------------------------


@pytest.mark.parametrize("duplicate_as", ["new", "existing"])
def test_a_duplicate_confirms_with_what_counts_upstream(house: House, duplicate_as: str) -> None:
    """Filed elsewhere between our read and our creation. The second one's is read in vain, so the answer counts."""
    travel_to(house, NOON)
    house.control.turn("lighthouse", duplicate_as=duplicate_as)
    asked = people(house, 2)
    absent, away = {"kind": "status", "status": 404}, {"kind": "status", "status": 503}
    for person in asked:
        planted = {"icn": person.veteran.icn, "created_at": (NOON - timedelta(days=9)).isoformat()}
        house.control.call("POST", "lighthouse", "itfs", json=planted)
        set_fault(house, person, reading(person.veteran), absent)
    set_fault(house, asked[1], reading(asked[1].veteran), away)
    for person in asked:
        person.ask()
    house.work()
    for person in asked:
        assert tries(house, person) == [("write", "success", None, None, None)]
    read, unread = (row_of(house, person) for person in asked)
    assert [(row["state"], row["how"]) for row in (read, unread)] == [("confirmed", "found")] * 2
    first, second = on_file(house, asked[0].veteran), on_file(house, asked[1].veteran)
    assert (read["upstream_id"], read["effective_date"]) == (first[0]["id"], NOON - timedelta(days=9))
    assert unread["upstream_id"] == second[-1]["id"]
    earlier = unread["asked_at"] if duplicate_as == "new" else NOON - timedelta(days=9)
    assert unread["effective_date"] == earlier
    assert house.cases() == []
    assert mails(house, 2) == ["itf.confirmed"] * 2


# -- slow, throttled, doubtful ------------------------------------------------


def test_a_slow_answer_is_an_answer(house: House) -> None:
    (person,) = people(house, 1)
    for operation in (reading, creating):
        set_fault(house, person, operation(ADA), {"kind": "slow", "seconds": 0.3})
    person.ask()
    house.work()
    assert tries(house, person) == [("write", "success", None, None, None)]


def test_a_rate_limit_closes_the_gate_for_as_long_as_it_says_and_charges_nobody(house: House) -> None:
    travel_to(house, NOON)
    reconfigure(house, gate_cap_seconds=900.0)
    house.control.turn("lighthouse", minute_limit=0)
    asked = people(house, 3)
    for person in asked:
        person.ask()
    closed = "SELECT reason, closed_until - closed_at AS span FROM outbox_gates WHERE closed_at IS NOT NULL"
    house.work(until=lambda: house.rows(closed))
    (gate,) = house.rows(closed)
    assert gate.reason == "throttled"
    assert timedelta(seconds=58) < gate.span <= timedelta(seconds=61)
    house.control.turn("lighthouse", minute_limit=60_000)
    pass_time(house, seconds=62)
    house.work()
    assert house.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert [row["state"] for row in itfs(house)] == ["confirmed"] * 3
    assert creates(house) == 3


def test_a_read_that_leaves_a_doubt_creates_nothing(house: House) -> None:
    """Least of all a 404 in words that are not the API's own."""
    (person,) = people(house, 1)
    house.control.turn("lighthouse", error_family="kong")
    person.ask()
    for count, fault in enumerate(DOUBTFUL, 1):
        set_fault(house, person, reading(ADA), fault)
        house.work(until=lambda count=count: has_tried(house, [person], count))
    assert (creates(house), row_of(house, person)["state"]) == (0, "pending")
    assert {each[:4:3] for each in tries(house, person)} == {("write", "Unavailable")}
    house.work()
    assert (creates(house), reads(house)) == (1, len(DOUBTFUL) + 1)
    assert row_of(house, person)["state"] == "confirmed"
