"""Holds beside the rules of the breaker itself: probes, the slow start afterwards, and time that no budget counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outbox import breakers
from tests.integration.hold_steps import HOUR, capacity, hold, lift, now, refused_for, seconds_closed, trip_breaker
from tests.ledger import CALLS, SETTINGS, Ledger

# -- a hold and an open breaker --------------------------------------------------


def test_a_hold_on_an_open_breaker_keeps_even_the_probe_back(ledger: Ledger) -> None:
    trip_breaker(ledger)
    hold(ledger, HOUR)
    ledger.pass_time(60)
    assert (ledger.publish(), refused_for(ledger)) == ([], HOUR - 60)
    ledger.pass_time(HOUR)
    ledger.add()
    assert len(ledger.publish()) == 1, "after the hold the breaker is open as before: one probe"


def test_a_probe_that_meets_a_hold_is_turned_back_and_another_one_follows_it(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((probe, fence),) = ledger.publish()
    hold(ledger, HOUR)
    assert ledger.grant(probe, fence) is None
    assert ledger.state(probe) == "ready"
    ledger.pass_time(HOUR)
    assert len(ledger.publish()) == 1


def test_an_answer_under_way_when_the_hold_began_closes_the_breaker_but_keeps_the_hold(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    hold(ledger, HOUR)
    with ledger.engine.begin() as db:
        assert breakers.note_answer(db, grant)
    ledger.add()
    assert (ledger.breaker()["opened_at"], ledger.publish()) == (None, [])


@pytest.mark.parametrize("ended", ["by itself", "lifted"])
def test_after_a_hold_the_flow_starts_slowly(ledger: Ledger, ended: str) -> None:
    hold(ledger, HOUR)
    ledger.pass_time(HOUR / 2)
    if ended == "lifted":
        lift(ledger)
    else:
        ledger.pass_time(HOUR / 2)
    allowed = []
    for _ in range(4):
        allowed.append(capacity(ledger))
        ledger.pass_time(SETTINGS.slow_start_seconds)
    assert allowed == [2, 4, 8, CALLS.concurrency]


def test_a_planned_hold_lifted_before_it_began_slows_nothing_down(ledger: Ledger) -> None:
    hold(ledger, HOUR, after=10)
    ledger.pass_time(8)
    lift(ledger)
    assert capacity(ledger) == CALLS.concurrency
    ledger.pass_time(3)
    assert capacity(ledger) == CALLS.concurrency


# -- what it costs -------------------------------------------------------------


def test_no_budget_runs_during_a_hold(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(100)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=HOUR * 5)
    ledger.pass_time(HOUR / 2)
    assert seconds_closed(ledger, since) == 100, "the second half of the hold counts no more than the first"
    ledger.pass_time(HOUR / 2 + 50)
    assert seconds_closed(ledger, since) == 150
    assert seconds_closed(ledger, since + timedelta(seconds=100 + HOUR / 2)) == 50


def test_time_under_two_holds_and_a_trip_is_subtracted_once(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(10)
    trip_breaker(ledger)
    ledger.pass_time(100)
    hold(ledger, 200)
    hold(ledger, 300, after=100)
    ledger.pass_time(1000)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    with ledger.engine.begin() as db:
        assert breakers.note_answer(db, grant)
    assert seconds_closed(ledger, since) == 10
    hold(ledger, 60)
    ledger.pass_time(1)
    hold(ledger, 60)
    ledger.pass_time(100)
    assert seconds_closed(ledger, since) == 10 + 101 - 61


def test_a_lifted_hold_counts_only_as_long_as_it_lasted(ledger: Ledger) -> None:
    since = now(ledger)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=2 * HOUR)
    ledger.pass_time(20)
    lift(ledger)
    ledger.pass_time(3 * HOUR)
    assert seconds_closed(ledger, since) == 3 * HOUR


def test_a_clock_that_stepped_back_breaks_no_budget(ledger: Ledger) -> None:
    """After a failover to a server whose clock is slow, a breaker may close before it opened, and a hold likewise."""
    since = now(ledger)
    trip_breaker(ledger)
    hold(ledger, HOUR)
    ledger.run("UPDATE outbox_breaker_trips SET closed_at = opened_at - interval '1 second'")
    ledger.run("UPDATE outbox_breaker_holds SET lifted_at = starts_at - interval '1 second', lifted_by = 'x'")
    ledger.pass_time(50)
    assert seconds_closed(ledger, since - timedelta(seconds=10)) == 60
    assert seconds_closed(ledger, since + timedelta(seconds=60)) == -10
