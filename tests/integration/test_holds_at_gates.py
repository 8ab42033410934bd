"""A hold beside the gate's own rules: canaries, the slow start after it, and the time that no budget runs in."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outbox import gates
from tests.integration.hold_steps import HOUR, close_gate, hold, lift, now, open_seconds, refused_for, room
from tests.ledger import CALLS, SETTINGS, Ledger

# -- a hold and a gate ---------------------------------------------------------


def test_a_hold_on_a_closed_gate_keeps_even_the_canary_back(ledger: Ledger) -> None:
    close_gate(ledger)
    hold(ledger, HOUR)
    ledger.pass_time(60)
    assert (ledger.publish(), refused_for(ledger)) == ([], HOUR - 60)
    ledger.pass_time(HOUR)
    ledger.add()
    assert len(ledger.publish()) == 1, "after the hold the gate is closed as before: one canary"


def test_a_canary_that_meets_a_hold_is_turned_back_and_another_one_goes_after_it(ledger: Ledger) -> None:
    close_gate(ledger)
    ledger.pass_time(11)
    ((canary, fence),) = ledger.publish()
    hold(ledger, HOUR)
    assert ledger.grant(canary, fence) is None
    assert ledger.state(canary) == "ready"
    ledger.pass_time(HOUR)
    assert len(ledger.publish()) == 1


def test_an_answer_under_way_when_the_hold_began_opens_the_gate_but_not_the_hold(ledger: Ledger) -> None:
    close_gate(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    hold(ledger, HOUR)
    with ledger.engine.begin() as db:
        assert gates.note_answer(db, grant)
    ledger.add()
    assert (ledger.gate()["closed_at"], ledger.publish()) == (None, [])


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
        allowed.append(room(ledger))
        ledger.pass_time(SETTINGS.slow_start_seconds)
    assert allowed == [2, 4, 8, CALLS.concurrency]


def test_a_window_that_was_lifted_before_it_began_slows_nothing_down(ledger: Ledger) -> None:
    hold(ledger, HOUR, after=10)
    ledger.pass_time(8)
    lift(ledger)
    assert room(ledger) == CALLS.concurrency
    ledger.pass_time(3)
    assert room(ledger) == CALLS.concurrency


# -- what it costs -------------------------------------------------------------


def test_no_budget_runs_while_a_hold_lasts(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(100)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=HOUR * 5)
    ledger.pass_time(HOUR / 2)
    assert open_seconds(ledger, since) == 100, "the half that is still to come is no more open for that"
    ledger.pass_time(HOUR / 2 + 50)
    assert open_seconds(ledger, since) == 150
    assert open_seconds(ledger, since + timedelta(seconds=100 + HOUR / 2)) == 50


def test_time_under_two_holds_and_a_closing_is_taken_away_once(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(10)
    close_gate(ledger)
    ledger.pass_time(100)
    hold(ledger, 200)
    hold(ledger, 300, after=100)
    ledger.pass_time(1000)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    with ledger.engine.begin() as db:
        assert gates.note_answer(db, grant)
    assert open_seconds(ledger, since) == 10
    hold(ledger, 60)
    ledger.pass_time(1)
    hold(ledger, 60)
    ledger.pass_time(100)
    assert open_seconds(ledger, since) == 10 + 101 - 61


def test_a_lifted_hold_counts_only_as_long_as_it_lasted(ledger: Ledger) -> None:
    since = now(ledger)
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=2 * HOUR)
    ledger.pass_time(20)
    lift(ledger)
    ledger.pass_time(3 * HOUR)
    assert open_seconds(ledger, since) == 3 * HOUR


def test_a_clock_that_stepped_back_breaks_no_budget(ledger: Ledger) -> None:
    """A failover to a server that is behind: the gate opens before it closed, a hold is lifted before it began."""
    since = now(ledger)
    close_gate(ledger)
    hold(ledger, HOUR)
    ledger.run("UPDATE outbox_gate_closings SET opened_at = closed_at - interval '1 second'")
    ledger.run("UPDATE outbox_gate_holds SET lifted_at = starts_at - interval '1 second', lifted_by = 'x'")
    ledger.pass_time(50)
    assert open_seconds(ledger, since - timedelta(seconds=10)) == 60
    assert open_seconds(ledger, since + timedelta(seconds=60)) == -10
