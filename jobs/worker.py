"""Worker process: one fetcher for each queue, with its threads, and one application for all of them.

RQ's own worker kills the running job at SIGTERM and loses jobs at every stop when it serves two queues. This one
keeps many slow calls in flight, takes nothing more after SIGTERM, and hands back what does not end in time.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis.exceptions
from flask import Flask, current_app
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import now
from rq.worker.base import WorkerStatus
from rq.worker_registration import clean_worker_registry
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.db import db
from jobs.engine import runner
from jobs.engine.gathering import GATHER_SECONDS, Gathering
from jobs.engine.hands import Hands
from jobs.engine.runner import Granted
from jobs.engine.settle import Answered, is_first_acceptance, settle_together
from jobs.engine.spec import JobSpec
from jobs.periodic.isolated import PartsFailed, is_redis_away
from jobs.registry import spec_of
from outbox import LedgerJob, QueueSpec, rescue, rq_side

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
        # One more, because the thread that records for others may have given its slot back already.
        self.pool = ThreadPoolExecutor(spec.threads + 1, thread_name_prefix=spec.name)
        self.running: set[str] = set()
        self.hands = Hands()
        self.pushed = threading.Event()
        # Whether the queue held more when something was last taken from it.
        self.more = True

    @property
    def is_free(self) -> bool:
        return len(self.running) < self.spec.threads and self.hands.free > 0


@dataclass(eq=False)
class InHand:
    """An attempt that a thread of this process makes, how RQ knows it, and its outcome once there is one."""

    run: rq_side.Run
    granted: Granted
    answered: Answered = field(init=False)


def spec_of_pointer(job: LedgerJob) -> JobSpec | None:
    """The spec of a pointer to a message; None for whatever else RQ has to run: periodic jobs, requeues, strangers."""
    pointer = rq_side.read_job_id(job.id)
    try:
        if pointer is None or job.func_name not in LedgerJob.allowed or (*job.args,) != pointer or job.kwargs:
            return None
        return spec_of(job.func_name)
    except (DeserializationError, KeyError):
        return None


class Fetcher(SimpleWorker):
    """Takes pointers off one queue, and only while one of its threads is free to run them."""

    death_penalty_class = NoDeathPenalty
    job_class = LedgerJob

    def __init__(self, app: Flask, connection: Redis, bulkhead: Bulkhead, name: str, stopping: threading.Event) -> None:
        queue = rq_side.open_queue(connection, bulkhead.spec.name)
        super().__init__(
            [queue],
            name=name,
            connection=connection,
            worker_ttl=WORKER_TTL_SECONDS,
            job_class=LedgerJob,
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self.app = app
        self.stopping = stopping
        self.bulkhead = bulkhead
        self.registered_at = self.suspension_requested_at = 0.0
        self.took_many = False
        self.gathering = Gathering(self.settle_together)

    def dequeue_job_and_maintain_ttl(self, timeout: int | None, max_idle_time: int | None = None) -> Any:
        """The next pointers, once threads are free. If Redis is lost, this fetcher ends quietly and another follows."""
        try:
            return self.wait_for_pointers()
        except redis.exceptions.RedisError as error:
            log.warning("Redis lost", extra={"event": "worker.redis_lost", "error": type(error).__name__})
            raise StopRequested from error

    def wait_for_pointers(self) -> tuple[list[LedgerJob], Queue]:
        """Wait for a free thread, then for pointers, a second at most each time, so that a stop is noticed soon.

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

    def look(self) -> tuple[list[LedgerJob], Queue] | None:
        """The next pointers, with a thread reserved for each; None when there is no pointer, no free thread, or enough
        at hand."""
        if not self.bulkhead.hands.wait(WAIT_SECONDS) or not self.bulkhead.slots.acquire(timeout=WAIT_SECONDS):
            return None
        if self.took_many:
            # Threads become free together, because they settle together: a little later it is several.
            time.sleep(GATHER_SECONDS)
        free, taken = 1 + self.acquire_slots(self.bulkhead.hands.free - 1), 0
        self.bulkhead.pushed.clear()
        try:
            jobs = self.dequeue(free)
            taken = len(jobs)
        finally:
            self.release_slots(free - taken)
        self.took_many = taken > 1
        return (jobs, self.queues[0]) if jobs else None

    def acquire_slots(self, most: int) -> int:
        """Reserve as many free threads as there are now; returns how many."""
        count = 0
        while count < most and self.bulkhead.slots.acquire(blocking=False):
            count += 1
        return count

    def release_slots(self, count: int) -> None:
        if count:
            self.bulkhead.slots.release(count)

    def dequeue(self, most: int) -> list[LedgerJob]:
        jobs, left = rq_side.take(self.queues[0], most)
        self.bulkhead.more = left > 0
        if jobs and self.stopping.is_set():
            rq_side.put_back(self.queues[0], jobs)
            return []
        return jobs

    def execute_job(self, jobs: list[LedgerJob], queue: Queue) -> None:  # type: ignore[override]
        """Start the jobs, each on a thread of its own, and return for the next ones."""
        runs = [(job, Execution(uuid.uuid4().hex, job.id, self.connection, self.name)) for job in jobs]
        try:
            self.begin(runs)
        except BaseException:
            self.free(runs)
            self.turn_back(jobs)
            raise
        pointers = []
        for job, execution in runs:
            spec = spec_of_pointer(job)
            if spec is None:
                self.bulkhead.pool.submit(self.run_on_thread, job, queue, execution)
            else:
                pointers.append(((job, execution), spec))
        if pointers:
            with self.app.app_context():
                self.follow(pointers)

    def begin(self, runs: list[rq_side.Run]) -> None:
        """Move the jobs from the intermediate list to the started ones, in one round trip; RQ needs two for each."""
        self.bulkhead.running.update(execution.composite_key for _, execution in runs)
        self.bulkhead.hands.take(len(runs))
        self.executions |= {execution.id: execution for _, execution in runs}
        with self.connection.pipeline() as pipe:
            self.set_state(WorkerStatus.BUSY, pipeline=pipe)
            for job, _ in runs:
                if rq_side.read_job_id(job.id) is None:
                    pipe.persist(job.key)
            rq_side.note_begun(pipe, self.queues[0], runs, self)
            pipe.execute()

    def follow(self, pointers: list[tuple[rq_side.Run, JobSpec]]) -> None:
        """Have an attempt granted for each pointer, all in one statement, and begin those at once."""
        try:
            granted = runner.grant_all([(spec, *job.args) for (job, _), spec in pointers])
        except Exception as error:
            log.warning("asked one by one", extra={"event": "worker.grant_failed", "error": type(error).__name__})
            for (job, execution), _ in pointers:
                self.bulkhead.pool.submit(self.run_on_thread, job, self.queues[0], execution)
            return
        for (run, _), found in zip(pointers, granted, strict=True):
            if found is not None:
                self.start(InHand(run, found))
        self.end([run for (run, _), found in zip(pointers, granted, strict=True) if found is None])

    def start(self, work: InHand) -> None:
        """Begin an attempt on a thread of its own. Where the system has no more threads, it is handed back."""
        try:
            self.bulkhead.pool.submit(self.attempt, work)
        except RuntimeError as error:
            process: runner.Process = current_app.extensions["process"]
            log.warning("not begun", extra={"event": "worker.no_thread", "error": type(error).__name__})
            if process.begin(work.granted.grant):
                rescue.hand_back(db.engine, process.worker_id, [work.granted.grant], begun=False)
                self.let_go([work])

    def attempt(self, work: InHand) -> None:
        """Call the upstream on this thread, and record the outcome: the usual one together with others."""
        with self.app.app_context(), self.given_up_at_death([work]):
            outcome = runner.make_attempt(work.granted, self.bulkhead.hands.away)
            if outcome is None:
                # Whoever took it back has handed it back as well.
                return
            work.answered = Answered(work.granted.spec, work.granted.grant, outcome)
        if is_first_acceptance(work.answered):
            self.gathering.put(work)
        else:
            self.settle_alone(work, again=False)

    def settle_together(self, works: list[InHand]) -> None:
        """Record outcomes in one transaction. Where that fails, each falls back to a transaction of its own."""
        again = False
        with self.app.app_context(), self.given_up_at_death(works):
            try:
                lost = {each.grant.attempt_id for each in settle_together([work.answered for work in works])}
            except Exception as error:
                lost, again = {work.granted.grant.attempt_id for work in works}, True
                extra = {"event": "worker.settled_one_by_one", "count": len(works), "error": type(error).__name__}
                log.warning("settled one by one", extra=extra)
            done = [work for work in works if work.granted.grant.attempt_id not in lost]
            for work in works:
                if work not in done:
                    self.bulkhead.pool.submit(self.settle_alone, work, again)
            self.let_go(done)

    def settle_alone(self, work: InHand, again: bool) -> None:
        with self.app.app_context(), self.given_up_at_death([work]):
            runner.finish(work.answered.spec, work.answered.grant, work.answered.outcome, again)
            self.let_go([work])

    @contextmanager
    def given_up_at_death(self, works: list[InHand]) -> Iterator[None]:
        """What this thread had in hand is given up if it ends without a word: the lease of each runs out."""
        try:
            yield
        except BaseException:
            for work in works:
                runner.let_go(work.granted.grant)
            self.free([work.run for work in works])
            raise

    def let_go(self, works: list[InHand]) -> None:
        """These attempts are over: give their threads back, and have Redis forget their pointers."""
        for work in works:
            runner.let_go(work.granted.grant)
        self.end([work.run for work in works])

    def end(self, runs: list[rq_side.Run]) -> None:
        """Delete pointers that were followed: nothing depends on them, and what came of them is in Postgres."""
        if not runs:
            return
        try:
            with self.connection.pipeline() as pipe:
                seconds = sum((now() - execution.created_at).total_seconds() for _, execution in runs)
                pipe.hincrby(self.key, "successful_job_count", len(runs))
                pipe.hincrbyfloat(self.key, "total_working_time", seconds)
                rq_side.note_ended(pipe, self.queues[0], runs, self)
                pipe.execute()
        except redis.exceptions.RedisError as error:
            log.warning("bookkeeping failed", extra={"event": "worker.redis_lost", "error": type(error).__name__})
        finally:
            self.free(runs)

    def free(self, runs: list[rq_side.Run]) -> None:
        """Give the threads of these back that were not given back before."""
        for _, execution in runs:
            self.executions.pop(execution.id, None)
            if execution.composite_key in self.bulkhead.running:
                self.bulkhead.running.discard(execution.composite_key)
                self.bulkhead.hands.let_go()
                self.bulkhead.slots.release()

    def run_on_thread(self, job: LedgerJob, queue: Queue, execution: Execution) -> None:
        """Run what is no pointer, or one for which no attempt could be granted together with others, in RQ's own way.

        Its bookkeeping may fail when Redis is away; the job's effect is in Postgres all the same.
        """
        try:
            with self.app.app_context():
                self.perform_job(job, queue, execution)
        except redis.exceptions.RedisError as error:
            log.warning("bookkeeping failed", extra={"event": "worker.redis_lost", "error": type(error).__name__})
            self.turn_back([job])
        finally:
            self.free([(job, execution)])

    def turn_back(self, jobs: Sequence[LedgerJob]) -> None:
        """Make messages ready whose jobs lost Redis and may never have begun. Redis may show them as started, and then
        the relay would miss their pointers only after half a minute."""
        pointers = [pointer for job in jobs if (pointer := rq_side.read_job_id(job.id)) is not None]
        if not pointers:
            return
        try:
            with self.app.app_context():
                rescue.turn_back(db.engine, pointers)
        except SQLAlchemyError as error:
            log.warning("left to the relay", extra={"event": "worker.turn_back_failed", "error": type(error).__name__})

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Nothing to do: `begin` has done it before the thread started."""

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
