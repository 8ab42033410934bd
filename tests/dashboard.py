"""A mounted RQ dashboard over a real Redis with real RQ jobs, for the tests of what it shows and changes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flask import Flask
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty

from flaskapp.ops import rq
from sandbox.servers import EmbeddedValkey
from tests.edge_app import CONFIG, make_app

PAYLOAD = "<img src=x onerror=alert(1)>"
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}
QUEUE = "travel_claims"
SUCCEED = f"{__name__}.succeed"
FAIL = f"{__name__}.fail"


class OurJob(Job):
    """Stands in for the product's job class."""


class BurstWorker(SimpleWorker):
    """A worker without signals and pub/sub, which the test process needs for itself."""

    death_penalty_class = TimerDeathPenalty

    def subscribe(self):
        """Not wanted here."""

    def _install_signal_handlers(self):
        """Not wanted here."""


def succeed():
    return {"text": PAYLOAD, PAYLOAD: [PAYLOAD]}


def fail():
    raise RuntimeError(PAYLOAD)


@dataclass
class Dashboard:
    """The app, its Redis seen from outside, and the changes that `on_change` received."""

    app: Flask
    redis: Redis
    queue: Queue
    changes: list[tuple[Any, ...]]


@contextmanager
def embedded_valkey() -> Iterator[EmbeddedValkey]:
    folder = Path(tempfile.mkdtemp(prefix="surefile-test-"))
    try:
        with EmbeddedValkey(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@contextmanager
def mounted(url: str) -> Iterator[Dashboard]:
    """A dashboard over this Redis, which is emptied first. Every connection is closed at the end."""
    redis = Redis.from_url(url)
    redis.flushall()
    changes: list[tuple[Any, ...]] = []
    config = replace(CONFIG, redis_url=url)

    def mount(app: Flask) -> None:
        rq.mount(app, config, url, OurJob, on_change=lambda *change: changes.append(change))

    app = make_app(config, mount, operators=True)
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer, job_class=OurJob)
    yield Dashboard(app, redis, queue, changes)
    app.redis_conn.connection_pool.disconnect()
    redis.close()


def work(queue, worker_class=BurstWorker, **options):
    worker = worker_class([queue], connection=queue.connection, serializer=JSONSerializer, job_class=OurJob, **options)
    worker.work(burst=True, logging_level="CRITICAL")


def failed(queue):
    return FailedJobRegistry(queue=queue).get_job_ids(cleanup=False)


def failed_job(queue, job_id="12-34", **options):
    options.setdefault("description", "message 12")
    queue.enqueue(FAIL, job_id=job_id, **options)
    work(queue)
    assert job_id in failed(queue)
    return job_id


def stored(queue, job_id):
    return OurJob.fetch(job_id, connection=queue.connection, serializer=JSONSerializer)
