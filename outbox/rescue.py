"""Rescue of what dead processes left running. A process without a recent heartbeat counts as dead.

A rescued message is due again; if it was writing, the open question whether that happened stands on it.

Functions that are given an engine commit by themselves, in a transaction of their own; those that are given a database
connection never commit. Every comparison uses Postgres's clock, and a rescue may
itself be killed at any statement.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, Row, text

from outbox.attempts import ENDED
from outbox.columns import in_state
from outbox.connections import connect_autocommit
from outbox.grants import TURN_BACK, pointers_of
from outbox.values import Grant
from outbox.write import WAKE_CHANNEL, Database

log = logging.getLogger("outbox.rescue")

SILENT_SECONDS = 10.0
# How far the lease of an answer in hand reaches: some beats may fail.
KEPT_SECONDS = 30.0
BATCH = 500

# Its first beat makes the row; where rows may not be inserted any more, the others still beat.
BEAT = text("""
    UPDATE outbox_processes
       SET returned_at = CASE WHEN beat_at < outbox_now() - make_interval(secs => :silent) THEN outbox_now()
                              ELSE returned_at END,
           beat_at = outbox_now()
     WHERE id = :id
    RETURNING set_config('synchronous_commit', 'off', true)
""")
FIRST_BEAT = text("""
    INSERT INTO outbox_processes (id, kind, version) VALUES (:id, :kind, :version) ON CONFLICT (id) DO NOTHING
""")

# Its answer is in hand and cannot be recorded yet: nobody may begin another attempt.
KEEP = text(f"""
    UPDATE outbox_messages SET lease_expires_at = outbox_now() + make_interval(secs => :lease)
     WHERE id = ANY(:ids) AND {in_state("running")} AND worker_id = :worker_id
       AND lease_expires_at < outbox_now() + make_interval(secs => :lease)
""")

# Every process, by the age of its last beat. Those that ended properly have no row.
LAST_BEATS = text("""
    SELECT kind, extract(epoch FROM min(outbox_now() - beat_at))::float FROM outbox_processes GROUP BY kind
""")

RUNNING = text("""
    SELECT id, kind, version, started_at, extract(epoch FROM outbox_now() - beat_at)::float AS age
      FROM outbox_processes ORDER BY kind, started_at LIMIT :limit
""")

BEATING = text("""
    SELECT kind, count(*) FROM outbox_processes
     WHERE beat_at > outbox_now() - make_interval(secs => :silent) GROUP BY kind
""")

# A write whose end nobody saw may have happened. A look-up or a read whose end nobody saw does not matter.
GIVE_BACK = f"""
    WITH lost AS (
        SELECT m.id, m.fence FROM outbox_messages m
          LEFT JOIN outbox_processes p ON p.id = m.worker_id
         WHERE m.state = 'running' AND ({{whose}})
         LIMIT :batch FOR UPDATE OF m SKIP LOCKED
    ), ended AS (
        UPDATE outbox_attempts a
           SET status = CASE WHEN a.purpose = 'write' AND :begun THEN 'unknown' ELSE 'error' END,
               {ENDED}, error_class = :why
          FROM lost WHERE a.message_id = lost.id AND a.fence = lost.fence AND a.status = 'try'
        RETURNING a.message_id, a.purpose = 'write' AND :begun AS doubtful, a.started_at
    )
    UPDATE outbox_messages m
       SET state = 'ready', due_at = outbox_now(), worker_id = NULL, lease_expires_at = NULL,
           not_found_count = CASE WHEN e.doubtful THEN 0 ELSE not_found_count END,
           unresolved_since = CASE WHEN e.doubtful THEN COALESCE(m.unresolved_since, e.started_at)
                                   ELSE m.unresolved_since END,
           unresolved_why = CASE WHEN e.doubtful THEN COALESCE(m.unresolved_why, 'unanswered')
                                 ELSE m.unresolved_why END
      FROM lost LEFT JOIN ended e ON e.message_id = lost.id
     WHERE m.id = lost.id
    RETURNING m.id
"""
# While Postgres was away nobody could beat, and nobody could record an answer: after it the living get time for both.
# Then one has just returned, and no other has been beating all the time.
OUTAGE_IS_OVER = """
    EXISTS (SELECT 1 FROM outbox_processes r WHERE r.returned_at > outbox_now() - make_interval(secs => :silent))
    AND NOT EXISTS (
        SELECT 1 FROM outbox_processes c
         WHERE c.beat_at > outbox_now() - make_interval(secs => :silent)
           AND COALESCE(c.returned_at, c.started_at) < outbox_now() - make_interval(secs => :silent))
"""
LOST = text(
    GIVE_BACK.format(
        whose="(m.lease_expires_at < outbox_now() OR ("
        "(p.id IS NULL OR p.beat_at < outbox_now() - make_interval(secs => :silent))"
        " AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => :silent)))"
        f" AND NOT ({OUTAGE_IS_OVER})"
    )
)
HANDED_BACK = text(GIVE_BACK.format(whose="m.worker_id = :worker_id AND m.id = ANY(:ids)"))


def beat(engine: Engine, process_id: str, kind: str, version: str | None = None) -> None:
    """Record that a process is alive. Its row appears with its first beat, with the version that it runs."""
    with connect_autocommit(engine) as db:
        if db.execute(BEAT, {"id": process_id, "silent": SILENT_SECONDS}).one_or_none() is None:
            db.execute(FIRST_BEAT, {"id": process_id, "kind": kind, "version": version})


def keep(engine: Engine, worker_id: str, grants: Sequence[Grant]) -> None:
    """Prolong the leases of attempts whose answers are in hand and cannot be recorded yet."""
    if not grants:
        return
    values = {"worker_id": worker_id, "ids": [grant.message_id for grant in grants], "lease": KEPT_SECONDS}
    with engine.begin() as db:
        db.execute(KEEP, values)


def end_process(engine: Engine, process_id: str) -> None:
    """Remove the row of a process that ends properly."""
    with engine.begin() as db:
        db.execute(text("DELETE FROM outbox_processes WHERE id = :id"), {"id": process_id})


def beating(db: Database) -> dict[str, int]:
    """How many processes of each kind are alive. Reads in the caller's transaction."""
    rows = db.execute(BEATING, {"silent": SILENT_SECONDS}).all()
    return {row[0]: row[1] for row in rows}


def running(db: Database, limit: int) -> list[Row[Any]]:
    """Each process that did not end properly: `id`, `kind`, `version`, `started_at`, and the `age` of its last beat in
    seconds."""
    return list(db.execute(RUNNING, {"limit": limit}).all())


def last_beats(db: Database) -> dict[str, float]:
    """Seconds since the last beat of each kind of process of which there is, or lately was, one."""
    return {row[0]: row[1] for row in db.execute(LAST_BEATS, {}).all()}


def rescue_lost(engine: Engine) -> int:
    """Make messages due again that silent processes or ended leases hold, at most BATCH of them; returns how many."""
    with connect_autocommit(engine) as db:
        return rescue_lost_in(db)


def rescue_lost_in(db: Database) -> int:
    """The same in the caller's transaction."""
    rows = db.execute(LOST, {"silent": SILENT_SECONDS, "batch": BATCH, "why": "WorkerLost", "begun": True}).all()
    if rows:
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    for row in rows:
        log.warning("message rescued", extra={"event": "outbox.rescued", "message_id": row.id})
    return len(rows)


def hand_back(engine: Engine, worker_id: str, grants: Sequence[Grant], begun: bool = True) -> int:
    """Give this worker's own running messages back, as at SIGTERM; returns how many.

    A write that is still open becomes unknown, unless the worker knows that none of them was `begun`. Nothing is
    charged, and all are due at once.
    """
    if not grants:
        return 0
    values = {
        "worker_id": worker_id,
        "ids": [grant.message_id for grant in grants],
        "batch": BATCH,
        "why": "HandedBack",
        "begun": begun,
    }
    with engine.begin() as db:
        rows = db.execute(HANDED_BACK, values).all()
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return len(rows)


def turn_back(engine: Engine, pointers: Sequence[tuple[int, int]]) -> None:
    """Let messages wait in Postgres again whose pointers were taken and will not be run; nothing once they are
    granted."""
    with engine.begin() as db:
        db.execute(TURN_BACK, pointers_of(pointers))
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))


def forget_silent(engine: Engine, seconds: float = 3600.0) -> int:
    """Remove the rows of processes whose last beat is older than `seconds`; returns how many.

    By then everything that they held was rescued long ago.
    """
    with engine.begin() as db:
        statement = text("DELETE FROM outbox_processes WHERE beat_at < outbox_now() - make_interval(secs => :age)")
        return int(db.execute(statement, {"age": seconds}).rowcount)
