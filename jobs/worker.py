"""Worker process: one fetcher for each queue, with its threads, and one application for all of them.

RQ's own worker kills the running job at SIGTERM and loses jobs at every stop when it serves two queues. This one
keeps many slow calls in flight, takes nothing more after SIGTERM, and hands back what does not end in time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import redis.exceptions
from flask import Flask
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker.base import WorkerStatus
from rq.worker_registration import clean_worker_registry
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.db import db
from jobs.periodic.isolated import PartsFailed, is_redis_away
from outbox import QueueSpec, rescue, rq_side

log = logging.getLogger("jobs.worker")

WAIT_SECONDS = 1
# How long requeued and periodic jobs wait, which wake nobody: the listener looks for them, for all fetchers at once.
LOOK_SECONDS = 0.25
REGISTER_SECONDS = 5.0
SUSPENSION_SECONDS = 1.0
WORKER_TTL_SECONDS = 60


class NoDeathPenalty(BaseDeathPenalty):
    """RQ's timers cannot stop a blocked thread. Every upstream call has its own time limit instead."""

    def setup_death_penalty(self) -> None:
        """Nothing to arm."""

    def cancel_death_penalty(self) -> None:
        """Nothing to disarm."""


class Bulkhead:
    """A queue's threads. They outlive a fetcher that lost Redis, so the next fetcher has the same limit."""

    def __init__(self, spec: QueueSpec) -> None:
        self.spec = spec
        self.slots = threading.BoundedSemaphore(spec.threads)
        self.pool = ThreadPoolExecutor(spec.threads, thread_name_prefix=spec.name)
        self.running: set[str] = set()
        self.pushed = threading.Event()
        # Whether the queue held more when something was last taken from it.
        self.more = True

    @property
    def is_free(self) -> bool:
        return len(self.running) < self.spec.threads


class Fetcher(SimpleWorker):
    """Takes pointers off one queue, and only while one of its threads is free to run them."""

    death_penalty_class = NoDeathPenalty
    job_class = rq_side.LedgerJob

    def __init__(self, app: Flask, connection: Redis, bulkhead: Bulkhead, name: str, stopping: threading.Event) -> None:
        queue = rq_side.open_queue(connection, bulkhead.spec.name)
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            worker_ttl=WORKER_TTL_SECONDS,
            job_class=rq_side.LedgerJob,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self.app = app
        self.stopping = stopping
        self.bulkhead = bulkhead
        self.registered_at = self.suspension_requested_at = 0.0

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """The next pointer, once a thread is free. If Redis is lost, this fetcher ends quietly and another follows."""
        try:
            return self.wait_for_pointer()
        except redis.exceptions.RedisError as error:
            log.warning("Redis lost", extra={"event": "worker.redis_lost", "error": type(error).__name__})
            raise StopRequested from error

    def wait_for_pointer(self) -> tuple[Job, Queue]:
        """Wait for a free thread, then for a pointer, a second at most each time, so that a stop is noticed soon.

        No connection is held while waiting: many queues share the few that a process may have.
        """
        while not self.stopping.is_set():
            self.heartbeat()
            if not self.bulkhead.more:
                self.bulkhead.pushed.wait(WAIT_SECONDS)
            found = self.look()
            if found is not None:
                return found
        raise StopRequested

    def look(self) -> tuple[Job, Queue] | None:
        """The next pointer, with a thread reserved for it; None when there is no pointer or no free thread."""
        if not self.bulkhead.slots.acquire(timeout=WAIT_SECONDS):
            return None
        found = None
        self.bulkhead.pushed.clear()
        try:
            found = self.dequeue()
        finally:
            if found is None:
                self.bulkhead.slots.release()
        return found

    def dequeue(self) -> tuple[Job, Queue] | None:
        job, left = rq_side.take(self.queues[0])
        self.bulkhead.more = left > 0
        if job is None:
            return None
        if self.stopping.is_set():
            rq_side.put_back(self.queues[0], job)
            return None
        return job, self.queues[0]

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Start the job on a thread and return for the next one."""
        try:
            execution = self.prepare_execution(job)
        except BaseException:
            self.bulkhead.slots.release()
            self.turn_back(job)
            raise
        self.bulkhead.running.add(execution.composite_key)
        self.bulkhead.pool.submit(self.run_on_thread, job, queue, execution)

    def run_on_thread(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Run the job. RQ's bookkeeping may fail when Redis is away; the job's effect is in Postgres all the same."""
        try:
            with self.app.app_context():
                self.perform_job(job, queue, execution)
        except redis.exceptions.RedisError as error:
            log.warning("bookkeeping failed", extra={"event": "worker.redis_lost", "error": type(error).__name__})
            self.turn_back(job)
        finally:
            self.executions.pop(execution.id, None)
            self.bulkhead.running.discard(execution.composite_key)
            self.bulkhead.slots.release()

    def turn_back(self, job: Job) -> None:
        """Make a message ready whose job lost Redis and may never have begun. Redis may show it as started, and then
        the relay would miss its pointer only after half a minute."""
        pointer = rq_side.read_job_id(job.id)
        if pointer is None:
            return
        try:
            with self.app.app_context():
                rescue.turn_back(db.engine, *pointer)
        except SQLAlchemyError as error:
            log.warning("left to the relay", extra={"event": "worker.turn_back_failed", "error": type(error).__name__})

    def prepare_execution(self, job: Job) -> Execution:
        """Move the job from the intermediate list to the started ones, in one round trip; RQ needs two."""
        with self.connection.pipeline() as pipe:
            execution = Execution.create(job, self.get_heartbeat_ttl(job), pipeline=pipe, worker_name=self.name)
            self.executions[execution.id] = execution
            self.set_state(WorkerStatus.BUSY, pipeline=pipe)
            job.prepare_for_execution(self.name, pipeline=pipe)
            pipe.persist(job.key)
            pipe.lrem(self.queues[0].intermediate_queue_key, 1, job.id)
            pipe.execute()
        return execution

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Nothing to do: `prepare_execution` has done it before the thread started."""

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Set only the end time. RQ would also prolong the job's life in Redis, but it is about to end."""
        job.ended_at = now()

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any, execution: Execution) -> None:
        """Delete a pointer that was followed: nothing depends on it, and its result is in Postgres.

        Periodic jobs come again under the same id, and RQ keeps them.
        """
        if rq_side.read_job_id(job.id) is None:
            super().handle_job_success(job, queue, started_job_registry, execution)
            return
        with self.connection.pipeline() as pipe:
            self.increment_successful_job_count(pipeline=pipe)
            self.increment_total_working_time(job.ended_at - job.started_at, pipe)  # type: ignore[operator]
            self.cleanup_execution(job, pipeline=pipe, execution=execution)
            rq_side.forget_job(pipe, job)
            pipe.execute()

    def _finalize_failure(self, job: Job, queue: Queue, execution: Execution, exc_info: Any) -> None:
        """End a job that raised (the name is RQ's). No job fails because Redis is away, and nobody must be woken for
        it: a pointer's message and a periodic job's work are in Postgres, and are taken up when Redis is back."""
        error = exc_info[1]
        if isinstance(error, PartsFailed) and error.only_redis_away:
            error = redis.exceptions.ConnectionError(str(error))
        of_pointer = rq_side.read_job_id(job.id) is not None
        if is_redis_away(error) or (of_pointer and isinstance(error, redis.exceptions.RedisError)):
            raise error
        super()._finalize_failure(job, queue, execution, exc_info)

    def check_for_suspension(self, burst: bool) -> None:
        """Check whether `rq suspend` was called, once a second at most."""
        if time.monotonic() - self.suspension_requested_at > SUSPENSION_SECONDS:
            self.suspension_requested_at = time.monotonic()
            super().check_for_suspension(burst)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Register again every few seconds, so that the dashboard finds a living worker again after a flush of Redis.

        It must not show a dead one for long either, so `timeout` is ignored and ours counts. RQ itself calls this, with
        a pipeline, while the worker is suspended.
        """
        if time.monotonic() - self.registered_at > REGISTER_SECONDS:
            self.registered_at = time.monotonic()
            if self._state != WorkerStatus.SUSPENDED:
                self._state = WorkerStatus.BUSY if self.executions else WorkerStatus.IDLE
            with self.connection.pipeline() as pipe:
                super().heartbeat(WORKER_TTL_SECONDS, pipe)
                pipe.hset(self.key, mapping={**self.serialize(), "state": self._state})
                pipe.sadd(self.redis_workers_keys, self.key)
                for name in self.queue_names():
                    pipe.sadd(f"rq:workers:{name}", self.key)
                pipe.execute()

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Set the state. One fetcher runs many jobs: it is idle only when none of them is left."""
        super().set_state(WorkerStatus.BUSY if self.executions else state, pipeline)

    def clean_registries(self) -> None:
        """Forget the names of dead workers, and no more: the ledger's sweep cleans the registries. RQ's would mark
        rescued work as failed."""
        for queue in self.queues:
            clean_worker_registry(queue)
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def _set_connection(self, connection: Redis) -> Redis:
        """Keep our connection with its short time-out, because nothing here blocks for longer than a second. With RQ's,
        every thread of this process would wait for most of a minute when Redis hangs."""
        return connection

    def subscribe(self) -> None:
        """No remote commands, and no second connection for them."""

    def _install_signal_handlers(self) -> None:
        """The main thread owns the signals."""


def wake_forever(connection: Redis, bulkheads: Sequence[Bulkhead], stopping: threading.Event) -> None:
    """Wake a bulkhead when something was pushed to its queue. One connection waits for all that have a free thread.

    Each push wakes few of the workers, and some jobs come without one: where nothing is pushed, but something waits,
    all are woken.
    """
    while not stopping.is_set():
        free = {bulkhead.spec.name: bulkhead for bulkhead in bulkheads if bulkhead.is_free}
        if not free:
            stopping.wait(LOOK_SECONDS)
            continue
        try:
            names = rq_side.wait_for_work(connection, list(free), LOOK_SECONDS)
        except (redis.exceptions.RedisError, OSError):
            stopping.wait(WAIT_SECONDS)
        else:
            for name in names:
                free[name].pushed.set()


def fetch_forever(app: Flask, connection: Redis, bulkhead: Bulkhead, name: str, stopping: threading.Event) -> None:
    """Keep a fetcher working through every outage of Redis. Each one starts under a new name."""
    life = 0
    while not stopping.is_set():
        life += 1
        try:
            Fetcher(app, connection, bulkhead, f"{name}-{bulkhead.spec.name}-{life}", stopping).work(logging_level=None)
        except Exception as error:
            log.warning("fetcher restarts", extra={"event": "worker.fetcher_lost", "error": type(error).__name__})
        stopping.wait(WAIT_SECONDS)
