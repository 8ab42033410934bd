"""Holds: nothing is sent to an upstream for a given time, whatever it answers; planned holds begin by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from outbox import retention
from tests.integration.hold_steps import (
    HOUR,
    OPERATOR,
    capacity,
    hold,
    lift,
    now,
    refused_for,
    seconds_closed,
    standing,
)
from tests.ledger import CALLS, Ledger
from tests.product import eventually

# -- what a hold stops ---------------------------------------------------------


def test_during_a_hold_nothing_is_claimed_and_other_queues_go_on(ledger: Ledger) -> None:
    ledger.add()
    hold(ledger, HOUR)
    assert ledger.publish() == []
    ledger.pass_time(HOUR - 1)
    assert ledger.publish() == []
    ledger.pass_time(1)
    assert len(ledger.publish()) == 1


def test_a_pointer_already_in_redis_is_turned_back_at_the_grant(ledger: Ledger) -> None:
    message_id = ledger.add()
    ((_, fence),) = ledger.publish()
    hold(ledger, HOUR)
    assert ledger.grant(message_id, fence) is None
    assert (ledger.state(message_id), ledger.attempts(message_id)) == ("ready", [])


def test_a_call_in_flight_is_not_interrupted(ledger: Ledger) -> None:
    grant = ledger.start()
    hold(ledger, HOUR)
    assert ledger.end(grant)
    assert ledger.messages() == []


def test_a_synchronous_caller_is_informed_how_long_the_hold_lasts(ledger: Ledger) -> None:
    hold(ledger, HOUR)
    assert refused_for(ledger) == HOUR
    ledger.pass_time(HOUR - 60)
    assert refused_for(ledger) == 60
    ledger.pass_time(60)
    assert refused_for(ledger) is None


def test_a_hold_of_many_days_sends_nobody_away_for_so_long(ledger: Ledger) -> None:
    hold(ledger, 30 * 24 * HOUR)
    assert refused_for(ledger) == HOUR


def test_another_upstream_is_not_held(ledger: Ledger) -> None:
    ledger.run("INSERT INTO outbox_breakers (upstream, concurrency_limit) VALUES ('neighbour', 1)")
    hold(ledger, HOUR, upstream="neighbour")
    ledger.add()
    assert (len(ledger.publish()), refused_for(ledger)) == (1, None)


# -- when it lasts -------------------------------------------------------------


def test_a_planned_window_begins_and_ends_by_itself(ledger: Ledger) -> None:
    window = hold(ledger, HOUR, after=2 * HOUR)
    assert standing(ledger) == [(window, False)]
    assert (capacity(ledger), refused_for(ledger)) == (CALLS.concurrency, None)
    ledger.pass_time(2 * HOUR)
    assert standing(ledger) == [(window, True)]
    assert (capacity(ledger), refused_for(ledger)) == (0, HOUR)
    ledger.pass_time(HOUR)
    assert (standing(ledger), refused_for(ledger)) == ([], None)


def test_of_overlapping_holds_the_one_that_ends_last_decides(ledger: Ledger) -> None:
    short, long = hold(ledger, 100), hold(ledger, 300)
    assert refused_for(ledger) == 300
    ledger.pass_time(100)
    assert (standing(ledger), capacity(ledger)) == ([(long, True)], 0)
    assert lift(ledger, short) == 0, "it is over"
    ledger.pass_time(200)
    assert capacity(ledger) > 0


def test_lifting_one_hold_leaves_the_other_in_place(ledger: Ledger) -> None:
    first, second = hold(ledger, HOUR), hold(ledger, HOUR, after=60)
    assert lift(ledger, first) == 1
    assert (standing(ledger), refused_for(ledger)) == ([(second, False)], None)
    ledger.pass_time(60)
    assert refused_for(ledger) == HOUR


def test_lifting_all_ends_planned_ones_too_but_none_of_another_upstream(ledger: Ledger) -> None:
    ledger.run("INSERT INTO outbox_breakers (upstream, concurrency_limit) VALUES ('neighbour', 1)")
    elsewhere = hold(ledger, HOUR, upstream="neighbour")
    hold(ledger, HOUR)
    hold(ledger, HOUR, after=HOUR)
    assert lift(ledger, elsewhere) == 0
    assert (lift(ledger), lift(ledger)) == (2, 0)
    assert standing(ledger) == [(elsewhere, True)]
    ledger.pass_time(HOUR + 1)
    assert capacity(ledger) > 0


def test_lifting_wakes_the_relays(ledger: Ledger) -> None:
    hold(ledger, HOUR)
    with ledger.engine.connect() as listener:
        listener.exec_driver_sql("LISTEN outbox_ready")
        listener.commit()
        lift(ledger)
        connection = listener.connection.dbapi_connection
        assert connection is not None
        eventually(lambda: connection.poll() or connection.notifies)
        assert [notification.channel for notification in connection.notifies] == ["outbox_ready"]


def test_a_hold_dated_back_begins_now(ledger: Ledger) -> None:
    since = now(ledger)
    ledger.pass_time(500)
    hold(ledger, 600, after=-300)
    assert seconds_closed(ledger, since) == 500
    ledger.pass_time(300)
    assert seconds_closed(ledger, since) == 500
    assert refused_for(ledger) is None


def test_a_hold_cannot_end_before_it_starts(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError, match="ends_later"):
        hold(ledger, -1, after=60)


def test_an_upstream_without_a_breaker_cannot_be_held(ledger: Ledger) -> None:
    assert hold(ledger, HOUR, upstream="nobody") is None
    assert (standing(ledger), ledger.rows("SELECT * FROM outbox_history")) == ([], [])


# -- its record -----------------------------------------------------------------


def test_the_history_says_who_held_and_who_lifted_and_why(ledger: Ledger) -> None:
    made = hold(ledger, HOUR)
    until = (now(ledger) + timedelta(seconds=HOUR)).isoformat()
    lift(ledger)
    kept = [(row["what"], row["actor"], row["subject_type"], row["detail"]) for row in ledger.history("clerk")]
    held, lifted = kept
    assert held[:3] == ("breaker.held", OPERATOR, "breaker")
    assert (held[3]["hold"], held[3]["reason"], held[3]["until"][:16]) == (made, "their data center moves", until[:16])
    assert lifted == ("breaker.lifted", OPERATOR, "breaker", {"hold": made})


def test_a_hold_long_past_is_deleted_with_the_history(ledger: Ledger) -> None:
    hold(ledger, HOUR)
    year = hold(ledger, 400 * 24 * HOUR)
    ledger.pass_time(100 * 24 * HOUR)
    retention.keep(ledger.engine, months=1)
    assert [row["id"] for row in ledger.rows("SELECT id FROM outbox_breaker_holds")] == [year]
