"""Eras: how relays notice that the database was restored from a backup, and stop before they send anything twice.

A relay beats into Postgres and then into Redis. If Redis knows a beat much later than Postgres's last, Postgres was set
back: a restore, or a failover that lost more than seconds. A restore from a dump also makes the tables anew, which
shows in their oids. Redis is a hint, no more: when it was flushed, or is away, it says nothing.

While an era is doubted, nothing is published, granted or given up. `renew` ends the doubt.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from outbox.connections import connect_autocommit
from outbox.write import DURABLY, Database

log = logging.getLogger("outbox.eras")

KEY = "outbox:era:{}"
# A failover to an asynchronous standby may lose seconds. To stop everything for those until a human comes would be
# worse than what they held.
LOST_SECONDS = 60.0

MESSAGES_OID = "CAST(CAST('outbox_messages' AS regclass) AS oid)::bigint"
# Part of other statements: whether nothing may be sent before an operator has recorded the restore.
DOUBTED = f"EXISTS (SELECT 1 FROM outbox_era e WHERE e.doubted_why IS NOT NULL OR e.messages_oid <> {MESSAGES_OID})"

DUMPED = "its tables were made anew, as by a restore from a dump"
READ = text(f"""
    SELECT id, beat_at, CASE WHEN messages_oid <> {MESSAGES_OID} THEN '{DUMPED}' ELSE doubted_why END AS doubted_why
      FROM outbox_era
""")
BEAT = text(f"""
    INSERT INTO outbox_era (messages_oid, beat_at) VALUES ({MESSAGES_OID}, outbox_now())
    ON CONFLICT (single) DO UPDATE SET beat_at = GREATEST(outbox_era.beat_at, EXCLUDED.beat_at)
     WHERE outbox_era.doubted_why IS NULL
    RETURNING id, beat_at, {DURABLY}
""")
DOUBT = text(f"""
    UPDATE outbox_era SET doubted_why = :why WHERE id = :id RETURNING {DURABLY}
""")
RENEW = text(f"""
    INSERT INTO outbox_era (messages_oid, beat_at) VALUES ({MESSAGES_OID}, outbox_now())
    ON CONFLICT (single) DO UPDATE SET id = gen_random_uuid(), messages_oid = EXCLUDED.messages_oid,
           beat_at = EXCLUDED.beat_at, doubted_why = NULL
    RETURNING id, {DURABLY}
""")


def doubt(db: Database) -> str | None:
    """Why this database seems to be restored from a backup; None when nothing shows that."""
    row = db.execute(READ, {}).one_or_none()
    return row.doubted_why if row is not None else None


def look(engine: Engine, redis: Redis) -> str | None:
    """Compare Postgres with Redis, record a doubt or a beat, and return the doubt, if there is any. Commits.

    Nothing beats before it was compared: a beat would hide how far Postgres was set back.
    """
    with connect_autocommit(engine) as db:
        row = db.execute(READ).one_or_none()
    if row is not None and row.doubted_why is not None:
        return str(row.doubted_why)
    try:
        known = last_beat(redis, row)
        if is_later(known, row):
            # Another relay may have beaten since we read: Postgres is told before Redis is, so it knows that by now.
            with connect_autocommit(engine) as db:
                row = db.execute(READ).one_or_none()
        if row is not None and known is not None and is_later(known, row):
            why = f"Redis knows of {shown(known)}, and this database ends at {shown(row.beat_at.timestamp())}"
            with connect_autocommit(engine) as db:
                db.execute(DOUBT, {"id": row.id, "why": why})
            return why
        with connect_autocommit(engine) as db:
            beat = db.execute(BEAT).one_or_none()
        if beat is not None:
            redis.set(KEY.format(beat.id), beat.beat_at.timestamp())
    except (RedisError, OSError) as error:
        log.info("not compared with Redis", extra={"event": "era.not_compared", "error": type(error).__name__})
    return None


def is_later(known: float | None, row: Any) -> bool:
    """Whether Redis knows of a beat that this database lost."""
    return row is not None and known is not None and known > row.beat_at.timestamp() + LOST_SECONDS


def last_beat(redis: Redis, row: Any) -> float | None:
    """The last beat of this era that Redis knows, in seconds since 1970."""
    kept: Any = redis.get(KEY.format(row.id)) if row is not None else None
    return float(kept) if kept is not None else None


def shown(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def renew(db: Database) -> None:
    """Begin a new era in the caller's transaction: this database, as it is, is the one that counts. What Redis knows of
    the one before means nothing any more."""
    db.execute(RENEW, {})
