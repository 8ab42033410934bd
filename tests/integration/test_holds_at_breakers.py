"""A hold beside the gate's own rules: probes, the slow start after it, and the time that no budget runs in."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outbox import breakers
from tests.integration.hold_steps import HOUR, capacity, closed_seconds, hold, lift, now, refused_for, trip_breaker
from tests.ledger import CALLS, SETTINGS, Ledger

# -- a hold and a gate ---------------------------------------------------------


def test_a_hold_on_a_open_breaker_keeps_even_the_probe_back(ledger: Ledger) -> None:
    trip_breaker(ledger)
    hold(ledger, HOUR)
    ledger.pass_time(60)
    assert (ledger.publish(), refused_for(ledger)) == ([], HOUR - 60)
    ledger.pass_time(HOUR)
    ledger.add()
    assert len(ledger.publish()) == 1, "after the hold the gate is closed as before: one probe"


def test_a_probe_that_meets_a_hold_is_turned_back_and_another_one_goes_after_it(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((probe, fence),) = ledger.publish()
    hold(ledger, HOUR)
    assert ledger.grant(probe, fence) is None
    assert ledger.state(probe) == "ready"
    ledger.pass_time(HOUR)
    assert len(ledger.publish()) == 1


def test_an_answer_under_way_when_the_hold_began_closes_the_breaker_but_not_the_hold(ledger: Ledger) -> None:
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


def test_a_window_that_was_lifted_before_it_began_slows_nothing_down(ledger: Ledger) -> None:
    hold(ledger, HOUR, after=10)
    ledger.pass_time(8)
    lift(ledger)
    assert capacity(ledger) == CALLS.concurrency
    ledger.pass_time(3)
    assert capacity(ledger) == CALLS.concurrency


# -- what it costs -------------------------------------------------------------


def test_no_budget_runs_while_a_hold_lasts(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(100)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=HOUR * 5)
    ledger.pass_time(HOUR / 2)
    assert closed_seconds(ledger, since) == 100, "the half that is still to come is no more open for that"
    ledger.pass_time(HOUR / 2 + 50)
    assert closed_seconds(ledger, since) == 150
    assert closed_seconds(ledger, since + timedelta(seconds=100 + HOUR / 2)) == 50


def test_time_under_two_holds_and_a_trip_is_taken_away_once(ledger: Ledger) -> None:
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
    assert closed_seconds(ledger, since) == 10
    hold(ledger, 60)
    ledger.pass_time(1)
    hold(ledger, 60)
    ledger.pass_time(100)
    assert closed_seconds(ledger, since) == 10 + 101 - 61


def test_a_lifted_hold_counts_only_as_long_as_it_lasted(ledger: Ledger) -> None:
    since = now(ledger)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=2 * HOUR)
    ledger.pass_time(20)
    lift(ledger)
    ledger.pass_time(3 * HOUR)
    assert closed_seconds(ledger, since) == 3 * HOUR


def test_a_clock_that_stepped_back_breaks_no_budget(ledger: Ledger) -> None:
    """A failover to a server that is behind: the gate opens before it closed, a hold is lifted before it began."""
    since = now(ledger)
    trip_breaker(ledger)
    hold(ledger, HOUR)
    ledger.run("UPDATE outbox_breaker_trips SET closed_at = opened_at - interval '1 second'")
    ledger.run("UPDATE outbox_breaker_holds SET lifted_at = starts_at - interval '1 second', lifted_by = 'x'")
    ledger.pass_time(50)
    assert closed_seconds(ledger, since - timedelta(seconds=10)) == 60
    assert closed_seconds(ledger, since + timedelta(seconds=60)) == -10
