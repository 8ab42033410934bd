"""A circuit breaker: an outage opens it, then it lets one probe pass at a time, and any new answer closes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from outbox import breakers, rescue
from outbox.values import Grant, QueueSpec
from tests.ledger import CALLS, OUTAGE, SETTINGS, SILENCE, Ledger


def fail(ledger: Ledger, grant: Grant, retry_after: float | None = None, reason: str = "unavailable") -> bool:
    """A failed attempt, due again at once; True when it opened the breaker."""
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        return breakers.trip(db, grant, reason, SETTINGS, retry_after)


def stay_silent(ledger: Ledger, grant: Grant) -> bool:
    ledger.again(grant, SILENCE)
    with ledger.engine.begin() as db:
        return breakers.note_unanswered(db, grant, SETTINGS)


def answer(ledger: Ledger, grant: Grant) -> bool:
    with ledger.engine.begin() as db:
        return breakers.note_answer(db, grant)


def open_for(ledger: Ledger) -> Any:
    """Seconds until the breaker lets a probe pass, less those that this test has taken; None when it is closed."""
    (row,) = ledger.rows("SELECT open_until - outbox_now() AS left FROM outbox_breakers WHERE upstream = 'clerk'")
    left: timedelta | None = row["left"]
    return None if left is None else ledger.at_least(left.total_seconds())


def trip_breaker(ledger: Ledger) -> int:
    """Meet an outage with one message, which waits again afterwards; returns its id."""
    grant = ledger.start()
    assert fail(ledger, grant)
    return grant.message_id


def reset_breaker(ledger: Ledger) -> None:
    """Open the breaker and have a probe answered, just now."""
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    assert answer(ledger, grant)
    ledger.end(grant)


def test_an_outage_opens_the_breaker_and_costs_nothing_while_it_lasts(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.add()
    trip_breaker(ledger)
    assert (open_for(ledger), ledger.breaker()["reason"]) == (10, "unavailable")
    ledger.relay.move(CALLS)
    assert ledger.relay.move(CALLS) == 0
    ledger.pass_time(9)
    assert ledger.relay.move(CALLS) == 0
    assert ledger.publish() == []


def test_other_work_is_not_held_up_by_an_open_breaker(ledger: Ledger) -> None:
    trip_breaker(ledger)
    chore = ledger.add(queue=QueueSpec("chores", None, 1, 20))
    assert ledger.relay.run_once() > 0
    assert ledger.state(chore) == "published"


def test_retry_after_is_obeyed_up_to_the_cap(ledger: Ledger) -> None:
    assert fail(ledger, ledger.start(), retry_after=42.0, reason="throttled")
    assert (open_for(ledger), ledger.breaker()["reason"]) == (42, "throttled")


def test_a_retry_after_of_days_is_cut_at_the_cap(ledger: Ledger) -> None:
    assert fail(ledger, ledger.start(), retry_after=500_000.0)
    assert open_for(ledger) == 100


def test_three_unanswered_messages_open_the_breaker(ledger: Ledger) -> None:
    first, second, third = ledger.start(), ledger.start(), ledger.start()
    assert not stay_silent(ledger, first)
    assert not stay_silent(ledger, second)
    assert open_for(ledger) is None
    assert stay_silent(ledger, third)
    assert (open_for(ledger), ledger.breaker()["reason"]) == (10, "unanswered")


def test_one_message_unanswered_several_times_does_not_open_it(ledger: Ledger) -> None:
    message_id = ledger.add()
    for _ in range(4):
        assert not stay_silent(ledger, ledger.start(message_id))
    assert open_for(ledger) is None


def test_an_answer_between_unanswered_calls_resets_the_count(ledger: Ledger) -> None:
    for _ in range(2):
        stay_silent(ledger, ledger.start())
    answer(ledger, ledger.start())
    assert not stay_silent(ledger, ledger.start())
    assert open_for(ledger) is None


def test_an_unanswered_call_from_before_the_breaker_last_closed_does_not_count(ledger: Ledger) -> None:
    old = [ledger.start() for _ in range(2)]
    reset_breaker(ledger)
    ledger.pass_time(60)
    for grant in old:
        assert not stay_silent(ledger, grant)
    assert not stay_silent(ledger, ledger.start())
    assert open_for(ledger) is None


def test_one_probe_at_a_time_may_go_when_the_time_is_up(ledger: Ledger) -> None:
    for _ in range(5):
        ledger.add()
    trip_breaker(ledger)
    for row in ledger.messages():
        ledger.run("UPDATE outbox_messages SET state = 'ready' WHERE id = :id", id=row["id"])
    ledger.pass_time(11)
    ((probe, fence),) = ledger.publish()
    breaker = ledger.breaker()
    assert (breaker["probe_message_id"], breaker["probe_fence"]) == (probe, fence)
    assert ledger.publish() == []
    assert ledger.grant(probe, fence) is not None
    assert ledger.publish() == []


def test_only_the_probe_is_granted_while_the_breaker_is_open(ledger: Ledger) -> None:
    ledger.add()
    ((early, early_fence),) = ledger.publish()
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((probe, fence),) = ledger.publish()
    assert ledger.grant(early, early_fence) is None
    assert ledger.grant(probe, fence) is not None


@pytest.mark.parametrize("retry_after", [None, 0.0, 3.0])
def test_a_probe_that_fails_opens_the_breaker_for_longer(ledger: Ledger, retry_after: float | None) -> None:
    """A Retry-After shorter than our own back-off is not used: it would be no back-off at all."""
    assert fail(ledger, ledger.start(), retry_after)
    assert open_for(ledger) == 10
    for seconds in (20, 40, 80, 100, 100):
        ledger.pass_time(101)
        ((message_id, fence),) = ledger.publish()
        grant = ledger.grant(message_id, fence)
        assert grant is not None
        fail(ledger, grant, retry_after)
        assert open_for(ledger) == seconds


def probe_in_vain(ledger: Ledger, person: str | None = None) -> int:
    """Let a probe go that gets no usable answer, and is due again in a minute; returns which message it was."""
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    ledger.again(grant, OUTAGE, delay=60.0)
    with ledger.engine.begin() as db:
        assert not breakers.note_unanswered(db, grant, SETTINGS, person=person)
    return message_id


def test_a_probe_without_a_usable_answer_is_passed_on_until_three_met_it(ledger: Ledger) -> None:
    trip_breaker(ledger)
    for _ in range(3):
        ledger.add()
    ledger.pass_time(11)
    probes = {probe_in_vain(ledger) for _ in range(3)}
    assert (len(probes), open_for(ledger), ledger.breaker()["trips"]) == (3, 20, 2)


def test_what_one_person_meets_as_the_probe_keeps_nobody_out(ledger: Ledger) -> None:
    trip_breaker(ledger)
    for _ in range(4):
        ledger.add()
    other = ledger.add(deadline=9000.0)
    ledger.pass_time(11)
    for _ in range(4):
        assert probe_in_vain(ledger, "ada") != other
    close_by(ledger, other)


def test_what_one_person_is_told_as_the_probe_holds_nobody_back(ledger: Ledger) -> None:
    """A 503 with a Retry-After may be about this one, like any other."""
    trip_breaker(ledger)
    ledger.add()
    other = ledger.add(deadline=9000.0)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None and message_id != other
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        assert not breakers.note_unanswered(db, grant, SETTINGS, 600.0, person="ada")
    close_by(ledger, other)


def close_by(ledger: Ledger, message_id: int) -> None:
    """The next probe is this message, and it is answered."""
    ((published, fence),) = ledger.publish()
    grant = ledger.grant(published, fence)
    assert grant is not None and published == message_id
    assert answer(ledger, grant)


def test_three_people_whose_probes_always_fail_do_not_keep_the_breaker_open(ledger: Ledger) -> None:
    """Their work is due again whenever the time is up, and its deadline is the earliest; yet others have their turn."""
    trip_breaker(ledger)
    for _ in range(3):
        ledger.add()
    other = ledger.add(deadline=9000.0)
    ledger.pass_time(11)
    for person in ("ada", "ben", "carla"):
        ((message_id, fence),) = ledger.publish()
        grant = ledger.grant(message_id, fence)
        assert grant is not None and message_id != other
        ledger.again(grant, OUTAGE)
        with ledger.engine.begin() as db:
            breakers.note_unanswered(db, grant, SETTINGS, person=person)
    assert (open_for(ledger), ledger.breaker()["trips"]) == (20, 2)
    ledger.pass_time(21)
    close_by(ledger, other)


def test_one_person_counts_once_with_however_much_work(ledger: Ledger) -> None:
    def meets(person: str, refused: bool = False) -> bool:
        grant = ledger.start()
        ledger.again(grant, OUTAGE, delay=60.0)
        with ledger.engine.begin() as db:
            return breakers.note_unanswered(db, grant, SETTINGS, person=person, refused=refused)

    assert not any(meets("ada", refused) for refused in (True, False) * 2)
    assert not meets("ben")
    answer(ledger, ledger.start())
    assert [meets(person) for person in ("ada", "ben", "ada", "carla")] == [False, False, False, True]
    assert "ada" not in str(ledger.breaker())


def test_the_next_probe_is_another_message(ledger: Ledger) -> None:
    poison = trip_breaker(ledger)
    other = ledger.add(deadline=9000.0)
    for expected in (other, poison, other):
        ledger.pass_time(101)
        ((message_id, fence),) = ledger.publish()
        assert message_id == expected
        grant = ledger.grant(message_id, fence)
        assert grant is not None
        fail(ledger, grant)


def test_the_next_probe_is_another_message_even_if_that_one_is_late(ledger: Ledger) -> None:
    late = ledger.add(deadline=1.0)
    ledger.run("UPDATE outbox_messages SET state = 'later' WHERE id = :id", id=late)
    poison = trip_breaker(ledger)
    ledger.run("UPDATE outbox_messages SET state = 'ready' WHERE id = :id", id=late)
    ledger.pass_time(11)
    assert [message_id for message_id, _ in ledger.publish()] == [late]
    assert ledger.state(poison) == "ready"


@pytest.mark.parametrize("loss", ["rescued", "pointer lost", "settled"])
def test_a_probe_that_is_gone_lets_another_one_pass(ledger: Ledger, loss: str) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    if loss == "pointer lost":
        ledger.relay.undo(fence, [message_id])
    else:
        grant = ledger.grant(message_id, fence)
        assert grant is not None
        if loss == "settled":
            ledger.end(grant)
        else:
            ledger.pass_time(61)
            assert rescue.rescue_lost(ledger.engine) == 1
    ledger.add()
    assert len(ledger.publish()) == 1


def test_an_answer_to_the_probe_closes_the_breaker(ledger: Ledger) -> None:
    trip_breaker(ledger)
    ledger.pass_time(11)
    ((message_id, fence),) = ledger.publish()
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    assert answer(ledger, grant)
    breaker = ledger.breaker()
    assert (breaker["opened_at"], breaker["open_until"], breaker["trips"], breaker["probe_message_id"]) == (
        None,
        None,
        0,
        None,
    )


def test_an_answer_to_a_call_from_before_the_trip_does_not_close_it(ledger: Ledger) -> None:
    old = ledger.start()
    ledger.pass_time(1)
    trip_breaker(ledger)
    assert not answer(ledger, old)
    assert open_for(ledger) is not None


def test_a_failure_of_a_call_from_before_it_last_closed_does_not_open_it(ledger: Ledger) -> None:
    old = ledger.start()
    reset_breaker(ledger)
    assert not fail(ledger, old)
    assert open_for(ledger) is None


def test_while_it_is_open_only_the_probes_failure_counts(ledger: Ledger) -> None:
    others = [ledger.start() for _ in range(3)]
    trip_breaker(ledger)
    for grant in others:
        assert not fail(ledger, grant)
    assert (open_for(ledger), ledger.breaker()["trips"]) == (10, 1)
    with ledger.engine.connect() as db:
        assert db.execute(text("SELECT count(*) FROM outbox_breaker_trips")).scalar_one() == 1
