"""Budgets and bounds: how much may be in flight, the slow start of a breaker, which time and which attempts count."""

from __future__ import annotations

from datetime import datetime

import pytest

from outbox import attempts, breakers
from outbox.values import Grant, QueueSpec
from tests.integration.hold_steps import answer_probe, seconds_closed
from tests.ledger import ACCEPTED, CALLS, OUTAGE, REFUSED, SETTINGS, SILENCE, Ledger


def capacity(ledger: Ledger) -> int:
    with ledger.engine.begin() as db:
        return breakers.capacity(db, CALLS, SETTINGS)[0]


def now(ledger: Ledger) -> datetime:
    timestamp: datetime = ledger.rows("SELECT outbox_now() AS now")[0]["now"]
    return timestamp


def open_breaker(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, delay=1e6)
    with ledger.engine.begin() as db:
        assert breakers.trip(db, grant, "unavailable", SETTINGS)


def close_breaker(ledger: Ledger) -> None:
    """Let a probe pass when the time is up, and have it answered."""
    ledger.pass_time(1000)
    ledger.add()
    answer_probe(ledger)


def is_charged(ledger: Ledger, grant: Grant) -> bool:
    with ledger.engine.begin() as db:
        return attempts.is_charged(db, grant)


def test_work_in_flight_is_counted_from_rows(ledger: Ledger) -> None:
    assert capacity(ledger) == CALLS.concurrency
    running = ledger.start()
    ledger.add()
    ledger.publish()
    assert capacity(ledger) == CALLS.concurrency - 2
    ledger.end(running)
    assert capacity(ledger) == CALLS.concurrency - 1


def test_work_without_an_upstream_is_bounded_by_depth_and_without_a_breaker_nothing_passes(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        assert breakers.capacity(db, QueueSpec("x", None, 1, 33), SETTINGS) == (33, None)
        assert breakers.capacity(db, QueueSpec("x", "stranger", 1, 33), SETTINGS) == (0, None)


def test_a_changed_limit_is_written_to_the_breaker(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        breakers.ensure_breakers(db, [QueueSpec("calls", "clerk", 4, 20, concurrency=3)])
    assert capacity(ledger) == 3


def test_a_breaker_that_closes_starts_slowly(ledger: Ledger) -> None:
    open_breaker(ledger)
    close_breaker(ledger)
    allowed = []
    for _ in range(4):
        allowed.append(capacity(ledger))
        ledger.pass_time(SETTINGS.slow_start_seconds)
    assert allowed == [2, 4, 8, CALLS.concurrency]
    ledger.pass_time(3600)
    assert capacity(ledger) == CALLS.concurrency


def test_the_slow_start_counts_what_is_in_flight_already(ledger: Ledger) -> None:
    before = [ledger.start() for _ in range(2)]
    open_breaker(ledger)
    close_breaker(ledger)
    assert capacity(ledger) == 0
    for grant in before:
        ledger.end(grant)
    assert capacity(ledger) == 2


def test_closed_seconds_are_wall_clock_seconds_without_the_trips(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(100)
    open_breaker(ledger)
    close_breaker(ledger)
    ledger.pass_time(50)
    assert seconds_closed(ledger, since) == 150
    ledger.pass_time(5)
    open_breaker(ledger)
    ledger.pass_time(500)
    assert seconds_closed(ledger, since) == 155, "a trip that still lasts does not count either"
    assert seconds_closed(ledger, since, upstream=None) == 1655
    assert seconds_closed(ledger, since, upstream="another") == 1655


def test_a_trip_that_began_earlier_counts_from_the_requested_time(ledger: Ledger) -> None:
    open_breaker(ledger)
    ledger.pass_time(300)
    since = now(ledger)
    assert seconds_closed(ledger, since) == 0
    close_breaker(ledger)
    ledger.pass_time(7)
    assert seconds_closed(ledger, since) == 7
    later = now(ledger)
    ledger.pass_time(3)
    assert seconds_closed(ledger, later) == 3


def test_an_outage_charges_nobody(ledger: Ledger) -> None:
    message_ids = [ledger.add() for _ in range(3)]
    for _ in range(3):
        for message_id in message_ids:
            grant = ledger.start(message_id)
            assert not is_charged(ledger, grant)
            ledger.again(grant, OUTAGE)
            ledger.pass_time(1)


@pytest.mark.parametrize("ending", [ACCEPTED, REFUSED])
def test_an_attempt_is_charged_once_another_message_was_answered(ledger: Ledger, ending: object) -> None:
    unlucky = ledger.add()
    ledger.again(ledger.start(unlucky), OUTAGE)
    ledger.pass_time(1)
    ledger.end(ledger.start(), ending)  # type: ignore[arg-type]
    ledger.pass_time(1)
    grant = ledger.start(unlucky)
    assert is_charged(ledger, grant)
    ledger.again(grant, OUTAGE)
    ledger.pass_time(1)
    assert not is_charged(ledger, ledger.start(unlucky)), "that answer is older than the attempt that was charged"


def test_a_messages_own_answers_charge_it_nothing(ledger: Ledger) -> None:
    """An upstream that answers only this message may fail because of it, or be down for all the others."""
    message_id = ledger.add()
    for _ in range(3):
        grant = ledger.start(message_id)
        ledger.pass_time(1)
        assert not is_charged(ledger, grant)
        ledger.again(grant, REFUSED)
        ledger.pass_time(1)


def test_an_unanswered_call_to_another_message_charges_nobody(ledger: Ledger) -> None:
    unlucky = ledger.add()
    other = ledger.start()
    ledger.again(other, SILENCE)
    ledger.pass_time(1)
    assert not is_charged(ledger, ledger.start(unlucky))


def test_answers_of_another_upstream_charge_nobody(ledger: Ledger) -> None:
    unlucky = ledger.add()
    ledger.end(ledger.start())
    ledger.run("UPDATE outbox_attempts SET upstream = 'another' WHERE status = 'success'")
    assert not is_charged(ledger, ledger.start(unlucky))


def test_work_without_an_upstream_is_always_charged(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.run("UPDATE outbox_messages SET upstream = NULL")
    ledger.again(grant)
    assert is_charged(ledger, ledger.start(grant.message_id))


def test_charges_are_counted_on_the_message(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, charged=True)
    grant = ledger.start(grant.message_id)
    ledger.again(grant, charged=False)
    grant = ledger.start(grant.message_id)
    assert grant.charged_attempts == 1
