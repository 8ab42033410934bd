"""Worker processes whose every beat is in the test's hand, and the clock they read their leases by."""

from __future__ import annotations

import threading
import time
from itertools import count

from flask import Flask
from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job

from flaskapp.db import db
from flaskapp.queues import TRAVEL_CLAIMS
from jobs.runner import Process
from jobs.worker import Fetcher, Lane
from outbox import rescue, rq_side
from tests.property.upstream import Call, Killed


class SteppedFetcher(Fetcher):
    """The worker's own fetcher; each job it starts can be held at every beat."""

    current: threading.local
    call: Call

    def run_on_thread(self, job: Job, queue: Queue, execution: Execution) -> None:
        self.current.call = call = self.call
        try:
            super().run_on_thread(job, queue, execution)
        finally:
            call.end()


class Worker:
    """One worker process after another, under the same application."""

    def __init__(self, app: Flask, redis: Redis, current: threading.local) -> None:
        self.app, self.redis, self.current = app, redis, current
        self.lives = count(1)
        self.lanes: list[Lane] = []
        self.calls: list[Call] = []
        self.start()

    def start(self) -> None:
        self.process = Process(f"{id(self)}-{next(self.lives)}")
        self.app.extensions["process"] = self.process
        self.lane = Lane(TRAVEL_CLAIMS)
        self.lanes.append(self.lane)
        name = self.process.worker_id
        self.fetcher = SteppedFetcher(self.app, self.redis, self.lane, name, threading.Event())
        self.fetcher.current = self.current

    def beat(self) -> None:
        rescue.beat(db.engine, self.process.worker_id, "worker")

    def dequeue(self) -> tuple[Job, Queue] | None:
        return self.fetcher.dequeue() if self.redis.llen(self.fetcher.queues[0].key) else None

    def take(self, now: float) -> Call | None:
        """Take the next pointer and run it as far as its first call of the upstream."""
        found = self.dequeue()
        if found is None:
            return None
        job, queue = found
        call = self.fetcher.call = Call(rq_side.read_job_id(job.id) or (0, 0), now)
        self.calls.append(call)
        self.lane.slots.acquire()
        self.fetcher.execute_job(job, queue)
        call.stand_still()
        return call

    def die(self) -> None:
        """Whatever it held is never heard of again; its successor has another name."""
        for call in self.open_calls():
            call.dead = True
        self.start()

    def open_calls(self) -> list[Call]:
        return [call for call in self.calls if call.waiting and not call.dead]

    def bury(self) -> None:
        """Let the threads of the dead go, once nobody looks any more."""
        for call in self.calls:
            if not call.over:
                call.proceed(kill)
        for lane in self.lanes:
            lane.pool.shutdown(wait=True)


def kill() -> None:
    raise Killed


class Monotonic:
    """Stands for the `time` module where a worker asks how long its lease has run: it moves with the ledger's clock."""

    offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def move(self, seconds: float) -> None:
        self.offset = seconds
