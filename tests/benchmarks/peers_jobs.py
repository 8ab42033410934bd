"""Peers of our worker, each in a process of its own: `python -m tests.benchmarks.peers_jobs NAME COUNT`.

It prepares so many jobs, says `ready`, waits for a line on its input, does them all, and prints the seconds.

- `simple_worker`: stock RQ, whose job makes the two commits of a grant and a settle by hand;
- `procrastinate`: ten at once; - `pgqueuer`: batches of ten; both with jobs that do nothing, in Postgres alone;
- `raw`: the two commits by eight clients, with nothing around them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import psycopg2
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.types import QueueExecutionMode
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.schema import SchemaManager
from redis import Redis
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

CLIENTS, BATCH = 8, 500
NOTHING_PATH = "tests.benchmarks.peers_jobs.nothing"
TABLES = """
    DROP TABLE IF EXISTS peer_work, peer_tries;
    CREATE TABLE peer_work (id bigint PRIMARY KEY, state text NOT NULL, worker text);
    CREATE TABLE peer_tries (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, work bigint NOT NULL, status text NOT NULL,
        started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz);
    CREATE INDEX ON peer_tries (work);
"""
GRANT = """
    WITH granted AS (UPDATE peer_work SET state = 'running', worker = 'peer'
                      WHERE id = %s AND state = 'ready' RETURNING id)
    INSERT INTO peer_tries (work, status) SELECT id, 'try' FROM granted RETURNING id
"""
SETTLE = """
    WITH done AS (DELETE FROM peer_work WHERE id = %s AND state = 'running' RETURNING id)
    UPDATE peer_tries SET status = 'success', finished_at = now() WHERE id = %s
"""
Go = Callable[[], None]


def nothing(*args: object) -> None:
    """A job with nothing to do."""


def note_start(key: str) -> None:
    """A job that says when it was entered, by the clock of this machine."""
    connection().lpush(key, time.time())


def two_commits(number: int) -> None:
    do_two_commits(database(), number)


def do_two_commits(held: Any, number: int) -> None:
    with held, held.cursor() as cursor:
        cursor.execute(GRANT, (number,))
        (attempt,) = cursor.fetchone()
    with held, held.cursor() as cursor:
        cursor.execute(SETTLE, (number, attempt))


def database(held: list[Any] = []) -> Any:  # noqa: B006 - one for the life of the process, as a worker keeps one
    if not held:
        held.append(psycopg2.connect(os.environ["DATABASE_URL"]))
    return held[0]


def connection(held: list[Redis] = []) -> Redis:  # noqa: B006 - the same
    if not held:
        held.append(Redis.from_url(os.environ["REDIS_URL"]))
    return held[0]


def fill(count: int) -> None:
    with database() as held, held.cursor() as cursor:
        cursor.execute(TABLES)
        cursor.execute("INSERT INTO peer_work SELECT n, 'ready' FROM generate_series(1, %s) n", (count,))


def simple_worker(count: int) -> Go:
    fill(count)
    queue = Queue("peer_work", connection=connection(), serializer=JSONSerializer)
    enqueue_many(queue, "tests.benchmarks.peers_jobs.two_commits", count)
    worker = SimpleWorker([queue], connection=connection(), serializer=JSONSerializer)
    return lambda: check(worker.work(burst=True, logging_level=None))


def enqueue_many(queue: Queue, path: str, count: int) -> None:
    for first in range(1, count + 1, BATCH):
        numbers = range(first, min(first + BATCH, count + 1))
        data = [Queue.prepare_data(path, args=(number,), timeout=600, result_ttl=20) for number in numbers]
        queue.enqueue_many(data)


def check(worked: bool) -> None:
    assert worked
    with database() as held, held.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM peer_work")
        assert cursor.fetchone() == (0,)


def raw(count: int) -> Go:
    fill(count)

    def share(first: int) -> None:
        held = psycopg2.connect(os.environ["DATABASE_URL"])
        for number in range(first, count + 1, CLIENTS):
            do_two_commits(held, number)
        held.close()

    def go() -> None:
        threads = [threading.Thread(target=share, args=(first,)) for first in range(1, CLIENTS + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(True)

    return go


def procrastinate(count: int) -> Go:
    with database() as held, held.cursor() as cursor:
        cursor.execute("SELECT to_regclass('procrastinate_jobs')")
        if cursor.fetchone() == (None,):
            cursor.execute(SchemaManager.get_schema())
    url = os.environ["DATABASE_URL"]
    app = App(connector=PsycopgConnector(conninfo=url))

    @app.task(name="nothing", queue="peer_work")
    async def do_nothing(number: int) -> None:
        """Nothing to do."""

    with app.replace_connector(SyncPsycopgConnector(conninfo=url)) as filling, filling.open():
        for first in range(0, count, BATCH):
            jobs = [{"number": number} for number in range(first, min(first + BATCH, count))]
            filling.tasks["nothing"].batch_defer(*jobs)

    async def work() -> None:
        async with app.open_async():
            await app.run_worker_async(queues=["peer_work"], wait=False, concurrency=10, install_signal_handlers=False)

    return lambda: asyncio.run(work())


def pgqueuer(count: int) -> Go:
    loop = asyncio.new_event_loop()

    async def prepare() -> PgQueuer:
        driver = AsyncpgDriver(await asyncpg.connect(os.environ["DATABASE_URL"]))
        made = PgQueuer(driver)
        if not await made.qm.queries.schema_is_installed():
            await made.qm.queries.install()

        @made.entrypoint("nothing")
        async def do_nothing(job: Any) -> None:
            """Nothing to do."""

        for _ in range(0, count, BATCH):
            await made.qm.queries.enqueue(["nothing"] * BATCH, [None] * BATCH, [0] * BATCH)
        return made

    queuer = loop.run_until_complete(prepare())
    return lambda: loop.run_until_complete(queuer.qm.run(batch_size=10, mode=QueueExecutionMode.drain))


PEERS = {"simple_worker": simple_worker, "procrastinate": procrastinate, "pgqueuer": pgqueuer, "raw": raw}


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    go = PEERS[sys.argv[1]](int(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    go()
    print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    # RQ imports what its jobs name, which must be this very module.
    from tests.benchmarks import peers_jobs

    peers_jobs.main()
