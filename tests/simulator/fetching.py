"""The shipped fetchers of a worker, one for each queue: a task takes pointers, and each job is a task of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from flask import Flask
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.requeue import REOPEN_PATH
from jobs.engine.gathering import Gathering
from jobs.engine.runner import Process
from jobs.worker import Bulkhead, Fetcher, InHand
from outbox import rq_side
from outbox.values import QueueSpec
from tests.simulator.hub import Hub, Killed, PromiseBroken, Task
from tests.simulator.scripted_redis import ScriptedRedis

THREADS_A_WORKER = 3


class HubThreads:
    """The threads of a bulkhead: each job is a task of the hub, which began when its fetcher's task submitted it."""

    def __init__(self, fetcher_of: Callable[[], SimulatedFetcher], owner: str, hub: Hub) -> None:
        self.fetcher_of, self.owner, self.hub = fetcher_of, owner, hub

    def submit(self, work: Callable[..., None], first: Any, *others: Any) -> None:
        parent = self.hub.current()
        assert parent is not None
        job = first.run[0] if isinstance(first, InHand) else first
        task = self.hub.start(self.owner, f"thread {job.id.partition('-')[0]}", lambda: work(first, *others))
        task.is_thread = True
        task.pointer = None if job.func_name == REOPEN_PATH else rq_side.read_job_id(job.id)
        parent.started.append(task)
        self.fetcher_of().threads.setdefault(id(job), []).append(task)


class Company(Gathering[InHand]):
    """Nobody knows whether others will follow: by lot, the first one waits for them."""

    def __init__(self, record: Callable[[list[InHand]], None], draws: Random) -> None:
        self.draws = draws
        super().__init__(record)

    @property
    def had_company(self) -> bool:  # type: ignore[override]
        return self.draws.random() < 0.6

    @had_company.setter
    def had_company(self, value: bool) -> None:
        """As if nobody could learn from it."""


class SimulatedFetcher(Fetcher):
    """Checks each job when it is over. `threads` are the tasks in which a job was worked on."""

    hub: Hub
    check: Callable[[list[Task], Any], None]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.threads: dict[int, list[Task]] = {}

    def _finalize_failure(self, job: Any, queue: Any, execution: Any, exc_info: Any) -> None:
        """RQ counts every exception as a failure of the job. The simulator's own endings are none, and our jobs must
        not fail, except where Postgres or Redis failed them."""
        error, task = exc_info[1], self.hub.current()
        if isinstance(error, Killed | PromiseBroken):
            raise error
        if not (task is not None and task.troubled and isinstance(error, SQLAlchemyError | RedisError)):
            raise PromiseBroken(f"a job raised {type(error).__name__}: {error}")
        super()._finalize_failure(job, queue, execution, exc_info)

    def free(self, runs: list[rq_side.Run]) -> None:
        """Every job comes to this, however it ends."""
        super().free(runs)
        current = self.hub.current()
        assert current is not None
        if not current.dying:
            for job, _ in runs:
                self.check([current, *self.threads.pop(id(job), [])], job)


class Fetching:
    """One life of a worker process, as Redis sees it."""

    def __init__(
        self,
        app: Flask,
        process: Process,
        hub: Hub,
        redis: ScriptedRedis,
        check: Callable[[list[Task], Any], None],
        draws: Random,
    ) -> None:
        self.app, self.process, self.hub, self.redis, self.check, self.draws = app, process, hub, redis, check, draws
        self.owner = process.worker_id.partition(".")[0]
        self.bulkheads: dict[str, Bulkhead] = {}
        self.fetchers: dict[str, SimulatedFetcher] = {}

    def fetcher_of(self, queue: QueueSpec) -> SimulatedFetcher:
        """The current fetcher, or a new one where the last lost Redis; its bulkhead outlives it."""
        if queue.name not in self.bulkheads:
            # No more threads than it has tasks, so a thread that is not given back is soon missing.
            self.bulkheads[queue.name] = Bulkhead(replace(queue, threads=THREADS_A_WORKER))
        if queue.name not in self.fetchers:
            stopping, connection, bulkhead = self.process.stopping, self.redis, self.bulkheads[queue.name]
            found = SimulatedFetcher(self.app, connection, bulkhead, self.process.worker_id, stopping)  # type: ignore[arg-type]
            found.hub, found.check = self.hub, self.check
            found.gathering = Company(found.settle_together, self.draws)
            bulkhead.pool = HubThreads(lambda: found, self.owner, self.hub)  # type: ignore[assignment]
            self.fetchers[queue.name] = found
        return self.fetchers[queue.name]

    def take_some(self, queue: QueueSpec) -> list[tuple[int, int]]:
        """Take as many pointers as there are threads for, and begin their jobs. Returns them. Raises RedisError."""
        fetcher = self.fetcher_of(queue)
        try:
            found = fetcher.look()
            if found is None:
                return []
            pointers = [rq_side.read_job_id(job.id) for job in found[0]]
            fetcher.execute_job(*found)
        except RedisError:
            self.fetchers.pop(queue.name, None)
            raise
        return [pointer for pointer in pointers if pointer is not None]
