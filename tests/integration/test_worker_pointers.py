"""How a worker takes its pointers: with few round trips to Redis, and woken only when there is something to take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ConnectionError, ResponseError
from rq import Queue
from rq.executions import Execution
from rq.worker.base import WorkerStatus

from jobs.periodic.isolated import PartsFailed
from jobs.worker import Bulkhead, Fetcher, wake_forever
from outbox import rq_side
from outbox.rq_side import LedgerJob
from tests.integration.test_ledger_rq import run_next
from tests.ledger import CALLS, Ledger
from tests.product import eventually

PATH = "tests.integration.test_worker_pointers.ran"
REFUSED = "tests.integration.test_worker_pointers.refused_by_redis"
AWAY = "tests.integration.test_worker_pointers.away_from_redis"
RAN: list[tuple[int, int]] = []


def ran(message_id: int, fence: int) -> None:
    RAN.append((message_id, fence))


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    RAN.clear()
    monkeypatch.setattr(LedgerJob, "allowed", frozenset({PATH}))


def push(ledger: Ledger, *message_ids: int) -> None:
    rq_side.push(ledger.redis, CALLS.name, [(message_id, PATH) for message_id in message_ids], 9, 60)


def fetcher_of(ledger: Ledger, bulkhead: Bulkhead) -> Fetcher:
    return Fetcher(Flask("toy"), ledger.redis, bulkhead, "fetcher", threading.Event())


def open_queue(ledger: Ledger) -> Queue:
    return rq_side.open_queue(ledger.redis, CALLS.name)


@contextmanager
def waiting(ledger: Ledger, *bulkheads: Bulkhead) -> Iterator[None]:
    """A worker's listener for each of these bulkheads; all of them are blocked when the body starts."""
    stopping = threading.Event()
    listeners = [
        threading.Thread(target=wake_forever, args=(ledger.redis, [bulkhead], stopping)) for bulkhead in bulkheads
    ]
    for listener in listeners:
        listener.start()
    free = [bulkhead for bulkhead in bulkheads if bulkhead.is_free]
    try:
        eventually(lambda: ledger.redis.info("clients")["blocked_clients"] == len(free))
        yield
    finally:
        stopping.set()
        for client in ledger.redis.client_list():
            ledger.redis.client_unblock(int(client["id"]))
        for listener in listeners:
            listener.join()


@contextmanager
def listening(ledger: Ledger, *bulkheads: Bulkhead) -> Iterator[None]:
    """One worker's listener for all of these bulkheads."""
    stopping = threading.Event()
    listener = threading.Thread(target=wake_forever, args=(ledger.redis, bulkheads, stopping))
    listener.start()
    try:
        yield
    finally:
        stopping.set()
        listener.join()


def woken(bulkheads: list[Bulkhead]) -> int:
    return sum(bulkhead.pushed.is_set() for bulkhead in bulkheads)


def test_taking_a_pointer_says_whether_more_are_left(ledger: Ledger) -> None:
    push(ledger, 1, 2)
    bulkhead = Bulkhead(CALLS)
    fetcher = fetcher_of(ledger, bulkhead)
    assert bulkhead.more
    assert [job.id for job in fetcher.dequeue(1)] == ["1-9"] and bulkhead.more
    assert [job.id for job in fetcher.dequeue(2)] == ["2-9"] and not bulkhead.more
    assert fetcher.dequeue(1) == [] and not bulkhead.more


@pytest.mark.parametrize(
    "remains",
    [{}, {"status": "queued"}, {"data": "x", "status": "no such"}, {"data": "x", "timeout": "soon"}],
    ids=["nothing", "a part", "a strange status", "a strange number"],
)
def test_a_pointer_whose_job_redis_lost_is_skipped_and_kept_nowhere(ledger: Ledger, remains: dict[str, str]) -> None:
    push(ledger, 1, 2)
    ledger.redis.delete(LedgerJob.key_for("1-9"))
    for field, value in remains.items():
        ledger.redis.hset(LedgerJob.key_for("1-9"), field, value)
    jobs, left = rq_side.take(open_queue(ledger), 2)
    assert ([job.id for job in jobs], left) == (["2-9"], 0)
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == ["2-9"]


def test_a_pointer_taken_while_the_worker_stops_goes_back_to_the_front_of_its_queue(ledger: Ledger) -> None:
    push(ledger, 1, 2)
    fetcher = fetcher_of(ledger, Bulkhead(CALLS))
    fetcher.stopping.set()
    assert fetcher.dequeue(2) == []
    assert ledger.redis.lrange(open_queue(ledger).key, 0, -1) == [b"1-9", b"2-9"]
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == []


def test_a_job_is_recorded_as_started_in_the_round_trip_that_removes_it_from_the_intermediate_list(
    ledger: Ledger,
) -> None:
    push(ledger, 1)
    fetcher = fetcher_of(ledger, Bulkhead(CALLS))
    (job,), _ = rq_side.take(open_queue(ledger), 1)
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == ["1-9"]
    fetcher.begin([(job, Execution("run", job.id, ledger.redis, fetcher.name))])
    assert rq_side.intermediate_ids(ledger.redis, CALLS.name) == []
    assert rq_side.pointers_held(ledger.redis, CALLS.name) == (set(), {"1-9"})
    assert ledger.redis.hget(job.key, "status") == b"started"


def test_redis_keeps_nothing_of_a_pointer_that_ran(ledger: Ledger) -> None:
    push(ledger, 1)
    run_next(ledger)
    assert RAN == [(1, 9)]
    assert [key for key in ledger.redis.scan_iter() if b"1-9" in key] == []
    assert rq_side.pointers_held(ledger.redis, CALLS.name) == (set(), set())


def test_periodic_work_keeps_its_job_for_the_next_time(ledger: Ledger) -> None:
    open_queue(ledger).enqueue(PATH, args=(1, 1), job_id="every-minute", result_ttl=60)
    run_next(ledger)
    assert RAN == [(1, 1)]
    assert LedgerJob.fetch("every-minute", connection=ledger.redis).is_finished


def test_a_pointer_costs_three_round_trips_to_redis(ledger: Ledger) -> None:
    """One to take it, one to begin and one to end its job."""
    push(ledger, 1)
    ledger.redis.config_resetstat()
    run_next(ledger)
    calls = {name: stats["calls"] for name, stats in ledger.redis.info("commandstats").items()}
    assert (calls["cmdstat_eval"], calls["cmdstat_exec"]) == (1, 2)
    assert not {"cmdstat_watch", "cmdstat_exists", "cmdstat_smembers"} & set(calls)


@pytest.fixture
def looking_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for what came without a wake-up."""
    monkeypatch.setattr("jobs.worker.LOOK_SECONDS", 60.0)


@pytest.mark.usefixtures("looking_never")
def test_a_push_wakes_one_worker_for_each_pointer_and_not_all(ledger: Ledger) -> None:
    bulkheads = [Bulkhead(CALLS) for _ in range(3)]
    with waiting(ledger, *bulkheads):
        push(ledger, 1)
        eventually(lambda: woken(bulkheads))
        assert (woken(bulkheads), ledger.redis.llen(rq_side.pushed_key(CALLS.name))) == (1, 0)
        push(ledger, 2, 3, 4)
        eventually(lambda: woken(bulkheads) == 3)


def test_a_job_that_comes_without_a_wake_up_is_found_although_its_fetcher_does_not_look(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.worker.WAIT_SECONDS", 60.0)
    bulkhead, found = Bulkhead(CALLS), []
    bulkhead.more = False
    fetcher = fetcher_of(ledger, bulkhead)
    fetcher.register_birth()
    fetching = threading.Thread(target=lambda: found.append(fetcher.wait_for_pointers()))
    fetching.start()
    idle = [Bulkhead(replace(CALLS, name=f"idle {number}")) for number in range(3)]
    with listening(ledger, bulkhead, *idle):
        open_queue(ledger).enqueue(PATH, job_id="every-minute")
        fetching.join()
    assert [job.id for jobs, _ in found for job in jobs] == ["every-minute"]


def test_nobody_looks_into_queues_where_nothing_waits(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.worker.WAIT_SECONDS", 60.0)
    monkeypatch.setattr("jobs.worker.LOOK_SECONDS", 0.01)
    bulkheads = [Bulkhead(replace(CALLS, name=f"idle {number}")) for number in range(10)]
    ledger.redis.config_resetstat()
    with listening(ledger, *bulkheads):
        eventually(lambda: ledger.redis.info("commandstats").get("cmdstat_exists", {}).get("calls", 0) >= 3)
        assert woken(bulkheads) == 0


@pytest.mark.usefixtures("looking_never")
def test_a_worker_without_a_free_thread_is_not_woken_instead_of_another(ledger: Ledger) -> None:
    full, free = Bulkhead(CALLS), Bulkhead(CALLS)
    full.running.update(str(number) for number in range(CALLS.threads))
    with waiting(ledger, full, free):
        push(ledger, *range(1, 5))
        eventually(free.pushed.is_set)
        assert not full.pushed.is_set()


def test_wake_ups_that_nobody_waits_for_expire_soon(ledger: Ledger) -> None:
    for _ in range(3):
        push(ledger, *range(1, 21))
    key = rq_side.pushed_key(CALLS.name)
    assert ledger.redis.llen(key) == rq_side.WOKEN
    assert 0 < ledger.redis.ttl(key) <= rq_side.WAKING_SECONDS


def test_a_listener_survives_an_unreachable_redis(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead, tries = Bulkhead(CALLS), iter([ConnectionError(), OSError()])
    real_blpop = ledger.redis.blpop

    def blpop(*keys: Any, **options: Any) -> Any:
        for error in tries:
            raise error
        return real_blpop(*keys, **options)

    monkeypatch.setattr("jobs.worker.WAIT_SECONDS", 0.05)
    monkeypatch.setattr(ledger.redis, "blpop", blpop)
    with waiting(ledger, bulkhead):
        push(ledger, 1)
        eventually(bulkhead.pushed.is_set)
    assert next(tries, None) is None


def refused_by_redis() -> None:
    """Periodic work whose Redis command is refused."""
    raise ResponseError("WRONGTYPE")


def test_periodic_work_that_redis_refuses_is_recorded_as_failed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerJob, "allowed", frozenset({REFUSED}))
    open_queue(ledger).enqueue(REFUSED, job_id="every-minute")
    run_next(ledger)
    assert LedgerJob.fetch("every-minute", connection=ledger.redis).is_failed
    assert rq_side.started_entries(ledger.redis, CALLS.name) == []


def away_from_redis() -> None:
    """Periodic work that met an outage of Redis, and nothing else."""
    raise PartsFailed({"registries": ConnectionError("gone")})


def test_periodic_work_that_met_an_outage_of_redis_is_a_warning(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LedgerJob, "allowed", frozenset({AWAY}))
    open_queue(ledger).enqueue(AWAY, job_id="every-minute")
    run_next(ledger)
    assert not LedgerJob.fetch("every-minute", connection=ledger.redis).is_failed
    assert [(record.levelname, vars(record).get("event")) for record in caplog.records] == [
        ("WARNING", "worker.redis_lost")
    ]


def test_a_suspended_worker_is_shown_as_one(ledger: Ledger) -> None:
    fetcher = fetcher_of(ledger, Bulkhead(CALLS))
    fetcher.register_birth()
    fetcher.set_state(WorkerStatus.SUSPENDED)
    fetcher.heartbeat()
    assert ledger.redis.hget(fetcher.key, "state") == b"suspended"
