"""The ledger by itself on real servers: no application, two toy queues, and one method for each of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from sqlalchemy import Engine, create_engine, text

from flaskapp.config import read_database_url
from outbox import attempts, breakers, grants, rq_side
from outbox.relay import Relay
from outbox.values import BreakerSettings, Ending, Grant, QueueSpec
from outbox.write import add
from tests.reuse import Sessions

CALLS = QueueSpec("calls", upstream="clerk", threads=4, depth=20, concurrency=15)
CHORES = QueueSpec("chores", upstream=None, threads=1, depth=20)
# The monotonic clock of this process and the clock of Postgres do not run alike to the hundredth of a second.
CLOCKS_DIFFER = 0.25
JOB = "tests.ledger.call"
REOPEN = "tests.ledger.reopen"
WORKER = "worker-1"
SETTINGS = BreakerSettings(open_seconds=10.0, cap_seconds=100.0, slow_start_seconds=5.0)

EMPTY = """
    DELETE FROM outbox_messages; DELETE FROM outbox_attempts; DELETE FROM outbox_history; DELETE FROM outbox_breakers;
    DELETE FROM outbox_breaker_trips; DELETE FROM outbox_breaker_holds; DELETE FROM outbox_processes;
    DELETE FROM outbox_era; DELETE FROM outbox_restores;
    UPDATE outbox_clock SET clock_offset = '0';
    UPDATE outbox_retention SET kept_since = '-infinity'
"""

ACCEPTED = Ending("success", answered=True)
REFUSED = Ending("error", answered=True, error_class="Rejected")
OUTAGE = Ending("error", error_class="Unavailable")
SILENCE = Ending("unknown", error_class="Unanswered")


class HookedRedis(Redis):
    """A real Redis whose pushes are watched: `before` runs, or raises, right before a push is sent."""

    before: Callable[[], Any]

    def pipeline(self, *args: Any, **options: Any) -> Pipeline:
        pipe = super().pipeline(*args, **options)
        send = pipe.execute

        def execute(*given: Any, **named: Any) -> Any:
            self.before()
            return send(*given, **named)

        pipe.execute = execute  # type: ignore[method-assign]
        return pipe


class Ledger:
    """A ledger with toy work in it. The test says how each job ended."""

    def __init__(self, engine: Engine, redis: Redis) -> None:
        self.engine = engine
        self.redis = redis
        self.added = 0
        self.began = time.monotonic()
        self.relay = self.another_relay()
        with engine.begin() as db:
            breakers.ensure_breakers(db, (CALLS, CHORES))

    def another_relay(self, *queues: QueueSpec, redis: Redis | None = None) -> Relay:
        return Relay(self.engine, redis or self.redis, queues or (CALLS, CHORES), SETTINGS)

    # -- the steps ---------------------------------------------------------

    def add(
        self,
        *,
        queue: QueueSpec = CALLS,
        subject: str | None = None,
        deadline: float = 3600.0,
        give_up: float = 86_400.0,
        delay: float = 0.0,
    ) -> int:
        """Enqueue it. Unless the test says otherwise, each belongs to a subject of its own; the first is called one."""
        self.added += 1
        with self.engine.begin() as db:
            message_id = add(
                db,
                job=JOB,
                queue=queue.name,
                upstream=queue.upstream,
                subject_type="toy",
                subject_id=subject or ("one" if self.added == 1 else f"number {self.added}"),
                deadline_seconds=deadline,
                give_up_seconds=give_up,
                delay_seconds=delay,
            )
        assert message_id is not None
        return message_id

    def publish(self, queue: QueueSpec = CALLS) -> list[tuple[int, int]]:
        """Claim without pushing: the pointers `(message id, fence)` in the order in which they would be pushed."""
        fence, claimed = self.relay.claim(queue)
        return [(message_id, fence) for message_id, _ in claimed]

    def grant(
        self, message_id: int, fence: int, *, worker: str = WORKER, lease: float = 60.0, writes: bool = True
    ) -> Grant | None:
        return grants.grant(self.engine, message_id, fence, worker_id=worker, lease_seconds=lease, writes=writes)

    def start(self, message_id: int | None = None, **options: Any) -> Grant:
        """Bring a message, by default a new one, as far as a granted attempt."""
        message_id = message_id or self.add()
        self.publish()
        grant = self.grant(message_id, self.row(message_id)["fence"], **options)
        assert grant is not None, self.row(message_id)
        return grant

    def end(self, grant: Grant, ending: Ending = ACCEPTED) -> bool:
        """Settle as done, under the fence; False when the fence was lost."""
        with self.engine.begin() as db:
            if not attempts.lock_message(db, grant):
                return False
            attempts.complete(db, grant, ending)
            return True

    def again(self, grant: Grant, ending: Ending = OUTAGE, delay: float = 0.0, **options: Any) -> None:
        """Settle as to be done again."""
        with self.engine.begin() as db:
            assert attempts.lock_message(db, grant)
            attempts.finish(db, grant.attempt_id, ending)
            attempts.postpone(db, grant, delay, **options)

    def park(self, grant: Grant, reason: str = "refused", fence: int = 7, why: str | None = None) -> None:
        with self.engine.begin() as db:
            assert attempts.lock_message(db, grant)
            attempts.finish(db, grant.attempt_id, REFUSED)
            attempts.park(db, grant, reason, new_fence=fence, unresolved_why=why)

    def pass_time(self, seconds: float) -> None:
        """Move the ledger's clock on."""
        self.run("UPDATE outbox_clock SET clock_offset = clock_offset + make_interval(secs => :by)", by=seconds)

    def at_least(self, seconds: float) -> Any:
        """Equals `seconds` and as much more as has passed since this test began: what is still left shrinks."""
        passed = time.monotonic() - self.began
        return pytest.approx(seconds + passed / 2, abs=passed / 2 + CLOCKS_DIFFER)

    def at_most(self, seconds: float) -> Any:
        """Equals `seconds` and as much less as has passed since this test began: the clock goes on by itself."""
        passed = time.monotonic() - self.began
        return pytest.approx(seconds - passed / 2, abs=passed / 2 + CLOCKS_DIFFER)

    # -- looking -----------------------------------------------------------

    def run(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as db:
            db.execute(text(statement), values)

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as db:
            return [dict(row._mapping) for row in db.execute(text(query), values)]

    def messages(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM outbox_messages ORDER BY id")

    def row(self, message_id: int) -> dict[str, Any]:
        return self.rows("SELECT * FROM outbox_messages WHERE id = :id", id=message_id)[0]

    def state(self, message_id: int) -> str:
        return str(self.row(message_id)["state"])

    def states(self) -> dict[int, str]:
        return {row["id"]: row["state"] for row in self.messages()}

    def attempts(self, message_id: int) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM outbox_attempts WHERE message_id = :id ORDER BY id", id=message_id)

    def history(self, subject: str = "one") -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM outbox_history WHERE subject_id = :subject ORDER BY id", subject=subject)

    def waiting(self, queue: QueueSpec = CALLS) -> list[tuple[int, int]]:
        """The pointers in a queue's list, next first."""
        found = [rq_side.read_job_id(item) for item in rq_side.open_queue(self.redis, queue.name).get_job_ids()]
        return [pointer for pointer in found if pointer is not None]

    def breaker(self) -> dict[str, Any]:
        return self.rows("SELECT * FROM outbox_breakers WHERE upstream = 'clerk'")[0]


@contextmanager
def opened(database_url: str, redis_url: str, sessions: Sessions | None = None) -> Iterator[Ledger]:
    """An empty ledger on a migrated database, and an empty Redis."""
    engine = create_engine(read_database_url(database_url))
    redis = Redis.from_url(redis_url)
    redis.flushall()
    with (sessions or Sessions(0)).warm(engine):
        with engine.begin() as db:
            db.execute(text(EMPTY))
        yield Ledger(engine, redis)
    redis.close()
