"""The forecast of missed deadlines, exact for queues that the tests fill by hand."""

from __future__ import annotations

from outbox.forecast import Line, by_queue
from outbox.values import QueueSpec
from tests.integration.hold_steps import hold, lift, trip_breaker
from tests.ledger import CALLS, CHORES, REFUSED, Ledger

MINUTE = 60.0
HOUR = 3600.0
TWIN = QueueSpec("twin", upstream="clerk", threads=1, depth=20)

DONE = """
    INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, worker_id,
                                 status, answered, started_at, finished_at)
    SELECT -number, number, 'toy', 'x', 'tests.ledger.call', CAST(:upstream AS text), 'write', 'w', 'success', true,
           outbox_now() - make_interval(secs => :ago), outbox_now() - make_interval(secs => :ago)
      FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS number
"""


def done(ledger: Ledger, count: int, minutes_ago: float = 5.0, upstream: str | None = "clerk") -> None:
    """So many calls were answered successfully, all at the same time."""
    first = ledger.rows("SELECT count(*) AS before FROM outbox_attempts")[0]["before"] + 1
    values = {"upstream": upstream, "ago": minutes_ago * MINUTE, "first": first, "last": first + count - 1}
    ledger.run(DONE, **values)


def enqueue(ledger: Ledger, count: int, minutes: float, queue: QueueSpec = CALLS, delay: float = 0.0) -> None:
    """Enqueue so much work, with so many minutes to its deadline."""
    for _ in range(count):
        ledger.add(queue=queue, deadline=minutes * MINUTE, delay=delay)


def outlook(ledger: Ledger) -> dict[str, Line]:
    with ledger.engine.begin() as db:
        return {line.queue: line for line in by_queue(db)}


def misses(ledger: Ledger, queue: str = "calls") -> tuple[int, int]:
    """How many will miss their deadline, and how many already have."""
    line = outlook(ledger)[queue]
    return line.will_miss, line.missed


def test_an_empty_queue_has_no_forecast(ledger: Ledger) -> None:
    done(ledger, 30)
    assert outlook(ledger) == {}


def test_at_two_a_minute_the_first_ten_are_done_in_five_minutes_and_the_rest_miss(ledger: Ledger) -> None:
    done(ledger, 30)
    enqueue(ledger, 16, minutes=5.2)
    assert outlook(ledger) == {"calls": Line("calls", 16, 2.0, missed=0, will_miss=6, minutes_to_empty=8.0)}


def test_the_earliest_deadline_goes_first_whenever_it_was_enqueued(ledger: Ledger) -> None:
    done(ledger, 15)
    enqueue(ledger, 10, minutes=20)
    enqueue(ledger, 5, minutes=5.2)
    assert misses(ledger) == (0, 0)
    enqueue(ledger, 1, minutes=5.2)
    assert misses(ledger) == (1, 0), "six are due in the five minutes that take five"


def test_a_missed_deadline_is_counted_separately_and_goes_after_those_that_can_be_met(ledger: Ledger) -> None:
    enqueue(ledger, 50, minutes=1)
    ledger.pass_time(2 * MINUTE)
    done(ledger, 15)
    enqueue(ledger, 3, minutes=3.2)
    assert outlook(ledger)["calls"] == Line("calls", 53, 1.0, missed=50, will_miss=0, minutes_to_empty=53.0)


def test_work_without_a_deadline_of_its_own_has_none_to_miss(ledger: Ledger) -> None:
    done(ledger, 15)
    enqueue(ledger, 4, minutes=0)
    ledger.pass_time(MINUTE)
    assert outlook(ledger)["calls"] == Line("calls", 4, 1.0, missed=0, will_miss=0, minutes_to_empty=4.0)
    enqueue(ledger, 2, minutes=-3)
    assert misses(ledger) == (0, 2), "later steps whose own deadline has passed"


def test_work_that_is_due_after_its_deadline_misses_it_at_any_rate(ledger: Ledger) -> None:
    done(ledger, 900)
    enqueue(ledger, 2, minutes=30, delay=31 * MINUTE)
    enqueue(ledger, 3, minutes=30, delay=29 * MINUTE)
    assert misses(ledger) == (2, 0)


def test_at_a_standstill_all_waiting_work_misses_and_the_queue_never_empties(ledger: Ledger) -> None:
    done(ledger, 100, minutes_ago=16)
    enqueue(ledger, 3, minutes=100_000)
    assert outlook(ledger) == {"calls": Line("calls", 3, 0.0, missed=0, will_miss=3, minutes_to_empty=None)}


def test_only_successful_work_makes_a_rate(ledger: Ledger) -> None:
    """A refusal may be tried again, and an upstream that refuses everything empties no queue."""
    ledger.again(ledger.start(), REFUSED)
    assert outlook(ledger)["calls"].per_minute == 0.0


def test_work_in_flight_counts_as_waiting_and_parked_work_does_not(ledger: Ledger) -> None:
    done(ledger, 15)
    ledger.park(ledger.start())
    ledger.start()
    enqueue(ledger, 1, minutes=60)
    ledger.publish()
    enqueue(ledger, 1, minutes=60)
    assert outlook(ledger)["calls"].waiting == 3


def test_two_queues_of_one_upstream_share_its_rate_and_one_order(ledger: Ledger) -> None:
    done(ledger, 15)
    enqueue(ledger, 10, minutes=10.5)
    enqueue(ledger, 10, minutes=21.5, queue=TWIN)
    enqueue(ledger, 5, minutes=20.5)
    both = outlook(ledger)
    assert both["calls"] == Line("calls", 15, 1.0, missed=0, will_miss=0, minutes_to_empty=15.0)
    assert both["twin"] == Line("twin", 10, 1.0, missed=0, will_miss=4, minutes_to_empty=25.0)


def test_the_work_of_another_upstream_adds_nothing_to_the_rate(ledger: Ledger) -> None:
    done(ledger, 90, upstream="neighbour")
    enqueue(ledger, 1, minutes=60)
    assert misses(ledger) == (1, 0)


def test_work_without_an_upstream_goes_at_its_own_rate(ledger: Ledger) -> None:
    done(ledger, 15, upstream=None)
    enqueue(ledger, 7, minutes=5.2, queue=CHORES)
    enqueue(ledger, 1, minutes=5)
    assert outlook(ledger)["chores"] == Line("chores", 7, 1.0, missed=0, will_miss=2, minutes_to_empty=7.0)
    assert misses(ledger) == (1, 0)


def test_work_due_before_a_hold_ends_will_miss(ledger: Ledger) -> None:
    done(ledger, 900)
    enqueue(ledger, 5, minutes=59)
    enqueue(ledger, 5, minutes=61)
    assert misses(ledger) == (0, 0)
    hold(ledger, HOUR)
    assert misses(ledger) == (5, 0)
    assert outlook(ledger)["calls"].minutes_to_empty == 60.2
    lift(ledger)
    assert misses(ledger) == (0, 0)


def test_after_a_long_hold_the_rate_is_that_from_before_it(ledger: Ledger) -> None:
    done(ledger, 30, minutes_ago=0)
    hold(ledger, 5 * HOUR)
    ledger.pass_time(4 * HOUR)
    enqueue(ledger, 20, minutes=65)
    assert outlook(ledger)["calls"] == Line("calls", 20, 2.0, missed=0, will_miss=10, minutes_to_empty=70.0)


def test_a_planned_hold_changes_nothing_yet(ledger: Ledger) -> None:
    done(ledger, 900)
    enqueue(ledger, 5, minutes=90)
    hold(ledger, 2 * HOUR, after=HOUR)
    assert misses(ledger) == (0, 0)


def test_work_due_before_an_open_breakers_next_probe_will_miss(ledger: Ledger) -> None:
    done(ledger, 900)
    trip_breaker(ledger)
    ledger.run("DELETE FROM outbox_messages")
    enqueue(ledger, 2, minutes=0.1)
    enqueue(ledger, 2, minutes=1)
    assert misses(ledger) == (2, 0)
