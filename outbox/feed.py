"""Feed of what the ledger recorded: moves of subjects, opened cases and trips of circuit breakers, each given once.

What an application owes to others for a change is written with the change, as its history. The feed reads that later,
so nobody who changes something waits for those who want to know, or pays for them.

A number that was drawn earlier may commit later. As for the counters (`outbox/counters.py`), the feed goes up to a
number only when every transaction that was open when it was drawn has ended. A row of history with a move, a case or a
trip is never the first thing that its transaction writes, so that transaction had its id before it drew the number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from outbox.counters import ADVANCE, OWN_ID, SETTLED
from outbox.write import Database

MOVES, TRIPS = "feed_moves", "feed_trips"
# After a long time in which nobody read, so many numbers at a time.
NUMBERS_AT_ONCE = 10_000

LAST = """
    (VALUES ('feed_moves', pg_sequence_last_value(pg_get_serial_sequence('outbox_history', 'id'))),
            ('feed_trips', pg_sequence_last_value(pg_get_serial_sequence('outbox_breaker_trips', 'id')))
    ) AS drawn (source, last)
"""
START = text(f"""
    INSERT INTO outbox_counted (source, upto, next_upto)
    SELECT source, COALESCE(last, 0), COALESCE(last, 0) FROM {LAST} ON CONFLICT DO NOTHING
""")
STOP = text("DELETE FROM outbox_counted WHERE source IN ('feed_moves', 'feed_trips')")
# First the numbers, then the transaction's own id (see the counters).
DRAWN = text(f"SELECT source, COALESCE(last, 0) AS last FROM outbox_counted JOIN {LAST} USING (source)")
LOCK = text("SELECT FROM outbox_counted WHERE source IN ('feed_moves', 'feed_trips') ORDER BY source FOR UPDATE")
READ = {
    MOVES: text("""
        SELECT 'move ' || id AS key, at, subject_type, subject_id, what, moved_from, moved_to, detail
          FROM outbox_history
         WHERE id > :upto AND id <= :settled
           AND (moved_to IS NOT NULL AND what <> 'attempt.answered_late' OR what = 'case.opened')
         ORDER BY id
    """),
    TRIPS: text("""
        SELECT 'trip ' || id AS key, opened_at AS at, 'breaker' AS subject_type, upstream AS subject_id,
               'breaker.opened' AS what, NULL AS moved_from, NULL AS moved_to,
               jsonb_build_object('reason', reason) AS detail
          FROM outbox_breaker_trips WHERE id > :upto AND id <= :settled ORDER BY id
    """),
}


@dataclass(frozen=True)
class Event:
    """Something that happened at an aware time. `key` is its own for ever; `detail` holds ids and codes."""

    key: str
    at: datetime
    subject_type: str
    subject_id: str
    what: str
    moved_from: str | None
    moved_to: str | None
    detail: dict[str, Any] = field(default_factory=dict)


def start(db: Database) -> None:
    """Follow what happens from now on. Does nothing where it is followed already."""
    db.execute(START, {})


def stop(db: Database) -> None:
    """Nobody follows any more, and nothing is read for anybody."""
    db.execute(STOP, {})


def lock(db: Database) -> None:
    """Let nobody read what happened before the caller's transaction ends."""
    db.execute(LOCK, {})


def take(db: Database, most: int = NUMBERS_AT_ONCE) -> list[Event] | None:
    """What happened since the last call, of so many numbers at most; None, at the price of one statement, while nobody
    follows.

    It counts as given when the caller's transaction commits, in which this is to be the first thing. Two callers wait
    for each other. While a transaction that writes stays open, what follows it waits.
    """
    drawn = db.execute(DRAWN, {}).all()
    if not drawn:
        return None
    xid = db.execute(OWN_ID).scalar_one()
    lock(db)
    events: list[Event] = []
    for row in drawn:
        values = {"source": row.source, "last": row.last, "xid": xid, "most": most}
        found = db.execute(text(SETTLED), values).one_or_none()
        if found is None:
            continue
        if found.settled > found.upto:
            bounds = {"upto": found.upto, "settled": found.settled}
            events += [Event(**each._mapping) for each in db.execute(READ[row.source], bounds)]
        if row.last > found.upto:
            db.execute(ADVANCE, {**values, "settled": found.settled})
    return events
