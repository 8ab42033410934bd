"""The shipped fetchers of a worker, one for each queue, without their threads: the task that takes a pointer runs its
job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from flask import Flask
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.requeue import REOPEN_PATH
from jobs.engine.runner import Process
from jobs.worker import Bulkhead, Fetcher
from outbox import rq_side
from outbox.values import QueueSpec
from tests.simulator.hub import Hub, Killed, PromiseBroken, Task
from tests.simulator.scripted_redis import ScriptedRedis

TASKS_A_WORKER = 2


class AtOnce:
    """The threads of a bulkhead: each is a task of the hub."""

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        work(*args)


class SimulatedFetcher(Fetcher):
    hub: Hub

    def _finalize_failure(self, job: Any, queue: Any, execution: Any, exc_info: Any) -> None:
        """RQ counts every exception as a failure of the job. The simulator's own endings are none, and our jobs must
        not fail, except where Postgres or Redis failed them."""
        error, task = exc_info[1], self.hub.current()
        if isinstance(error, Killed | PromiseBroken):
            raise error
        if not (task is not None and task.troubled and isinstance(error, SQLAlchemyError | RedisError)):
            raise PromiseBroken(f"a job raised {type(error).__name__}: {error}")
        super()._finalize_failure(job, queue, execution, exc_info)


class Fetching:
    """One life of a worker process, as Redis sees it."""

    def __init__(self, app: Flask, process: Process, hub: Hub, redis: ScriptedRedis) -> None:
        self.app, self.process, self.hub, self.redis = app, process, hub, redis
        self.bulkheads: dict[str, Bulkhead] = {}
        self.fetchers: dict[str, SimulatedFetcher] = {}

    def fetcher_of(self, queue: QueueSpec) -> SimulatedFetcher:
        """The current fetcher, or a new one where the last lost Redis; its bulkhead outlives it."""
        if queue.name not in self.bulkheads:
            # No more threads than it has tasks, so a thread that is not given back is soon missing.
            self.bulkheads[queue.name] = Bulkhead(replace(queue, threads=TASKS_A_WORKER))
            self.bulkheads[queue.name].pool = AtOnce()  # type: ignore[assignment]
        if queue.name not in self.fetchers:
            stopping, connection, bulkhead = self.process.stopping, self.redis, self.bulkheads[queue.name]
            found = SimulatedFetcher(self.app, connection, bulkhead, self.process.worker_id, stopping)  # type: ignore[arg-type]
            found.hub = self.hub
            self.fetchers[queue.name] = found
        return self.fetchers[queue.name]

    def take_one(self, task: Task, queue: QueueSpec) -> tuple[int, int] | None:
        """Take a pointer and run it to its end. Returns it, or None where there was none. Raises RedisError."""
        fetcher = self.fetcher_of(queue)
        try:
            found = fetcher.look()
            if found is None:
                return None
            pointer = rq_side.read_job_id(found[0].id)
            task.pointer = None if found[0].func_name == REOPEN_PATH else pointer
            task.name += f" {found[0].id.partition('-')[0]}"
            fetcher.execute_job(*found)
        except RedisError:
            self.fetchers.pop(queue.name, None)
            raise
        return pointer
