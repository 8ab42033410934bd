"""The scheduler of periodic work: after a stop or a flush, and beside another one, it pushes every run once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest
from redis import Connection, ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flaskapp.flows import HOUSEKEEPING
from jobs.periodic.schedule import PERIODIC, Periodic
from jobs.periodic.scheduler import LedgerScheduler
from outbox import rq_side
from sandbox.servers import EmbeddedValkey
from tests.forked import fire_often
from tests.forks import forking
from tests.ledger import Ledger
from tests.product import eventually

TABLE = (Periodic("periodic-often", "jobs.often", 10), Periodic("periodic-seldom", "jobs.seldom", 3600))
NAMES = {entry.name for entry in TABLE}


class Stopped(BaseException):
    """The process ends right here."""


class Fuse:
    """Stops the process at its nth exchange with Redis: before a command is sent, or after its answer was read."""

    def __init__(self, when: str, step: int) -> None:
        self.when = when
        self.left = step

    def count(self, when: str) -> None:
        if when == self.when:
            self.left -= 1
            if self.left == 0:
                raise Stopped


class FusedConnection(Connection):
    def __init__(self, fuse: Fuse, **options: Any) -> None:
        self.fuse = fuse
        super().__init__(**options)

    def send_packed_command(self, *args: Any, **options: Any) -> Any:
        self.fuse.count("before")
        return super().send_packed_command(*args, **options)

    def read_response(self, *args: Any, **options: Any) -> Any:
        answer = super().read_response(*args, **options)
        self.fuse.count("after")
        return answer


@pytest.fixture
def redis(ledger: Ledger) -> Redis:
    return ledger.redis


@pytest.fixture
def scheduler(redis: Redis) -> LedgerScheduler:
    return LedgerScheduler(redis, TABLE)


def table(redis: Redis) -> dict[str, float]:
    """Seconds until the next run of each entry."""
    entries: Any = redis.zrange(LedgerScheduler.scheduled_jobs_key, 0, -1, withscores=True)
    return {name.decode(): score - time.time() for name, score in entries}


def set_due(redis: Redis, *names: str) -> None:
    for name in names:
        redis.zadd(LedgerScheduler.scheduled_jobs_key, {name: time.time() - 1})


def take_all(redis: Redis) -> list[str]:
    """What a worker would run now; it is taken off the queue."""
    queue = rq_side.open_queue(redis, HOUSEKEEPING.name)
    taken = queue.get_job_ids()
    redis.delete(queue.key)
    return taken


def test_the_first_tick_runs_everything_and_writes_the_next_runs(scheduler: LedgerScheduler, redis: Redis) -> None:
    began = time.time()
    assert scheduler.tick() == 2
    assert sorted(take_all(redis)) == sorted(NAMES)
    left = table(redis)
    passed = time.time() - began
    assert 9 - passed < left["periodic-often"] <= 10
    assert 3599 - passed < left["periodic-seldom"] <= 3600


def test_a_run_that_is_not_due_is_not_pushed(scheduler: LedgerScheduler, redis: Redis) -> None:
    scheduler.tick()
    take_all(redis)
    assert scheduler.tick() == 0
    assert take_all(redis) == []


def test_a_due_run_is_pushed_as_json_without_arguments(scheduler: LedgerScheduler, redis: Redis) -> None:
    scheduler.tick()
    job = rq_side.LedgerJob.fetch("periodic-often", connection=redis)
    assert (job.func_name, job.args, job.kwargs) == ("jobs.often", [], {})
    assert job.get_status() == "queued"


def test_missed_runs_are_made_up_for_once(scheduler: LedgerScheduler, redis: Redis) -> None:
    scheduler.tick()
    take_all(redis)
    redis.zadd(scheduler.scheduled_jobs_key, {"periodic-often": time.time() - 86_400})
    assert [scheduler.tick() for _ in range(3)] == [1, 0, 0]
    assert take_all(redis) == ["periodic-often"]


def test_nothing_piles_up_while_nobody_works(scheduler: LedgerScheduler, redis: Redis) -> None:
    for _ in range(4):
        scheduler.tick()
        set_due(redis, *NAMES)
    assert Counter(take_all(redis)) == Counter(NAMES)


@pytest.mark.parametrize("when", ["while it waits", "after it was taken"])
def test_a_flush_of_redis_is_repaired_at_the_next_tick(scheduler: LedgerScheduler, redis: Redis, when: str) -> None:
    scheduler.tick()
    if when == "after it was taken":
        take_all(redis)
    redis.flushall()
    assert scheduler.tick() == 2
    assert table(redis).keys() == NAMES
    assert sorted(take_all(redis)) == sorted(NAMES)


def test_a_changed_table_drops_unknown_entries_and_leaves_the_others_unchanged(
    scheduler: LedgerScheduler, redis: Redis
) -> None:
    scheduler.tick()
    take_all(redis)
    before = redis.zscore(scheduler.scheduled_jobs_key, "periodic-often")
    new = Periodic("periodic-new", "jobs.new", 60)
    assert LedgerScheduler(redis, (TABLE[0], new)).tick() == 1
    assert table(redis).keys() == {"periodic-often", "periodic-new"}
    assert take_all(redis) == ["periodic-new"]
    assert redis.zscore(scheduler.scheduled_jobs_key, "periodic-often") == before


def test_a_scheduler_whose_clock_was_a_day_ahead_puts_nothing_off(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while its clock is wrong, nor what it, or Redis with a wrong clock, had put off before."""
    set_due(redis, *NAMES)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 86_400)
    assert LedgerScheduler(redis, TABLE).tick() == 2
    monkeypatch.undo()
    assert max(table(redis).values()) <= 3600
    redis.zadd(LedgerScheduler.scheduled_jobs_key, {name: time.time() + 86_400 for name in NAMES})
    assert LedgerScheduler(redis, TABLE).tick() == 0
    left = table(redis)
    assert (left["periodic-often"] <= 10, left["periodic-seldom"] <= 3600) == (True, True)


def test_two_schedulers_of_which_one_is_a_day_ahead_fire_each_run_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(redis, "due")
    right = time.time
    fired = 0
    for _ in range(3):
        monkeypatch.setattr(time, "time", lambda: right() + 86_400)
        fired += LedgerScheduler(redis, TABLE).tick()
        monkeypatch.undo()
        fired += LedgerScheduler(redis, TABLE).tick()
        take_all(redis)
    assert fired == 1


def prepare(redis: Redis, state: str) -> set[str]:
    """Put Redis into a state; returns which entries the next tick has to push."""
    redis.flushall()
    if state == "empty":
        return NAMES
    LedgerScheduler(redis, TABLE).tick()
    take_all(redis)
    set_due(redis, "periodic-often")
    if state == "changed":
        redis.zadd(LedgerScheduler.scheduled_jobs_key, {"stranger": 5})
        redis.zrem(LedgerScheduler.scheduled_jobs_key, "periodic-seldom")
        return NAMES
    return {"periodic-often"}


def tick_with_fuse(redis: Redis, when: str, step: int) -> bool:
    """Tick until the fuse stops it; False when the tick ended before."""
    options = {key: redis.connection_pool.connection_kwargs[key] for key in ("host", "port", "password")}
    pool = ConnectionPool(connection_class=FusedConnection, fuse=Fuse(when, step), **options)
    try:
        LedgerScheduler(Redis(connection_pool=pool), TABLE).tick()
    except Stopped:
        return True
    finally:
        pool.disconnect()
    return False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", ["empty", "due", "changed"])
def test_after_a_stop_at_any_redis_command_the_next_tick_completes_the_table(
    redis: Redis, state: str, when: str
) -> None:
    steps = 0
    stopped = True
    while stopped:
        steps += 1
        expected = prepare(redis, state)
        stopped = tick_with_fuse(redis, when, steps)
        pushed = take_all(redis)
        LedgerScheduler(redis, TABLE).tick()
        assert table(redis).keys() == NAMES, f"stopped {when} command {steps}"
        assert Counter(pushed + take_all(redis)) == Counter(expected), f"stopped {when} command {steps}"
        assert min(table(redis).values()) > 0
    assert steps > 10


def test_a_scheduler_stopped_during_a_tick_leaves_nothing_waiting_for_ever(redis: Redis) -> None:
    """A job hash without an entry in the queue must not prevent the next run from being pushed."""
    prepare(redis, "due")
    redis.hset("rq:job:periodic-often", "status", "queued")
    assert LedgerScheduler(redis, TABLE).tick() == 1


def test_two_schedulers_on_threads_fire_each_run_once(redis: Redis) -> None:
    schedulers = [LedgerScheduler(redis, TABLE) for _ in range(3)]
    for _ in range(10):
        prepare(redis, "due")
        start = threading.Barrier(3)
        fired: list[int] = []

        def tick(scheduler: LedgerScheduler, start: threading.Barrier = start, fired: list[int] = fired) -> None:
            start.wait()
            fired.append(scheduler.tick())

        threads = [threading.Thread(target=tick, args=(scheduler,)) for scheduler in schedulers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sum(fired) == 1
        assert take_all(redis) == ["periodic-often"]


def test_two_scheduler_processes_fire_each_run_once(redis: Redis, redis_server: EmbeddedValkey) -> None:
    redis.zadd(LedgerScheduler.scheduled_jobs_key, {"periodic-often": time.time() + 600})
    crew = [forking.Process(target=fire_often, args=(redis_server.url,), daemon=True) for _ in range(2)]
    for process in crew:
        process.start()
    try:
        eventually(lambda: redis.get("present") == b"2")
        for _ in range(20):
            set_due(redis, "periodic-often")
            eventually(lambda: redis.llen(f"rq:queue:{HOUSEKEEPING.name}"))
            assert take_all(redis) == ["periodic-often"]
    finally:
        redis.set("over", 1)
        for process in crew:
            process.join(60)
    assert [process.exitcode for process in crew] == [0, 0]
    assert redis.get("fired") == b"20"
    assert take_all(redis) == []


def test_a_scheduler_survives_an_outage_of_redis(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    away = Redis(host="127.0.0.1", port=9, retry=Retry(NoBackoff(), 0))
    stopping = threading.Event()
    runner = threading.Thread(target=LedgerScheduler(away, TABLE).run_until, args=(stopping,))
    runner.start()
    eventually(lambda: any(getattr(record, "event", "") == "scheduler.tick_failed" for record in caplog.records))
    assert runner.is_alive()
    stopping.set()
    runner.join(60)
    assert not runner.is_alive()


def test_the_real_table_has_stable_names_that_no_pointer_has() -> None:
    names = ["sweep", "itf-refresh", "document-poll", "audit", "minutes", "synthetic", "retention"]
    assert [entry.name for entry in PERIODIC] == [f"periodic-{name}" for name in names]
    assert all(rq_side.read_job_id(entry.name) is None for entry in PERIODIC)
