"""The sweep: it makes RQ's registries agree with the ledger, and does not touch entries that are moving."""

from __future__ import annotations

import pytest
from redis import Redis
from rq.job import Job
from rq.registry import FailedJobRegistry

from outbox import registries, rq_side
from tests.ledger import CALLS, REOPEN, Ledger


def run_sweep(ledger: Ledger) -> None:
    registries.sweep_queue(ledger.engine, ledger.redis, CALLS.name, REOPEN)


def park(ledger: Ledger) -> str:
    """Park a message; returns the id that its failed job should have."""
    grant = ledger.start()
    ledger.park(grant, "refused: Rejected", fence=500 + grant.message_id)
    return rq_side.job_id(grant.message_id, 500 + grant.message_id)


def failed(ledger: Ledger) -> set[str]:
    return rq_side.failed_ids(ledger.redis, CALLS.name)


def fetch(redis: Redis, identifier: str) -> Job:
    found: Job = rq_side.LedgerJob.fetch(identifier, connection=redis)
    return found


def requeue(ledger: Ledger, identifier: str) -> None:
    """Do what the dashboard's button does, with the operator's name."""
    job = fetch(ledger.redis, identifier)
    job.meta["requeued_by"] = "olive"
    job.save_meta()
    FailedJobRegistry(queue=rq_side.open_queue(ledger.redis, CALLS.name)).requeue(identifier)


def start_requeue(ledger: Ledger) -> str:
    """A requeue that a worker has taken, before it reopened the message."""
    identifier = park(ledger)
    run_sweep(ledger)
    requeue(ledger, identifier)
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ledger.redis.lpop(queue.key)
    ledger.redis.zadd(queue.started_job_registry.key, {f"{identifier}:execution": 1})
    return identifier


def test_parked_messages_are_shown_as_failed_jobs_that_a_requeue_only_reopens(ledger: Ledger) -> None:
    identifier = park(ledger)
    run_sweep(ledger)
    assert failed(ledger) == {identifier}
    job = fetch(ledger.redis, identifier)
    assert job.is_failed
    assert (job.func_name, job.args) == (REOPEN, list(rq_side.read_job_id(identifier) or ()))
    assert (job.description or "").endswith("parked: refused: Rejected")
    assert b"rq:queue:calls" in ledger.redis.smembers("rq:queues")


def test_failed_entries_that_redis_lost_are_restored(ledger: Ledger) -> None:
    identifiers = {park(ledger) for _ in range(3)}
    run_sweep(ledger)
    ledger.redis.flushall()
    run_sweep(ledger)
    assert failed(ledger) == identifiers
    assert {fetch(ledger.redis, identifier).id for identifier in identifiers} == identifiers


def test_an_entry_that_is_no_longer_parked_is_removed_with_its_job(ledger: Ledger) -> None:
    stays, goes = park(ledger), park(ledger)
    run_sweep(ledger)
    ledger.run("DELETE FROM outbox_messages WHERE id = :id", id=int(goes.split("-")[0]))
    run_sweep(ledger)
    assert failed(ledger) == {stays}
    assert not ledger.redis.exists(f"rq:job:{goes}")


def test_a_message_parked_again_is_shown_once_under_its_new_fence(ledger: Ledger) -> None:
    identifier = park(ledger)
    run_sweep(ledger)
    ledger.run("UPDATE outbox_messages SET fence = 900")
    run_sweep(ledger)
    assert failed(ledger) == {f"{identifier.split('-')[0]}-900"}


def test_a_message_just_parked_is_shown_without_a_sweep(ledger: Ledger) -> None:
    identifier = park(ledger)
    waits = ledger.add()
    for message_id in (int(identifier.split("-")[0]), waits, 999_999):
        registries.show_if_parked(ledger.engine, ledger.redis, message_id, REOPEN)
    assert failed(ledger) == {identifier}


def test_an_unknown_failed_job_is_removed(ledger: Ledger) -> None:
    rq_side.leave_failed(ledger.redis, CALLS.name, 1, 2, REOPEN, "not ours")
    run_sweep(ledger)
    assert failed(ledger) == set()


def test_an_entry_being_requeued_is_not_touched(ledger: Ledger) -> None:
    identifier = park(ledger)
    run_sweep(ledger)
    requeue(ledger, identifier)
    run_sweep(ledger)
    assert failed(ledger) == set(), "it would show as failed although somebody has just requeued it"
    assert [rq_side.job_id(*pointer) for pointer in ledger.waiting()] == [identifier]
    job = fetch(ledger.redis, identifier)
    assert job.get_status() == "queued"
    assert job.meta == {"requeued_by": "olive"}


def test_a_requeue_that_a_worker_is_running_does_not_show_as_failed(ledger: Ledger) -> None:
    start_requeue(ledger)
    run_sweep(ledger)
    assert failed(ledger) == set()


def test_a_requeue_that_died_while_it_ran_is_shown_as_failed_again(ledger: Ledger) -> None:
    identifier = start_requeue(ledger)
    run_sweep(ledger)
    run_sweep(ledger)
    assert failed(ledger) == {identifier}
    assert rq_side.started_entries(ledger.redis, CALLS.name) == []


def test_a_requeue_lost_with_its_worker_is_shown_as_failed_again(ledger: Ledger) -> None:
    identifier = park(ledger)
    run_sweep(ledger)
    requeue(ledger, identifier)
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ledger.redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    run_sweep(ledger)
    assert failed(ledger) == {identifier}
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == []
    assert fetch(ledger.redis, identifier).is_failed, "nobody could requeue it once more"


@pytest.mark.parametrize("begun", [False, True], ids=["taken", "begun"])
def test_a_requeue_shown_as_failed_at_its_start_and_then_lost_can_be_repeated(ledger: Ledger, begun: bool) -> None:
    """RQ's requeue takes two round trips to Redis, and a sweep runs between them."""
    identifier = park(ledger)
    run_sweep(ledger)
    requeue(ledger, identifier)
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    queue.failed_job_registry.add(fetch(ledger.redis, identifier), ttl=rq_side.PARKED_SECONDS)
    ledger.redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    if begun:
        ledger.redis.delete(queue.intermediate_queue_key)
        ledger.redis.zadd(queue.started_job_registry.key, {f"{identifier}:execution": 1})
    run_sweep(ledger)
    run_sweep(ledger)
    assert failed(ledger) == {identifier}
    assert fetch(ledger.redis, identifier).is_failed


@pytest.mark.parametrize("moved_on", ["settled", "rescued"])
def test_started_entries_of_dead_workers_are_dropped(ledger: Ledger, moved_on: str) -> None:
    grant = ledger.start()
    entry = f"{rq_side.job_id(grant.message_id, grant.fence)}:execution"
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ledger.redis.zadd(queue.started_job_registry.key, {entry: 1})
    run_sweep(ledger)
    assert rq_side.started_entries(ledger.redis, CALLS.name) == [entry]
    ledger.end(grant) if moved_on == "settled" else ledger.again(grant)
    run_sweep(ledger)
    assert rq_side.started_entries(ledger.redis, CALLS.name) == []


def test_intermediate_entries_are_dropped_when_their_message_moved_on(ledger: Ledger) -> None:
    ledger.add()
    ledger.relay.move(CALLS)
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ledger.redis.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    run_sweep(ledger)
    assert len(rq_side.intermediate_ids(ledger.redis, CALLS.name)) == 1
    for _ in range(2):
        ledger.pass_time(6)
        ledger.relay.find_missing()
    run_sweep(ledger)
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == []


def test_the_sweep_does_not_touch_periodic_jobs(ledger: Ledger) -> None:
    queue = rq_side.open_queue(ledger.redis, CALLS.name)
    ledger.redis.zadd(queue.started_job_registry.key, {"periodic-sweep:execution": 1})
    ledger.redis.rpush(queue.intermediate_queue_key, "periodic-audit")
    run_sweep(ledger)
    assert rq_side.started_entries(ledger.redis, CALLS.name) == ["periodic-sweep:execution"]
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == ["periodic-audit"]
