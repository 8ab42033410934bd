"""Several Retry-After headers at once: when an upstream fails under several calls, the longest one is obeyed."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from outbox import breakers, sync_calls
from outbox.sync_calls import BreakerOpen, SyncCall
from outbox.values import Grant
from tests.ledger import OUTAGE, SETTINGS, SILENCE, Ledger


def fail(ledger: Ledger, grant: Grant, retry_after: float | None = None) -> bool:
    """A failed attempt, due again at once; True when it opened the breaker."""
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        return breakers.trip(db, grant, "unavailable", SETTINGS, retry_after)


def stay_silent(ledger: Ledger, grant: Grant, retry_after: float) -> bool:
    """A 503 to a write: it may have happened, and its header says when to try again."""
    ledger.again(grant, SILENCE)
    with ledger.engine.begin() as db:
        return breakers.note_unanswered(db, grant, SETTINGS, retry_after)


def enter(ledger: Ledger) -> SyncCall:
    with ledger.engine.begin() as db:
        return sync_calls.enter(db, "clerk", 5.0, str(uuid.uuid4()))


def fail_call(ledger: Ledger, sync_call: SyncCall, retry_after: float) -> bool:
    with ledger.engine.begin() as db:
        return sync_calls.note_failure(db, sync_call, "throttled", SETTINGS, retry_after)


def answer(ledger: Ledger, grant: Grant) -> bool:
    with ledger.engine.begin() as db:
        return breakers.note_answer(db, grant)


def is_open_for(ledger: Ledger, seconds: float) -> bool:
    """Whether a probe may go in so many seconds, less what a busy machine took until now."""
    (found,) = ledger.rows("SELECT extract(epoch FROM open_until - outbox_now()) AS left FROM outbox_breakers")
    return seconds - 8 < found["left"] <= seconds


def all_but_the_end(ledger: Ledger) -> dict[str, Any]:
    """The breaker and its recorded trips, without the time at which it lets a probe pass."""
    breaker = {name: value for name, value in ledger.breaker().items() if name not in ("open_until", "unanswered")}
    return breaker | {"trips booked": ledger.rows("SELECT * FROM outbox_breaker_trips")}


def probe(ledger: Ledger) -> tuple[int, int]:
    ((message_id, fence),) = ledger.publish()
    return message_id, fence


@pytest.mark.parametrize("how", [fail, stay_silent])
def test_a_longer_retry_after_is_obeyed_and_changes_nothing_else(ledger: Ledger, how: Any) -> None:
    first, second, third = ledger.start(), ledger.start(), ledger.start()
    ledger.pass_time(1)
    assert fail(ledger, first)
    before = all_but_the_end(ledger)
    ledger.pass_time(3)
    assert not how(ledger, second, 60.0)
    assert is_open_for(ledger, 60)
    assert not how(ledger, third, 20.0)
    assert (is_open_for(ledger, 60), all_but_the_end(ledger)) == (True, before)
    ledger.pass_time(50)
    assert ledger.publish() == []
    ledger.pass_time(11)
    probe(ledger)


def test_the_cap_counts_from_the_answer_with_the_header(ledger: Ledger) -> None:
    first, second = ledger.start(), ledger.start()
    assert fail(ledger, first)
    ledger.pass_time(8)
    assert not fail(ledger, second, 1e6)
    assert is_open_for(ledger, SETTINGS.cap_seconds)


def test_a_longer_retry_after_to_a_synchronous_call_is_obeyed(ledger: Ledger) -> None:
    sync_call, grant = enter(ledger), ledger.start()
    ledger.pass_time(1)
    assert fail(ledger, grant)
    assert not fail_call(ledger, sync_call, 60.0)
    with pytest.raises(BreakerOpen) as refused:
        enter(ledger)
    assert 52 < refused.value.seconds <= 60


def test_a_retry_after_to_a_late_synchronous_probe_is_obeyed_too(ledger: Ledger) -> None:
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    late = enter(ledger)
    ledger.pass_time(6)
    enter(ledger)
    assert not fail_call(ledger, late, 60.0)
    assert is_open_for(ledger, 60)


@pytest.mark.parametrize("how", [fail, stay_silent])
def test_a_call_from_before_the_breaker_last_closed_does_not_count(ledger: Ledger, how: Any) -> None:
    old, older = ledger.start(), ledger.start()
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    grant = ledger.grant(*probe(ledger))
    assert grant is not None and answer(ledger, grant)
    ledger.end(grant)
    assert not how(ledger, old, 60.0)
    assert ledger.breaker()["opened_at"] is None
    ledger.pass_time(60)
    assert fail(ledger, ledger.start())
    assert not how(ledger, older, 60.0)
    assert is_open_for(ledger, 10)


def test_an_unanswered_call_that_opens_no_breaker_keeps_nobody_away(ledger: Ledger) -> None:
    assert not stay_silent(ledger, ledger.start(), 60.0)
    assert ledger.breaker()["open_until"] is None


def test_a_probe_not_yet_under_way_waits_as_well(ledger: Ledger) -> None:
    slow = ledger.start()
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    message_id, fence = probe(ledger)
    assert not fail(ledger, slow, 60.0)
    assert ledger.grant(message_id, fence) is None
    assert (ledger.state(message_id), ledger.publish()) == ("ready", [])
    ledger.pass_time(61)
    assert ledger.grant(*probe(ledger)) is not None


def longer_retry_after_with_a_probe_under_way(ledger: Ledger) -> Grant:
    """A call that was under way when the breaker opened gets a Retry-After of a minute."""
    slow = ledger.start()
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    grant = ledger.grant(*probe(ledger))
    assert grant is not None
    assert not fail(ledger, slow, 60.0)
    return grant


def test_a_probe_already_under_way_may_still_close_the_breaker(ledger: Ledger) -> None:
    grant = longer_retry_after_with_a_probe_under_way(ledger)
    assert answer(ledger, grant)
    assert ledger.breaker()["open_until"] is None


def test_a_probe_that_fails_shortens_nothing(ledger: Ledger) -> None:
    grant = longer_retry_after_with_a_probe_under_way(ledger)
    fail(ledger, grant)
    assert (is_open_for(ledger, 60), ledger.breaker()["trips"]) == (True, 2)
