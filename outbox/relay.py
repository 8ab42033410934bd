"""Relay that moves messages from Postgres to Redis: it promotes what is due, claims it under a fresh fence, commits,
and only then pushes.

Pushing before the commit would lose pointers by the thousand: the compare-and-set of a waiting worker would still see
the old row and drop them. Several relays may run side by side; with SKIP LOCKED no two claim the same message.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from outbox import breakers, eras, rescue, rq_side
from outbox.columns import in_state
from outbox.connections import connect_autocommit
from outbox.parked import draw_fence
from outbox.scan_marks import ScanMarks
from outbox.statements import prepared
from outbox.values import BreakerSettings, QueueSpec

log = logging.getLogger("outbox.relay")

BATCH = 500
POLL_SECONDS = 1.0
MISSING_CHECK_SECONDS = 5.0
RESCUE_SECONDS = 2.0
ERA_SECONDS = 5.0
POINTER_TIMEOUT_SECONDS = 600
# A started entry without a grant means that a worker died in the milliseconds between the two.
STARTED_GRACE_LOOKS = 6

PROMOTE = prepared("""
    UPDATE outbox_messages SET state = 'ready'
     WHERE id = ANY(ARRAY(SELECT id FROM outbox_messages WHERE state = 'later' AND due_at <= outbox_now()
                           ORDER BY due_at LIMIT :batch FOR UPDATE SKIP LOCKED))
""")

# Most rounds find work in one queue or in none, and reading the capacity of each would be most of a relay's work. With
# EXISTS, Postgres may choose to read all that waits in other queues; it reads min() off the end of an index.
WAITING_IN = prepared("""
    SELECT name FROM unnest(CAST(:names AS text[]), CAST(:missed AS timestamptz[]), CAST(:reachable AS timestamptz[]))
           AS requested (name, missed, reachable)
     WHERE (SELECT min(deadline_at) FROM outbox_messages WHERE state = 'ready' AND queue = name
               AND deadline_at > outbox_now() AND deadline_at >= COALESCE(reachable, '-infinity')) IS NOT NULL
        OR (SELECT min(deadline_at) FROM outbox_messages WHERE state = 'ready' AND queue = name
               AND deadline_at <= outbox_now() AND deadline_at >= COALESCE(missed, '-infinity')) IS NOT NULL
""")

# A claim that is lost is claimed again under another fence, so its commit need not wait for the disk.
PUBLISH = """
    UPDATE outbox_messages SET state = 'published', fence = :fence, published_at = outbox_now()
     WHERE id = {chosen}
    RETURNING deadline_at <= outbox_now(), deadline_at, id, job, set_config('synchronous_commit', 'off', true),
              extract(epoch FROM outbox_now() - due_at)::float
"""
NEXT = """(
    SELECT id FROM outbox_messages WHERE state = 'ready' AND queue = :queue AND {reach}
     ORDER BY deadline_at, id LIMIT {batch} FOR UPDATE SKIP LOCKED)
"""
SINCE = "deadline_at >= COALESCE(CAST(:since AS timestamptz), '-infinity')"
REACHABLE, MISSED = "deadline_at > outbox_now()", "deadline_at <= outbox_now()"
FIRST = {
    kind: prepared(PUBLISH.format(chosen=f"ANY(ARRAY{NEXT.format(reach=f'{reach} AND {SINCE}', batch=':batch')})"))
    for kind, reach in (("reachable", REACHABLE), ("missed", MISSED))
}
# In turn: the one after the last probe by deadline, late or not, then from the beginning, and the last one last of all.
# It may be what the upstream fails on, and three such ones that always went first would keep the breaker open for all.
# Each kind is looked for only where the one before finds nothing: sorting all that waits would take longer, the longer
# an outage lasts.
AFTER_LAST = "(deadline_at, id) > ((SELECT deadline_at FROM outbox_messages WHERE id = :last), :last)"
PROBES = (AFTER_LAST, "id <> :last", "id = :last")
PROBE = text(PUBLISH.format(chosen=f"COALESCE({', '.join(NEXT.format(reach=reach, batch=1) for reach in PROBES)})"))

# When the oldest message in flight of each queue was published, less the time another relay's claim may take to commit.
OLDEST_OUT = prepared("""
    SELECT name, (SELECT COALESCE(min(published_at), outbox_now()) - interval '1 second' FROM outbox_messages
                   WHERE queue = name AND state IN ('published', 'running')) AS since
      FROM unnest(CAST(:names AS text[])) AS requested (name)
""")

UNDO = text(f"""
    UPDATE outbox_messages SET state = 'ready'
     WHERE id = ANY(:ids) AND fence = :fence AND {in_state("published")}
""")

LONG_PUBLISHED = text("""
    SELECT queue, id, fence FROM outbox_messages
     WHERE queue = ANY(:names) AND state = 'published' AND published_at < outbox_now() - make_interval(secs => :age)
""")


class Relay:
    """One relay process. `run_once` does a whole round, and says how many seconds to wait for the next."""

    def __init__(self, engine: Engine, redis: Redis, queues: Sequence[QueueSpec], settings: BreakerSettings) -> None:
        self.engine = engine
        self.redis = redis
        self.queues = queues
        self.settings = settings
        self.missing: dict[tuple[int, int], int] = {}
        self.next_missing_check = 0.0
        self.next_rescue = 0.0
        self.next_push = 0.0
        self.next_era_look = 0.0
        self.doubt: str | None = None
        # Called with the queue of every message that was published, and for how many seconds it had been due.
        self.note_lag: Callable[[str, float], None] = lambda queue, seconds: None
        self.low = ScanMarks()
        self.troubled: str | None = None
        # How many messages the last round moved.
        self.moved = 0

    def run_once(self) -> float:
        """Promote, claim and push; every few seconds also look for lost pointers and dead workers.

        Returns how many seconds to wait before the next round. Commits as it goes: a relay may be killed at any
        statement. While Redis is away, messages wait in Postgres. Raises SQLAlchemyError when Postgres is. It does
        nothing in a database that seems to be restored from a backup, until an operator has recorded that.
        """
        if self.stands_still():
            return POLL_SECONDS
        self.moved, full = 0, self.promote() >= BATCH
        # The queue that had trouble last goes last: what only one queue has must not keep the others waiting.
        for queue in sorted(self.waiting_in(), key=lambda queue: queue.name == self.troubled):
            # Every new claim wakes us. While Redis is away, claiming and undoing each time would only wear out
            # Postgres, which has to carry everything then.
            if time.monotonic() >= self.next_push:
                moved = self.move_if_it_can(queue)
                self.moved, full = self.moved + moved, moved >= BATCH or full
        now = time.monotonic()
        if now >= self.next_rescue:
            self.next_rescue = now + RESCUE_SECONDS
            rescue.rescue_lost(self.engine)
        if now >= self.next_missing_check:
            self.next_missing_check = now + MISSING_CHECK_SECONDS
            self.find_missing()
        return 0.0 if full else POLL_SECONDS

    def stands_still(self) -> bool:
        now = time.monotonic()
        if now >= self.next_era_look:
            self.doubt = eras.look(self.engine, self.redis)
            self.next_era_look = now + ERA_SECONDS
            if self.doubt is not None:
                extra = {"event": "relay.stands_still", "why": self.doubt}
                log.error("nothing is sent: the database seems to be restored from a backup", extra=extra)
        return self.doubt is not None

    def promote(self) -> int:
        """Make messages ready whose delay is over, at most BATCH of them; returns how many."""
        with connect_autocommit(self.engine) as db:
            return int(db.execute(PROMOTE, {"batch": BATCH}).rowcount)

    def waiting_in(self) -> list[QueueSpec]:
        """The queues where something is ready."""
        names = [queue.name for queue in self.queues]
        with connect_autocommit(self.engine) as db:
            with self.low.look():
                marks = {kind: [self.low.mark(name, kind) for name in names] for kind in ("missed", "reachable")}
                found = set(db.execute(WAITING_IN, {"names": names, **marks}).scalars())
            if self.low.begins:
                for name, since in db.execute(OLDEST_OUT, {"names": names}):
                    self.low.marks[name, "out"] = since
        return [queue for queue in self.queues if queue.name in found]

    def move_if_it_can(self, queue: QueueSpec) -> int:
        """Move one queue; returns how many moved. Somebody may hold the lock of its breaker for long: then this queue
        waits, and no other."""
        try:
            return self.move(queue)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            self.troubled = queue.name
            extra = {"event": "outbox.queue_passed_over", "queue": queue.name, "error": type(error).__name__}
            log.warning("queue passed over", extra=extra)
            return 0

    def move(self, queue: QueueSpec) -> int:
        """Claim messages of one queue and push their pointers; returns how many. A push that fails is undone."""
        fence, claimed = self.claim(queue)
        if not claimed:
            return 0
        try:
            rq_side.push(self.redis, queue.name, claimed, fence, POINTER_TIMEOUT_SECONDS)
        except (RedisError, OSError) as error:
            self.next_push, self.troubled = time.monotonic() + POLL_SECONDS, queue.name
            self.undo(fence, [message_id for message_id, _ in claimed])
            log.warning(
                "push failed, messages wait in Postgres",
                extra={"event": "outbox.push_failed", "queue": queue.name, "error": type(error).__name__},
            )
            return 0
        log.info("published", extra={"event": "outbox.published", "queue": queue.name, "count": len(claimed)})
        return len(claimed)

    def claim(self, queue: QueueSpec) -> tuple[int, list[tuple[int, str]]]:
        """Mark what may go now as published under one fresh fence, committed, earliest deadline first.

        Returns the fence, and the id and job of each message.
        """
        fence = draw_fence()
        with self.engine.begin() as db:
            capacity, last_probe = breakers.capacity(db, queue, self.settings, self.low.mark(queue.name, "out"))
            if capacity <= 0:
                return fence, []
            rows = self.take(db, queue, fence, min(capacity, BATCH), last_probe)
            if last_probe is not None and rows and queue.upstream is not None:
                breakers.name_probe(db, queue.upstream, rows[0][2], fence)
        for row in rows:
            self.note_lag(queue.name, row[5])
        return fence, [(row[2], row[3]) for row in rows]

    def take(self, db: Connection, queue: QueueSpec, fence: int, capacity: int, last: int | None) -> list[tuple]:
        """Publish up to `capacity` messages, or one probe, in the caller's transaction.

        A tenth is reserved for missed deadlines, so that they neither starve nor delay what can still be met. The rest
        of that division is decided by lot: always rounded down, they would starve behind a steady stream.
        """
        if last is not None:
            values = {"queue": queue.name, "fence": fence, "last": last}
            return [tuple(row) for row in db.execute(PROBE, values)]
        reserved = (capacity + random.randrange(10)) // 10
        missed = self.take_first(db, queue, fence, "missed", reserved)
        reachable = self.take_first(db, queue, fence, "reachable", capacity - len(missed))
        # A reserve that was not used up means that nothing else has missed its deadline.
        left = capacity - len(missed) - len(reachable) if len(missed) == reserved else 0
        return sorted([*missed, *reachable, *self.take_first(db, queue, fence, "missed", left)])

    def take_first(self, db: Connection, queue: QueueSpec, fence: int, kind: str, batch: int) -> list[tuple]:
        if batch <= 0:
            return []
        values = {"queue": queue.name, "fence": fence, "batch": batch, "since": self.low.mark(queue.name, kind)}
        rows = [tuple(row) for row in db.execute(FIRST[kind], values)]
        self.low.raise_to(queue.name, kind, [row[1] for row in rows], more=len(rows) == batch)
        return rows

    def undo(self, fence: int, ids: list[int]) -> None:
        """Let messages wait in Postgres again, where they are still published under this fence."""
        with connect_autocommit(self.engine) as db:
            db.execute(UNDO, {"ids": ids, "fence": fence})

    def find_missing(self) -> None:
        """Let published messages wait in Postgres again whose pointer was found missing from Redis twice."""
        values = {"names": [queue.name for queue in self.queues], "age": MISSING_CHECK_SECONDS}
        with connect_autocommit(self.engine) as db:
            rows = db.execute(LONG_PUBLISHED, values).all()
        seen: dict[tuple[int, int], int] = {}
        for queue in self.queues:
            published = [(row.id, row.fence) for row in rows if row.queue == queue.name]
            if published:
                seen.update(self.count_missing(queue, published))
        self.missing = seen

    def count_missing(self, queue: QueueSpec, published: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """How often each pointer has been missing in a row; one that was missing often enough is undone."""
        try:
            waiting, started = rq_side.pointers_held(self.redis, queue.name)
        except (RedisError, OSError):
            return {}
        counts: dict[tuple[int, int], int] = {}
        for pointer in published:
            identifier = rq_side.job_id(*pointer)
            if identifier in waiting:
                continue
            looks = self.missing.get(pointer, 0) + 1
            if looks >= (STARTED_GRACE_LOOKS if identifier in started else 2):
                self.undo(pointer[1], [pointer[0]])
                log.warning(
                    "pointer was missing",
                    extra={"event": "outbox.pointer_missing", "queue": queue.name, "message_id": pointer[0]},
                )
            else:
                counts[pointer] = looks
        return counts
