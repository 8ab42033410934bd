"""The relay: it claims what is due in order and within bounds, commits, and only then pushes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job

from jobs import processes
from jobs.processes import Listener
from outbox import Target, rq_side
from outbox import relay as relaying
from outbox.values import QueueSpec
from tests.ledger import CALLS, CHORES, HookedRedis, Ledger


@pytest.fixture
def hooked(ledger: Ledger) -> HookedRedis:
    return HookedRedis(connection_pool=ledger.redis.connection_pool)


def test_due_work_is_promoted_and_the_rest_keeps_waiting(ledger: Ledger) -> None:
    soon, later = ledger.add(delay=10.0), ledger.add(delay=20.0)
    assert ledger.relay.promote() == 0
    ledger.pass_time(11)
    assert ledger.relay.promote() == 1
    assert (ledger.state(soon), ledger.state(later)) == ("ready", "later")


def test_one_round_takes_work_from_due_to_redis(ledger: Ledger) -> None:
    message_id = ledger.add(delay=10.0)
    ledger.pass_time(11)
    ledger.relay.run_once()
    row = ledger.row(message_id)
    assert row["state"] == "published"
    assert ledger.waiting() == [(message_id, row["fence"])]


def test_redis_holds_the_earliest_deadline_first(ledger: Ledger) -> None:
    late, early, middle = (ledger.add(deadline=seconds) for seconds in (300.0, 100.0, 200.0))
    twin = ledger.add(deadline=200.0)
    ledger.relay.move(CALLS)
    assert [message_id for message_id, _ in ledger.waiting()] == [early, middle, twin, late]


def test_missed_deadlines_come_after_those_that_can_still_be_met(ledger: Ledger) -> None:
    missed = [ledger.add(deadline=1.0) for _ in range(15)]
    ledger.pass_time(2)
    met = [ledger.add() for _ in range(15)]
    taken = {message_id for message_id, _ in ledger.publish()}
    assert len(taken) == CALLS.concurrency
    assert len(taken & set(missed)) in (1, 2), "a tenth of 15 is reserved for what is late already"
    assert len(taken & set(met)) in (13, 14)


def test_redis_holds_missed_deadlines_behind_those_that_can_still_be_met(ledger: Ledger) -> None:
    missed = [ledger.add(deadline=seconds) for seconds in (2.0, 1.0)]
    ledger.pass_time(3)
    met = [ledger.add(deadline=seconds) for seconds in (200.0, 100.0)]
    ledger.relay.move(CALLS)
    assert [message_id for message_id, _ in ledger.waiting()] == [*reversed(met), *reversed(missed)]


def test_unused_capacity_goes_to_missed_deadlines(ledger: Ledger) -> None:
    missed = [ledger.add(deadline=1.0) for _ in range(8)]
    ledger.pass_time(2)
    assert [message_id for message_id, _ in ledger.publish()] == missed


def test_missed_deadlines_get_their_tenth_even_one_at_a_time(ledger: Ledger) -> None:
    narrow = QueueSpec("calls", upstream="clerk", threads=1, depth=1, concurrency=1)
    relay = ledger.another_relay(narrow)
    missed = {ledger.add(deadline=1.0) for _ in range(200)}
    ledger.pass_time(2)
    for _ in range(200):
        ledger.add()
    taken = []
    for _ in range(200):
        _, ((message_id, _job),) = relay.claim(narrow)
        taken.append(message_id)
        ledger.run("DELETE FROM outbox_messages WHERE id = :id", id=message_id)
    assert 4 <= len(missed.intersection(taken)) <= 50


def test_a_queue_is_filled_to_its_depth_and_no_further(ledger: Ledger) -> None:
    for _ in range(CHORES.depth + 5):
        ledger.add(queue=CHORES)
    assert ledger.relay.move(CHORES) == CHORES.depth
    assert ledger.relay.move(CHORES) == 0
    ledger.redis.flushall()
    assert ledger.relay.move(CHORES) == 0, "the bound is counted from rows: an emptied Redis adds no capacity"
    ledger.run(
        "DELETE FROM outbox_messages WHERE id IN (SELECT id FROM outbox_messages WHERE state = 'published' LIMIT 3)"
    )
    assert ledger.relay.move(CHORES) == 3


def test_no_more_is_published_than_the_upstream_may_have_in_flight(ledger: Ledger) -> None:
    running = [ledger.start() for _ in range(3)]
    for _ in range(30):
        ledger.add()
    assert len(ledger.publish()) == CALLS.concurrency - len(running)


def test_every_publication_draws_a_new_fence(ledger: Ledger) -> None:
    message_id = ledger.add()
    fences = set()
    for _ in range(20):
        ((_, fence),) = ledger.publish()
        fences.add(fence)
        ledger.relay.undo(fence, [message_id])
    assert len(fences) == 20
    assert max(fences) < 2**62


def test_a_worker_that_runs_during_the_push_sees_committed_rows(ledger: Ledger, hooked: HookedRedis) -> None:
    message_id = ledger.add()
    granted = []
    hooked.before = lambda: granted.append(ledger.grant(message_id, ledger.row(message_id)["fence"] or 0))
    assert ledger.another_relay(redis=hooked).move(CALLS) == 1
    assert granted[0] is not None
    assert ledger.state(message_id) == "running"


def test_no_transaction_is_open_while_the_relay_talks_to_redis(ledger: Ledger, hooked: HookedRedis) -> None:
    ledger.add()
    idle = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    seen: list[Any] = []
    hooked.before = lambda: seen.append(ledger.rows(idle))
    ledger.another_relay(redis=hooked).move(CALLS)
    assert seen == [[]]


def test_a_push_that_fails_is_undone(ledger: Ledger, hooked: HookedRedis, caplog: pytest.LogCaptureFixture) -> None:
    message_id = ledger.add()

    def refuse() -> None:
        raise RedisConnectionError("away")

    hooked.before = refuse
    with caplog.at_level(logging.WARNING, "outbox.relay"):
        assert ledger.another_relay(redis=hooked).move(CALLS) == 0
    assert ledger.state(message_id) == "ready"
    assert [vars(record)["event"] for record in caplog.records] == ["outbox.push_failed"]
    assert ledger.relay.move(CALLS) == 1


def test_a_failed_push_is_undone_under_its_own_fence_only(ledger: Ledger, hooked: HookedRedis) -> None:
    """The push reached Redis, its answer was lost, and a worker was faster than the undo."""
    message_id = ledger.add()

    def granted_then_lost() -> None:
        assert ledger.grant(message_id, ledger.row(message_id)["fence"]) is not None
        raise RedisConnectionError("the answer was lost")

    hooked.before = granted_then_lost
    ledger.another_relay(redis=hooked).move(CALLS)
    assert ledger.state(message_id) == "running"


def test_a_full_batch_claims_again_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "BATCH", 5)
    for _ in range(7):
        ledger.add(queue=CHORES)
    assert ledger.relay.run_once() == 0.0
    assert ledger.relay.run_once() == relaying.POLL_SECONDS
    assert len(ledger.waiting(CHORES)) == 7


def test_a_round_visits_only_the_queues_where_something_is_ready(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    relay = ledger.another_relay()
    monkeypatch.setattr(relay, "move", lambda queue: moved.append(queue.name) or 0)
    relay.run_once()
    assert moved == []
    ledger.add(queue=CHORES)
    ledger.add(delay=10.0)
    relay.run_once()
    assert moved == ["chores"]


def test_two_relays_publish_everything_once(ledger: Ledger) -> None:
    for _ in range(10):
        ledger.add()
    first, second = ledger.another_relay(), ledger.another_relay()
    with ledger.engine.connect() as db:
        # The first has claimed five and not committed yet: the second must neither wait for them nor take them.
        held = first.take(db, CALLS, 1, 5, None)
        fence, others = second.claim(CALLS)
        db.commit()
    assert {row[2] for row in held}.isdisjoint(message_id for message_id, _ in others)
    assert len(held) + len(others) == 10


def test_redis_carries_only_the_id_and_the_fence_of_a_message(ledger: Ledger) -> None:
    message_id = ledger.add(subject="somebody")
    ledger.relay.move(CALLS)
    ((_, fence),) = ledger.waiting()
    rq_side.leave_failed(ledger.redis, CALLS.name, message_id + 1, 5, "tests.ledger.reopen", "parked")
    jobs = {key.decode() for key in ledger.redis.scan_iter("rq:job:*")}
    assert jobs == {f"rq:job:{message_id}-{fence}", f"rq:job:{message_id + 1}-5"}
    for key in jobs:
        job: Job = rq_side.LedgerJob.fetch(key.removeprefix("rq:job:"), connection=ledger.redis)
        assert job.args == list(rq_side.read_job_id(job.id) or ())
        assert (job.kwargs, job.meta) == ({}, {})
    assert not any(b"somebody" in str(ledger.redis.dump(key)).encode() for key in ledger.redis.scan_iter())


def test_a_round_says_how_much_it_moved(ledger: Ledger) -> None:
    for count, queues in ((3, (CALLS, CHORES, CHORES)), (1, (CALLS,)), (0, ())):
        for queue in queues:
            ledger.add(queue=queue)
        ledger.relay.run_once()
        assert ledger.relay.moved == count


@pytest.fixture
def listener(ledger: Ledger) -> Iterator[Listener]:
    """One that listens already."""
    target = Target(ledger.engine.url.render_as_string(hide_password=False), "surefile-test", {}, lambda: 10.0)
    listening = Listener(target)
    listening.wait(0.0)
    yield listening
    listening.close()


@pytest.mark.parametrize(("gather", "waits"), [(False, []), (True, [processes.GATHER_SECONDS])])
def test_the_first_message_is_moved_at_once_and_only_those_behind_many_wait_for_others(
    ledger: Ledger, listener: Listener, monkeypatch: pytest.MonkeyPatch, gather: bool, waits: list[float]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(processes, "time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))
    ledger.add()
    listener.wait(60.0, gather=gather)
    assert slept == waits
    ledger.add()
    listener.wait(60.0)
    assert slept == waits, "it has heard the first one"
