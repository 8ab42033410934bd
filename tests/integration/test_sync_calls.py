"""Synchronous calls and breakers: refused while one is open, and only one call at a time is its probe."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from outbox import breakers, sync_calls
from outbox.sync_calls import BreakerOpen, SyncCall
from outbox.values import Grant
from tests.ledger import CALLS, OUTAGE, SETTINGS, Ledger

CALL_SECONDS = 5.0


def enter(ledger: Ledger, seconds: float = CALL_SECONDS, caller: str = "") -> SyncCall:
    """Each call is for somebody else, unless it says for whom."""
    with ledger.engine.begin() as db:
        return sync_calls.enter(db, "clerk", seconds, caller or str(uuid.uuid4()))


def fail(ledger: Ledger, sync_call: SyncCall, retry_after: float | None = None) -> bool:
    """The call failed; True when that opened the breaker."""
    with ledger.engine.begin() as db:
        return sync_calls.note_failure(db, sync_call, "unavailable", SETTINGS, retry_after)


def stay_silent(ledger: Ledger, sync_call: SyncCall) -> bool:
    with ledger.engine.begin() as db:
        return sync_calls.note_silence(db, sync_call, SETTINGS)


def answer(ledger: Ledger, sync_call: SyncCall) -> bool:
    """The call was answered; True when that closed the breaker."""
    with ledger.engine.begin() as db:
        return sync_calls.note_answer(db, sync_call)


def sent_away_for(ledger: Ledger, seconds: float = CALL_SECONDS) -> float | None:
    """Seconds that a caller is sent away for; None when it may enter."""
    try:
        enter(ledger, seconds)
    except BreakerOpen as refused:
        return refused.seconds
    return None


def refused_for(ledger: Ledger) -> Any:
    """Seconds that a caller is sent away for, less those that this test has taken; None when it may enter."""
    found = sent_away_for(ledger)
    return None if found is None else ledger.at_least(found)


def fail_message(ledger: Ledger, grant: Grant) -> bool:
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        return breakers.trip(db, grant, "unavailable", SETTINGS)


def probe(ledger: Ledger) -> Grant:
    """The message that may probe an open breaker, granted."""
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    return grant


def test_a_callers_failure_opens_the_breaker_for_callers_and_for_messages(ledger: Ledger) -> None:
    ledger.add()
    assert fail(ledger, enter(ledger))
    assert (refused_for(ledger), ledger.publish(), ledger.breaker()["reason"]) == (10, [], "unavailable")
    ledger.pass_time(9.5)
    assert (refused_for(ledger), ledger.publish()) == (1, [])


def test_a_messages_failure_opens_it_for_callers(ledger: Ledger) -> None:
    assert fail_message(ledger, ledger.start())
    assert refused_for(ledger) == 10


def test_retry_after_is_obeyed_up_to_the_cap(ledger: Ledger) -> None:
    assert fail(ledger, enter(ledger), retry_after=42.0)
    assert refused_for(ledger) == 42
    ledger.pass_time(43)
    fail(ledger, enter(ledger), retry_after=1e6)
    assert refused_for(ledger) == 100


def test_of_many_simultaneous_callers_one_is_the_probe(ledger: Ledger) -> None:
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    began = time.monotonic()
    with ThreadPoolExecutor(5) as crowd:
        answers = list(crowd.map(lambda _: sent_away_for(ledger, 600.0), range(30)))
    # By its own transaction's time: one that began before the probe's is sent away for so much longer.
    longest = 600 + time.monotonic() - began
    assert answers.count(None) == 1
    assert all(answer is None or 1 <= answer <= longest for answer in answers), answers


def test_the_probes_answer_closes_the_breaker_for_everybody(ledger: Ledger) -> None:
    ledger.add()
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    probe = enter(ledger)
    assert answer(ledger, probe)
    assert not answer(ledger, probe)
    breaker = ledger.breaker()
    assert (breaker["opened_at"], breaker["open_until"], breaker["trips"], breaker["probe_message_id"]) == (
        None,
        None,
        0,
        None,
    )
    assert (refused_for(ledger), refused_for(ledger), len(ledger.publish())) == (None, None, 1)


def test_the_probes_failure_keeps_it_open_for_longer_each_time(ledger: Ledger) -> None:
    fail(ledger, enter(ledger))
    for seconds in (20, 40, 80, 100, 100):
        ledger.pass_time(101)
        fail(ledger, enter(ledger))
        assert refused_for(ledger) == seconds


def test_a_probe_that_dies_blocks_nobody_for_longer_than_its_call(ledger: Ledger) -> None:
    ledger.add()
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    dead = enter(ledger)
    assert (refused_for(ledger), ledger.publish()) == (5, [])
    ledger.pass_time(CALL_SECONDS)
    next_one = enter(ledger)
    assert (next_one.message_id, next_one.fence) != (dead.message_id, dead.fence)
    ledger.pass_time(CALL_SECONDS)
    assert len(ledger.publish()) == 1


def test_a_probe_after_its_time_may_close_the_breaker_but_not_open_it(ledger: Ledger) -> None:
    for late_one_fails in (True, False):
        fail(ledger, enter(ledger))
        ledger.pass_time(101)
        late = enter(ledger)
        ledger.pass_time(CALL_SECONDS)
        enter(ledger)
        if late_one_fails:
            assert not fail(ledger, late)
            assert refused_for(ledger) == 5
            ledger.pass_time(101)
            assert answer(ledger, enter(ledger))
        else:
            assert answer(ledger, late)


def test_three_unanswered_calls_running_open_the_breaker_and_fewer_do_not(ledger: Ledger) -> None:
    crowd = [enter(ledger) for _ in range(3)]
    assert [stay_silent(ledger, each) for each in crowd[:2]] == [False, False]
    doubter = enter(ledger)
    assert doubter.troubled and not answer(ledger, doubter)
    assert [stay_silent(ledger, each) for each in crowd[:2]] == [False, False]
    assert refused_for(ledger) is None
    assert stay_silent(ledger, crowd[2])
    assert (refused_for(ledger), ledger.breaker()["reason"]) == (10, "unanswered")


def test_unanswered_calls_and_unanswered_messages_are_counted_together(ledger: Ledger) -> None:
    grant = ledger.start()
    with ledger.engine.begin() as db:
        breakers.note_unanswered(db, grant, SETTINGS)
    assert not stay_silent(ledger, enter(ledger))
    assert stay_silent(ledger, enter(ledger))


def may_enter(ledger: Ledger, caller: str) -> bool:
    """Whether this caller may enter; it gets no usable answer then."""
    try:
        stay_silent(ledger, enter(ledger, caller=caller))
    except BreakerOpen:
        return False
    return True


def test_a_probe_without_a_usable_answer_is_passed_on_to_somebody_else(ledger: Ledger) -> None:
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    assert [may_enter(ledger, who) for who in ("ada", "ada", "ben", "ben", "ada", "ada")] == [True, False] * 3
    assert (ledger.breaker()["trips"], may_enter(ledger, "carla"), refused_for(ledger)) == (1, True, 20)
    ledger.pass_time(21)
    assert [may_enter(ledger, "ada"), may_enter(ledger, "ada")] == [True, False]
    # Nobody else came.
    ledger.pass_time(CALL_SECONDS)
    assert answer(ledger, enter(ledger, caller="ada"))


def test_two_people_for_whom_our_key_is_refused_open_it_and_one_does_not(ledger: Ledger) -> None:
    def refuse(caller: str) -> bool:
        sync_call = enter(ledger, caller=caller)
        with ledger.engine.begin() as db:
            return sync_calls.note_silence(db, sync_call, SETTINGS, refused=True)

    assert [refuse("ada"), refuse("ada"), stay_silent(ledger, enter(ledger, caller="ben"))] == [False] * 3
    answer(ledger, enter(ledger))
    assert [refuse("ada"), refuse("ada"), refuse("ben")] == [False, False, True]
    assert ledger.breaker()["reason"] == "unauthorized"


def test_a_messages_probe_and_a_callers_probe_never_run_at_once(ledger: Ledger) -> None:
    ledger.add()
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    assert refused_for(ledger) == 1
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    assert refused_for(ledger) == 1
    fail_message(ledger, grant)
    ledger.pass_time(21)
    probe = enter(ledger)
    assert ledger.publish() == []
    fail(ledger, probe)
    ledger.pass_time(41)
    assert len(ledger.publish()) == 1


def test_a_pointer_from_before_the_trip_is_not_granted_beside_a_probe(ledger: Ledger) -> None:
    ledger.add()
    ((message_id, fence),) = ledger.publish()
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    enter(ledger)
    assert ledger.grant(message_id, fence) is None


def test_an_answer_to_a_message_closes_it_for_callers(ledger: Ledger) -> None:
    ledger.add()
    fail(ledger, enter(ledger))
    ledger.pass_time(11)
    grant = probe(ledger)
    with ledger.engine.begin() as db:
        assert breakers.note_answer(db, grant)
    assert refused_for(ledger) is None


def test_a_late_outcome_of_an_early_call_changes_no_breaker(ledger: Ledger) -> None:
    early = [enter(ledger) for _ in range(3)]
    ledger.pass_time(1)
    fail(ledger, enter(ledger))
    assert not answer(ledger, early[0])
    assert not fail(ledger, early[1])
    assert (refused_for(ledger), ledger.breaker()["trips"]) == (10, 1)
    ledger.pass_time(11)
    answer(ledger, enter(ledger))
    assert not fail(ledger, early[2])
    assert not stay_silent(ledger, early[2])
    assert refused_for(ledger) is None
    assert not enter(ledger).troubled


def test_synchronous_calls_use_up_no_capacity_of_messages(ledger: Ledger) -> None:
    """Their ids are none that a message has, and they are not counted as in flight."""
    for _ in range(CALLS.concurrency + 1):
        assert enter(ledger).message_id < 0
    ledger.add()
    assert len(ledger.publish()) == 1
