"""The cost of the ledger: moving a message, claiming one among a million, and doing a job through it."""

from __future__ import annotations

import threading
import time

from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import text

from flaskapp.db import db
from jobs.processes import start_thread
from jobs.worker import Bulkhead, fetch_forever
from outbox import rq_side
from outbox.relay import BATCH, Relay
from tests.benchmarks.enqueuing import CLAIMED, CLAIMS, claims, enqueue, vacuum
from tests.benchmarks.figures import figure, percentile, timed, title
from tests.benchmarks.noop import BENCH, through_plain_rq
from tests.product import Product

MOVED = 10_000
JOBS = 1_000
MILLION = 1_000_000


def forget(product: Product) -> None:
    product.redis.flushall()
    with db.engine.begin() as connection:
        connection.execute(text("TRUNCATE outbox_messages"))


def move_all(relay: Relay) -> None:
    while relay.run_once() == 0.0:
        pass


def enqueue_raw(queue: Queue, count: int) -> None:
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        queue.enqueue_many([Queue.prepare_data(through_plain_rq, args=(n, n), job_id=f"{n}-{n}") for n in numbers])


def test_the_relay_moves_messages_about_as_fast_as_rq_takes_them(product: Product, relay: Relay) -> None:
    enqueue(MOVED)
    vacuum()
    moving = timed(lambda: move_all(relay))
    assert product.redis.llen("rq:queue:bench") == MOVED
    product.redis.flushall()
    raw = timed(lambda: enqueue_raw(Queue("raw", connection=product.redis, serializer=JSONSerializer), MOVED))

    title(f"The relay, {MOVED:,} messages in batches of {BATCH}")
    figure("claim, commit and push", f"{MOVED / moving:,.0f} messages/s")
    figure("RQ's enqueue_many only", f"{MOVED / raw:,.0f} messages/s")
    figure("relay / enqueue_many", f"{raw / moving:.2f}")
    assert raw / moving > 0.25


def test_a_claim_costs_the_same_with_a_million_messages_waiting(product: Product, relay: Relay) -> None:
    enqueue(1_000)
    vacuum()
    few, idle = percentile(claims(relay), 50), timed(relay.promote)
    enqueue(100_000)
    enqueue(MILLION, "later")
    vacuum()
    many, loaded = percentile(claims(relay), 50), timed(relay.promote)

    title(f"One claim of {CLAIMED}, median of {CLAIMS}")
    figure("1,000 ready", f"{few * 1000:.1f} ms")
    figure("100,000 ready and 1,000,000 later", f"{many * 1000:.1f} ms")
    figure("ratio", f"{many / few:.2f}")
    figure("looking for what has become due, nothing / a million later", f"{idle * 1000:.1f} / {loaded * 1000:.1f} ms")
    # Cold pages of a big table cost some; walking past what waits would cost thirty times as much.
    assert many / few < 8


def run_in_threads(product: Product) -> None:
    """The worker process's own fetcher and threads, in this process, until no work is outstanding."""
    stopping = threading.Event()
    bulkhead = Bulkhead(BENCH)
    fetcher = start_thread(fetch_forever, product.app, product.redis, bulkhead, "bench", stopping, name="bench")
    while product.outstanding():
        time.sleep(0.05)
    stopping.set()
    fetcher.join()
    bulkhead.pool.shutdown()


class BurstWorker(SimpleWorker):
    """RQ's own loop in this thread, until the queue is empty."""

    def subscribe(self) -> None:
        """No second connection."""

    def clean_registries(self) -> None:
        """The ledger's sweep cleans them, as in the real worker."""

    def _install_signal_handlers(self) -> None:
        """The test runner owns them."""


def run_in_burst(product: Product, queue: str) -> None:
    job_class = rq_side.LedgerJob if queue == BENCH.name else None
    worker = BurstWorker([queue], connection=product.redis, job_class=job_class, serializer=JSONSerializer)
    worker.log_job_description = False
    worker.work(burst=True, logging_level=None)


def test_a_job_through_the_ledger_against_a_job_of_plain_rq(product: Product, relay: Relay) -> None:
    enqueue_raw(Queue("raw", connection=product.redis, serializer=JSONSerializer), JOBS)
    plain = timed(lambda: run_in_burst(product, "raw"))
    enqueue(JOBS)
    move_all(relay)
    one_by_one = timed(lambda: run_in_burst(product, BENCH.name))
    assert product.outstanding() == 0
    forget(product)
    enqueue(JOBS)
    move_all(relay)
    threads = timed(lambda: run_in_threads(product))

    title(f"{JOBS:,} jobs whose call takes no time")
    figure("plain RQ, SimpleWorker", f"{JOBS / plain:,.0f} jobs/s")
    figure("granted and settled, the same SimpleWorker", f"{JOBS / one_by_one:,.0f} jobs/s")
    figure(f"granted and settled, our worker's {BENCH.threads} threads", f"{JOBS / threads:,.0f} jobs/s")
    figure("ledger / plain RQ, the same worker", f"{plain / one_by_one:.2f}")
    figure("our worker / plain RQ", f"{plain / threads:.2f}")
    assert plain / one_by_one > 0.05
    assert plain / threads > 0.05
