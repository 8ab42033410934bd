"""How soon after a commit its job is entered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, create_engine

from outbox import add
from tests.benchmarks.ground import Ground, Site
from tests.benchmarks.noop import WORK
from tests.benchmarks.rows import Row, Run, at_most, measurement, no_more_than, percentile

IDLE_JOBS, IDLE_GAP = 25, 0.11
PER_SECOND, STEADY_SECONDS = 20, 8.0
NOTE = "tests.benchmarks.peers_jobs.note_start"
STARTED = "SELECT message_id, extract(epoch FROM started_at)::float FROM outbox_attempts WHERE message_id = ANY(%s)"


def commit_one(engine: Engine, number: int) -> tuple[int, float]:
    """A message and the time when its commit was over."""
    with engine.begin() as connection:
        message_id = add(
            connection,
            job=WORK.path,
            queue=WORK.queue.name,
            subject_type="bench",
            subject_id=f"{time.time_ns()}-{number}",
            deadline_seconds=WORK.deadline_seconds,
            give_up_seconds=WORK.give_up_seconds,
            upstream=WORK.queue.upstream,
        )
    assert message_id is not None
    return message_id, time.time()


@contextmanager
def engine_of(site: Site) -> Iterator[Engine]:
    engine = create_engine(site.url, pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def waits(site: Site, engine: Engine, count: int, gap: float) -> list[float]:
    """Seconds from each commit to its job's grant, with so many seconds between two commits."""
    committed: dict[int, float] = {}
    began = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, began + number * gap - time.perf_counter()))
        message_id, at = commit_one(engine, number)
        committed[message_id] = at
    site.until_done()
    started = dict(site.rows(STARTED, list(committed)))
    return [started[message_id] - at for message_id, at in committed.items()]


def plain_waits(site: Site, count: int, gap: float) -> list[float]:
    """The same for `rq.enqueue` and a stock SimpleWorker that waits; its job notes when it was entered."""
    redis = site.ground.redis
    queue = Queue("plain", connection=redis, serializer=JSONSerializer)
    found = []
    for number in range(count):
        key = f"plain:{number}:{time.time_ns()}"
        queue.enqueue(NOTE, key)
        at = time.time()
        answer = redis.blpop([key], timeout=10)
        assert answer is not None
        found.append(float(answer[1]) - at)
        time.sleep(gap)
    return found


@measurement("starting")
def starting(ground: Ground, run: Run) -> Iterator[Row]:
    """From the commit of work to the start of its job, against plain rq.enqueue to a waiting worker."""
    count = run.whole(IDLE_JOBS, 5)
    plain = "rq worker --url $REDIS_URL --worker-class rq.SimpleWorker --serializer rq.serializers.JSONSerializer plain"
    idle: list[float] = []
    with (
        ground.site("starting") as site,
        engine_of(site) as engine,
        site.beating("relay", "worker", module="tests.benchmarks.noop"),
        site.running("plain", plain),
    ):
        waits(site, engine, 5, IDLE_GAP)
        plain_waits(site, 5, 0.0)

        def ours() -> float:
            found = waits(site, engine, count, IDLE_GAP)
            idle.extend(found)
            return 1000 * percentile(found, 50)

        found = run.in_turn(
            "commit to job start, idle, p50 ms",
            {"ours": ours, "rq.enqueue": lambda: 1000 * percentile(plain_waits(site, count, IDLE_GAP), 50)},
        )
        steady = waits(site, engine, run.whole(PER_SECOND * STEADY_SECONDS, 20), 1 / PER_SECOND)
    run.lines["commit to job start, ms (share of jobs that started within)"] = {
        what: [(1000 * wait, (place + 1) / len(waited)) for place, wait in enumerate(sorted(waited))]
        for what, waited in (("idle", idle), ("20 a second", steady))
    }
    against = "rq.enqueue to a waiting SimpleWorker"
    yield at_most("commit to job entered, idle, p50", found["ours"], found["rq.enqueue"], 3.0, "ms", against)
    p99 = 1000 * percentile(steady, 99)
    yield no_more_than(
        "commit to job entered, 20/s, p99", p99, 25.0, "ms", f"p50 {1000 * percentile(steady, 50):.1f} ms"
    )
