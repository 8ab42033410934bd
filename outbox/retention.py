"""Retention of history in monthly partitions, made ahead and dropped when their time is over, and of old attempts,
deleted in batches.

Since when they are kept is written down first, in `outbox_retention`: nobody may conclude anything from their absence
before that.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from sqlalchemy import Connection, Engine, text

MONTHS_AHEAD = 3
BATCH = 5000

PARTITIONS = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'outbox_history'::regclass AND c.relname ~ '^outbox_history_[0-9]{6}$'
""")
STRAYED = text("SELECT EXISTS (SELECT 1 FROM outbox_history_rest WHERE at >= :start AND at < :end)")
KEPT_SINCE = text("UPDATE outbox_retention SET kept_since = GREATEST(kept_since, :oldest) RETURNING kept_since")
# All attempts at one message go together: what is left of them would tell another story.
OLD_ATTEMPTS = text("""
    DELETE FROM outbox_attempts a WHERE a.id IN (
        SELECT id FROM outbox_attempts o WHERE started_at < :before
           AND NOT EXISTS (SELECT 1 FROM outbox_messages m WHERE m.id = message_id)
           AND NOT EXISTS (SELECT 1 FROM outbox_attempts later WHERE later.message_id = o.message_id
                              AND COALESCE(later.finished_at, later.started_at) >= :before)
         ORDER BY started_at LIMIT :batch FOR UPDATE SKIP LOCKED)
""")
# Of months that had no partition.
OLD_STRAYED = text("""
    DELETE FROM outbox_history_rest WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM outbox_history_rest WHERE at < :before LIMIT :batch FOR UPDATE SKIP LOCKED))
""")
OLD_TRIPS = text("DELETE FROM outbox_breaker_trips WHERE closed_at < :before")
OLD_HOLDS = text("DELETE FROM outbox_breaker_holds WHERE LEAST(ends_at, lifted_at) < :before")


def add_months(month: date, count: int) -> date:
    """The first day of the month that is `count` months later."""
    years, index = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(years, index + 1, 1)


def make_partitions(db: Connection, first: date) -> None:
    """Make the partitions for the month of `first` and the next three, in the caller's transaction; idempotent.

    A month whose rows already went to the catch-all partition stays there. That partition is why history is never
    refused because its month has none.
    """
    for offset in range(MONTHS_AHEAD + 1):
        start, end = add_months(first, offset), add_months(first, offset + 1)
        if db.execute(STRAYED, {"start": start, "end": end}).scalar_one():
            continue
        db.execute(
            text(
                f"CREATE TABLE IF NOT EXISTS outbox_history_{start:%Y%m} PARTITION OF outbox_history"
                f" FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
            )
        )


def keep(engine: Engine, months: int) -> None:
    """Make partitions ahead; drop history, finished attempts, trips and holds older than `months`.

    Commits by itself, rows batch by batch; idempotent. What was dropped once under a shorter time stays dropped. Raises
    OperationalError when a partition stays locked for five seconds.
    """
    with engine.begin() as db:
        db.execute(text("SET LOCAL lock_timeout = '5s'"))
        today = db.execute(text("SELECT (outbox_now() AT TIME ZONE 'UTC')::date")).scalar_one()
        make_partitions(db, today)
        oldest = datetime.combine(add_months(today, -months), time(), UTC)
        oldest = db.execute(KEPT_SINCE, {"oldest": oldest}).scalar_one().astimezone(UTC)
        for name in db.execute(PARTITIONS).scalars().all():
            if name < f"outbox_history_{oldest:%Y%m}":
                db.execute(text(f"DROP TABLE {name}"))
        db.execute(OLD_TRIPS, {"before": oldest})
        db.execute(OLD_HOLDS, {"before": oldest})
    for statement in (OLD_ATTEMPTS, OLD_STRAYED):
        removed = BATCH
        while removed == BATCH:
            with engine.begin() as db:
                removed = db.execute(statement, {"before": oldest, "batch": BATCH}).rowcount
