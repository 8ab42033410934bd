"""Tally of what is outstanding: how much in which queue and state, since when, and the forecast beside it.

Counting reads every message once. That is nothing while there are few; with a million it takes a second, and pages,
metrics and readiness would each take it again. So from `LARGE` messages on the last count is kept in one row, and
serves everybody for `KEEP_SECONDS`. It says how old it is. The sweep counts anew before that, so that nobody waits.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from outbox import forecast
from outbox.tables import MESSAGE_STATES
from outbox.write import Database

STATES = MESSAGE_STATES
# So many messages are counted in milliseconds, and always anew.
LARGE = 10_000
KEEP_SECONDS = 30.0
# The sweep counts anew what is older: well before nobody may use it any more.
COUNT_AGAIN_SECONDS = 12.0

# One of the future is of a clock that was put back since.
KEPT = text("""
    SELECT counts, extract(epoch FROM counted_at)::float AS at, extract(epoch FROM outbox_now())::float AS now
      FROM outbox_tally WHERE counted_at BETWEEN outbox_now() - make_interval(secs => :seconds) AND outbox_now()
""")
# Reads at most so many messages.
OLD_AND_LARGE = text("""
    SELECT NOT EXISTS (SELECT 1 FROM outbox_tally
                        WHERE counted_at BETWEEN outbox_now() - make_interval(secs => :seconds) AND outbox_now())
       AND EXISTS (SELECT 1 FROM outbox_messages OFFSET :large - 1)
""")
KEEP = text("""
    INSERT INTO outbox_tally (counted_at, counts) VALUES (to_timestamp(:at), CAST(:counts AS jsonb))
    ON CONFLICT (single) DO UPDATE SET counted_at = EXCLUDED.counted_at, counts = EXCLUDED.counts
""")


@dataclass(frozen=True)
class Count:
    """Messages of one queue, state and upstream. Of the earliest of each: when it was added, became due, and has its
    deadline, in seconds since 1970."""

    queue: str
    state: str
    upstream: str | None
    messages: int
    added: float
    due: float
    deadline: float


@dataclass(frozen=True)
class InQueue:
    """All messages of one queue, and how many of them are parked. Of the others: the age of the oldest in minutes and
    the next deadline (aware, UTC), or None."""

    queue: str
    messages: int
    parked: int
    oldest_minutes: float | None
    next_deadline: datetime | None


@dataclass(frozen=True)
class Tally:
    """`counts` and the forecast `lines` as of `at`; `now` is when they were read, both in seconds since 1970."""

    counts: Sequence[Count]
    lines: Sequence[forecast.Line]
    at: float
    now: float

    @property
    def age(self) -> float:
        """How many seconds ago this was counted."""
        return max(0.0, self.now - self.at)

    @property
    def messages(self) -> int:
        return sum(count.messages for count in self.counts)

    def by_state(self) -> dict[tuple[str, str], tuple[int, float]]:
        """Messages and the age of the oldest in seconds, by queue and state."""
        found: dict[tuple[str, str], tuple[int, float]] = {}
        for count in self.counts:
            messages, oldest = found.get((count.queue, count.state), (0, 0.0))
            found[count.queue, count.state] = messages + count.messages, max(oldest, self.now - count.added)
        return found

    def by_queue(self) -> list[InQueue]:
        """The queue with the oldest work first, those with only parked messages last."""
        queues = sorted({count.queue for count in self.counts})
        found = [in_queue(name, [count for count in self.counts if count.queue == name], self.now) for name in queues]
        return sorted(
            found, key=lambda each: -1.0 if each.oldest_minutes is None else each.oldest_minutes, reverse=True
        )

    def by_upstream(self) -> dict[str, int]:
        """How many messages are outstanding for each upstream that has any, without those that are parked."""
        found: dict[str, int] = {}
        for count in self.counts:
            if count.upstream is not None and count.state != "parked":
                found[count.upstream] = found.get(count.upstream, 0) + count.messages
        return found

    def oldest_due_seconds(self) -> float:
        """For how long the message has been due that waits longest for a worker; 0 when none waits."""
        due = [count.due for count in self.counts if count.state in ("ready", "published")]
        return max(0.0, self.now - min(due, default=self.now))


def in_queue(name: str, counts: Sequence[Count], now: float) -> InQueue:
    live = [count for count in counts if count.state != "parked"]
    parked = sum(count.messages for count in counts if count.state == "parked")
    total = sum(count.messages for count in counts)
    if not live:
        return InQueue(name, total, parked, None, None)
    minutes = round((now - min(count.added for count in live)) / 60, 1)
    deadline = datetime.fromtimestamp(min(count.deadline for count in live), UTC)
    return InQueue(name, total, parked, minutes, deadline)


def latest(db: Database) -> Tally:
    """The tally that is kept, at most `KEEP_SECONDS` old, or else a new one. Of few messages it is always new."""
    row = db.execute(KEPT, {"seconds": KEEP_SECONDS}).one_or_none()
    if row is None:
        return count_and_keep(db)
    counts = [Count(**each) for each in row.counts["counts"]]
    return Tally(counts, [forecast.Line(**each) for each in row.counts["lines"]], row.at, row.now)


def refresh(db: Database) -> None:
    """Count anew where there are many and that is a while ago: then nobody who looks has to."""
    if db.execute(OLD_AND_LARGE, {"seconds": COUNT_AGAIN_SECONDS, "large": LARGE}).scalar_one():
        count_and_keep(db)


def count_and_keep(db: Database) -> Tally:
    """Count now, and keep that if there are many."""
    tally = count(db)
    if tally.messages >= LARGE:
        parts: dict[str, Any] = {name: [asdict(each) for each in getattr(tally, name)] for name in ("counts", "lines")}
        db.execute(KEEP, {"at": tally.at, "counts": json.dumps(parts)})
    return tally


def count(db: Database) -> Tally:
    """Count now. Only reads."""
    rows = forecast.by_state(db)
    if not rows:
        now = float(db.execute(text("SELECT extract(epoch FROM outbox_now())::float"), {}).scalar_one())
        return Tally([], [], now, now)
    counts = [Count(row.queue, row.state, row.upstream, row.messages, row.added, row.due, row.deadline) for row in rows]
    return Tally(counts, forecast.lines_in(rows), rows[0].counted, rows[0].counted)
