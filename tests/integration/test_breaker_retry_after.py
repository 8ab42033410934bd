"""Several calls are under way when an upstream fails: whichever of them is asked to stay away longest is heeded."""

from __future__ import annotations

from typing import Any

import pytest

from outbox import breakers, sync_calls
from outbox.sync_calls import BreakerOpen, SyncCall
from outbox.values import Grant
from tests.ledger import OUTAGE, SETTINGS, SILENCE, Ledger


def fail(ledger: Ledger, grant: Grant, retry_after: float | None = None) -> bool:
    """A failed attempt, owed again at once; True when it closed the gate."""
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        return breakers.trip(db, grant, "unavailable", SETTINGS, retry_after)


def stay_silent(ledger: Ledger, grant: Grant, retry_after: float) -> bool:
    """A 503 to a write: it may have happened, and its header says when to ask again."""
    ledger.again(grant, SILENCE)
    with ledger.engine.begin() as db:
        return breakers.note_unanswered(db, grant, SETTINGS, retry_after)


def enter(ledger: Ledger) -> SyncCall:
    with ledger.engine.begin() as db:
        return sync_calls.enter(db, "clerk", 5.0)


def fail_call(ledger: Ledger, sync_call: SyncCall, retry_after: float) -> bool:
    with ledger.engine.begin() as db:
        return sync_calls.note_failure(db, sync_call, "throttled", SETTINGS, retry_after)


def answer(ledger: Ledger, grant: Grant) -> bool:
    with ledger.engine.begin() as db:
        return breakers.note_answer(db, grant)


def is_closed_for(ledger: Ledger, seconds: float) -> bool:
    """Whether a probe may try in so many seconds, less what a busy machine took until now."""
    (found,) = ledger.rows("SELECT extract(epoch FROM open_until - outbox_now()) AS left FROM outbox_breakers")
    return seconds - 8 < found["left"] <= seconds


def all_but_the_end(ledger: Ledger) -> dict[str, Any]:
    """What the gate and the book of trips say, save for how long."""
    breaker = {name: value for name, value in ledger.breaker().items() if name not in ("open_until", "unanswered")}
    return breaker | {"trips booked": ledger.rows("SELECT * FROM outbox_breaker_trips")}


def probe(ledger: Ledger) -> tuple[int, int]:
    ((message_id, fence),) = ledger.publish()
    return message_id, fence


@pytest.mark.parametrize("how", [fail, stay_silent])
def test_whoever_is_queried_to_stay_away_longer_is_heeded_and_changes_nothing_else(ledger: Ledger, how: Any) -> None:
    first, second, third = ledger.start(), ledger.start(), ledger.start()
    ledger.pass_time(1)
    assert fail(ledger, first)
    before = all_but_the_end(ledger)
    ledger.pass_time(3)
    assert not how(ledger, second, 60.0)
    assert is_closed_for(ledger, 60)
    assert not how(ledger, third, 20.0)
    assert (is_closed_for(ledger, 60), all_but_the_end(ledger)) == (True, before)
    ledger.pass_time(50)
    assert ledger.publish() == []
    ledger.pass_time(11)
    probe(ledger)


def test_the_cap_counts_from_the_answer_that_asks(ledger: Ledger) -> None:
    first, second = ledger.start(), ledger.start()
    assert fail(ledger, first)
    ledger.pass_time(8)
    assert not fail(ledger, second, 1e6)
    assert is_closed_for(ledger, SETTINGS.cap_seconds)


def test_a_caller_who_is_queried_to_stay_away_longer_is_heeded(ledger: Ledger) -> None:
    sync_call, held = enter(ledger), ledger.start()
    ledger.pass_time(1)
    assert fail(ledger, held)
    assert not fail_call(ledger, sync_call, 60.0)
    with pytest.raises(BreakerOpen) as refused:
        enter(ledger)
    assert 52 < refused.value.seconds <= 60


def test_a_probe_whose_time_is_over_is_heeded_too(ledger: Ledger) -> None:
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    late = enter(ledger)
    ledger.pass_time(6)
    enter(ledger)
    assert not fail_call(ledger, late, 60.0)
    assert is_closed_for(ledger, 60)


@pytest.mark.parametrize("how", [fail, stay_silent])
def test_a_call_from_before_the_breaker_last_closed_is_old_news(ledger: Ledger, how: Any) -> None:
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
    assert is_closed_for(ledger, 10)


def test_silence_that_opens_no_breaker_keeps_nobody_away(ledger: Ledger) -> None:
    assert not stay_silent(ledger, ledger.start(), 60.0)
    assert ledger.breaker()["open_until"] is None


def test_a_probe_not_yet_on_its_way_waits_as_well(ledger: Ledger) -> None:
    slow = ledger.start()
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    message_id, fence = probe(ledger)
    assert not fail(ledger, slow, 60.0)
    assert ledger.grant(message_id, fence) is None
    assert (ledger.state(message_id), ledger.publish()) == ("ready", [])
    ledger.pass_time(61)
    assert ledger.grant(*probe(ledger)) is not None


def told_to_stay_away_with_a_probe_on_its_way(ledger: Ledger) -> Grant:
    """Somebody who was under way when the gate closed is told to stay away for a minute."""
    slow = ledger.start()
    assert fail(ledger, ledger.start())
    ledger.pass_time(11)
    grant = ledger.grant(*probe(ledger))
    assert grant is not None
    assert not fail(ledger, slow, 60.0)
    return grant


def test_a_probe_on_its_way_already_may_closed_the_breaker_all_the_same(ledger: Ledger) -> None:
    held = told_to_stay_away_with_a_probe_on_its_way(ledger)
    assert answer(ledger, held)
    assert ledger.breaker()["open_until"] is None


def test_a_probe_that_fails_shortens_nothing(ledger: Ledger) -> None:
    held = told_to_stay_away_with_a_probe_on_its_way(ledger)
    fail(ledger, held)
    assert (is_closed_for(ledger, 60), ledger.breaker()["trips"]) == (True, 2)
