"""What the audit says of gates: which of them nobody could have set so, and of what a gate may well do, nothing."""

from __future__ import annotations

import pytest

from outbox import breakers
from outbox.audit import find_breaker_faults, find_faults
from tests.integration.hold_steps import HOUR, answer_probe, capacity, hold, trip_breaker
from tests.ledger import SETTINGS, Ledger

CAP = SETTINGS.cap_seconds
DAY = 24 * HOUR


def faults(ledger: Ledger) -> list[str]:
    with ledger.engine.begin() as db:
        return [fault.rule for fault in (*find_faults(db), *find_breaker_faults(db, CAP, {}))]


@pytest.mark.parametrize("shut", ["held", "closed"])
def test_waiting_for_a_breaker_is_no_fault_nor_is_the_minute_in_which_the_relay_comes_back(
    ledger: Ledger, shut: str
) -> None:
    trip_breaker(ledger) if shut == "closed" else hold(ledger, HOUR)
    ledger.add()
    ledger.pass_time(HOUR - 60)
    assert faults(ledger) == []
    ledger.pass_time(90)
    if shut == "closed":
        answer_probe(ledger)
    assert faults(ledger) == []
    ledger.pass_time(61)
    assert faults(ledger) == ["ready_behind_closed_breaker"]


def closed_at_the_cap(ledger: Ledger) -> None:
    """A Retry-After of a week, which is cut."""
    grant = ledger.start()
    with ledger.engine.begin() as db:
        assert breakers.trip(db, grant, "throttled", SETTINGS, retry_after=7 * DAY)
    ledger.end(grant)


def test_a_breaker_open_by_hand_for_longer_than_the_cap_is_named(ledger: Ledger) -> None:
    trip_breaker(ledger)
    found = {}
    for length in ("100 seconds", "161 seconds", "365 days", "infinity"):
        ledger.run("UPDATE outbox_breakers SET open_until = outbox_now() + CAST(:length AS interval)", length=length)
        found[length] = faults(ledger)
    named = ["breaker_open_too_long"]
    assert found == {"100 seconds": [], "161 seconds": named, "365 days": named, "infinity": named}


def test_neither_the_longest_trip_nor_a_hold_nor_a_window_is_a_fault(ledger: Ledger) -> None:
    closed_at_the_cap(ledger)
    assert faults(ledger) == []
    hold(ledger, 30 * DAY)
    hold(ledger, 30 * DAY, after=30 * DAY)
    assert faults(ledger) == []


def test_a_probe_out_at_a_open_breaker_is_no_fault_nor_is_its_failing_again_and_again(ledger: Ledger) -> None:
    trip_breaker(ledger)
    for _ in range(6):
        ledger.pass_time(CAP + 1)
        ((message_id, fence),) = ledger.publish()
        grant = ledger.grant(message_id, fence)
        assert grant is not None and faults(ledger) == []
        with ledger.engine.begin() as db:
            breakers.trip(db, grant, "unavailable", SETTINGS, retry_after=DAY)
        ledger.again(grant)
        assert faults(ledger) == []


def test_a_clock_that_is_ahead_or_was_put_back_by_seconds_makes_no_fault(ledger: Ledger) -> None:
    ledger.pass_time(365 * DAY)
    closed_at_the_cap(ledger)
    assert faults(ledger) == []
    ledger.pass_time(-30)
    assert faults(ledger) == []
    ledger.pass_time(-HOUR)
    assert faults(ledger) == ["breaker_open_too_long"], "it would stay shut for that hour"


def test_a_breaker_said_to_closed_in_the_future_lets_nothing_pass_and_is_named(ledger: Ledger) -> None:
    ledger.run("UPDATE outbox_breakers SET closed_at = outbox_now() + interval '50 seconds'")
    assert faults(ledger) == []
    ledger.run("UPDATE outbox_breakers SET closed_at = outbox_now() + interval '1 day'")
    assert (capacity(ledger), faults(ledger)) == (0, ["breaker_closed_in_future"])
