"""The audit of breakers: it names states that no run of the product could have set, and no others."""

from __future__ import annotations

import pytest

from outbox import breakers
from outbox.audit import Known, find_faults
from tests.integration.hold_steps import HOUR, answer_probe, capacity, hold, trip_breaker
from tests.ledger import SETTINGS, Ledger

CAP = SETTINGS.cap_seconds
DAY = 24 * HOUR


def faults(ledger: Ledger) -> list[str]:
    with ledger.engine.begin() as db:
        return [fault.rule for fault in find_faults(db, known=Known(settings=SETTINGS))]


@pytest.mark.parametrize("why", ["held", "open"])
def test_waiting_for_a_breaker_is_no_fault_nor_is_the_first_minute_after_it(ledger: Ledger, why: str) -> None:
    trip_breaker(ledger) if why == "open" else hold(ledger, HOUR)
    ledger.add()
    ledger.pass_time(HOUR - 60)
    assert faults(ledger) == []
    ledger.pass_time(90)
    if why == "open":
        answer_probe(ledger)
    assert faults(ledger) == []
    ledger.pass_time(61)
    assert faults(ledger) == ["ready_behind_closed_breaker"]


def open_at_the_cap(ledger: Ledger) -> None:
    """Open the breaker with a Retry-After of a week, which is cut to the cap."""
    grant = ledger.start()
    with ledger.engine.begin() as db:
        assert breakers.trip(db, grant, "throttled", SETTINGS, retry_after=7 * DAY)
    ledger.end(grant)


def test_a_breaker_set_open_by_hand_beyond_the_cap_is_named(ledger: Ledger) -> None:
    trip_breaker(ledger)
    found = {}
    for length in ("100 seconds", "161 seconds", "365 days", "infinity"):
        ledger.run("UPDATE outbox_breakers SET open_until = outbox_now() + CAST(:length AS interval)", length=length)
        found[length] = faults(ledger)
    named = ["breaker_open_too_long"]
    assert found == {"100 seconds": [], "161 seconds": named, "365 days": named, "infinity": named}


def test_the_longest_trip_a_hold_and_a_planned_window_are_no_faults(ledger: Ledger) -> None:
    open_at_the_cap(ledger)
    assert faults(ledger) == []
    hold(ledger, 30 * DAY)
    hold(ledger, 30 * DAY, after=30 * DAY)
    assert faults(ledger) == []


def test_a_probe_under_way_at_an_open_breaker_is_no_fault_however_often_it_fails(ledger: Ledger) -> None:
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


def test_a_clock_that_is_ahead_or_set_back_by_seconds_makes_no_fault(ledger: Ledger) -> None:
    ledger.pass_time(365 * DAY)
    open_at_the_cap(ledger)
    assert faults(ledger) == []
    ledger.pass_time(-30)
    assert faults(ledger) == []
    ledger.pass_time(-HOUR)
    assert faults(ledger) == ["breaker_open_too_long"], "it would stay open for that hour"


def test_a_breaker_closed_in_the_future_lets_nothing_pass_and_is_named(ledger: Ledger) -> None:
    ledger.run("UPDATE outbox_breakers SET closed_at = outbox_now() + interval '50 seconds'")
    assert faults(ledger) == []
    ledger.run("UPDATE outbox_breakers SET closed_at = outbox_now() + interval '1 day'")
    assert (capacity(ledger), faults(ledger)) == (0, ["breaker_closed_in_future"])
