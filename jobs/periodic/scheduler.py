"""Scheduler of periodic jobs: rq-scheduler with its table in code, and one atomic step for each job and tick.

The original scheduler pushes, removes and adds again in three steps; stopped between them it loses the periodic job for
good or runs it twice. Here each tick repairs the table first, then writes the next run and pushes this one together.

The time is Redis's, the one clock that all schedulers share. One whose own clock was a day ahead would have put
everything off by a day; and if Redis's clock was, no run may be further away than its period.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from redis import Redis, WatchError
from redis.exceptions import RedisError
from rq.job import Job, JobStatus
from rq_scheduler import Scheduler

from flaskapp.flows import HOUSEKEEPING
from jobs.periodic.schedule import PERIODIC, Periodic
from outbox import LedgerJob, rq_side

log = logging.getLogger("jobs.periodic.scheduler")

INTERVAL_SECONDS = 1


class LedgerScheduler(Scheduler):
    """Any number of schedulers may run: each run of each job is pushed by one of them, once."""

    job_class = LedgerJob

    def __init__(self, redis: Redis, table: Sequence[Periodic] = PERIODIC) -> None:
        super().__init__(HOUSEKEEPING.name, connection=redis, interval=INTERVAL_SECONDS, job_class=LedgerJob)
        self.table = {entry.name: entry for entry in table}
        self.rq_queue = rq_side.open_queue(redis, HOUSEKEEPING.name)

    def tick(self) -> int:
        """Repair the table, then push what is due; returns how many jobs. May be stopped after any command."""
        now = self.time_of_redis()
        self.heal(now)
        due = self.connection.zrangebyscore(self.scheduled_jobs_key, 0, now)
        return sum(self.fire(self.table[name.decode()], now) for name in due if name.decode() in self.table)

    def time_of_redis(self) -> float:
        seconds, microseconds = self.connection.time()
        return float(seconds) + microseconds / 1e6

    def heal(self, now: float) -> None:
        """Remove unknown entries, add missing ones, due at once, and let none wait for longer than its period.

        This also repairs what FLUSHALL removed.
        """
        present = {
            name.decode(): at for name, at in self.connection.zrange(self.scheduled_jobs_key, 0, -1, withscores=True)
        }
        for stranger in present.keys() - self.table.keys():
            self.connection.zrem(self.scheduled_jobs_key, stranger)
        for missing in self.table.keys() - present.keys():
            self.connection.zadd(self.scheduled_jobs_key, {missing: now}, nx=True)
        for name, entry in self.table.items():
            if present.get(name, now) > now + entry.every_seconds:
                log.warning("run put off too far", extra={"event": "scheduler.put_off_too_far", "job": name})
                latest = {name: now + entry.every_seconds}
                self.connection.zadd(self.scheduled_jobs_key, latest, xx=True, lt=True)

    def fire(self, entry: Periodic, now: float) -> bool:
        """Write the next run and push this one in one transaction, unless another scheduler was faster."""
        with self.connection.pipeline() as pipe:
            try:
                pipe.watch(self.scheduled_jobs_key)
                score = pipe.zscore(self.scheduled_jobs_key, entry.name)
                if score is None or score > now:
                    return False
                still_waiting = entry.name in self.rq_queue.get_job_ids()
                pipe.multi()
                pipe.zadd(self.scheduled_jobs_key, {entry.name: now + entry.every_seconds})
                if not still_waiting:
                    self.rq_queue.enqueue_job(self.make_job(entry), pipeline=pipe)
                pipe.execute()
                return not still_waiting
            except WatchError:
                return False

    def make_job(self, entry: Periodic) -> Job:
        return LedgerJob.create(
            entry.path,
            id=entry.name,
            connection=self.connection,
            origin=HOUSEKEEPING.name,
            description=entry.name,
            status=JobStatus.SCHEDULED,
            result_ttl=entry.every_seconds * 2,
            failure_ttl=3600,
            timeout=300,
        )

    def run_until(self, stopping: threading.Event, ticked: Callable[[], None] = lambda: None) -> None:
        """Tick every second until `stopping` is set, and call `ticked` after each tick that succeeded. An outage of
        Redis only delays the next tick."""
        while not stopping.is_set():
            try:
                self.tick()
                ticked()
            except (RedisError, OSError) as error:
                log.warning("tick failed", extra={"event": "scheduler.tick_failed", "error": type(error).__name__})
            stopping.wait(self._interval)
