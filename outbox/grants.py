"""Grants: permission for one attempt at each of some messages, given under their fences.

`grant_all` and `grant` commit by themselves, before anything is sent upstream. An error of Postgres is raised as
SQLAlchemy's `DBAPIError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from outbox.columns import in_state
from outbox.connections import connect_autocommit
from outbox.eras import DOUBTED
from outbox.holds import IN_FORCE
from outbox.statements import prepared
from outbox.values import Grant
from outbox.write import DECIDED, DURABLY, RESTORED, Database

# A statement does not see the row that it inserts itself, so an attempt never counts as its own predecessor.
FIRST = "NOT EXISTS (SELECT 1 FROM outbox_attempts earlier WHERE earlier.message_id = {message}) AS first"

# The time that was lost by restores from a backup which this message may have been sent in.
LOST_TIME = f"""
    LEFT JOIN LATERAL (
        SELECT min(r.restored_to) AS restored_to, max(r.lost_at) AS lost_at FROM outbox_restores r
         WHERE r.look_first_until > outbox_now()
            OR {{message}}.unresolved_why IN ('{RESTORED}', '{DECIDED}')
               AND r.lost_at >= {{message}}.unresolved_since) lost ON true
"""

GRANT_FIELDS = tuple(name for name in Grant.__dataclass_fields__ if name != "message_id")
OF_ATTEMPT = ("attempt_id", "purpose", "started_at", "first", "restored_to", "lost_at")
OF_MESSAGE = ", ".join(f"granted.{name}" for name in ("id", *GRANT_FIELDS) if name not in OF_ATTEMPT)

GRANT = prepared(f"""
    WITH asked AS (
        SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[]), CAST(:leases AS float8[]),
                             CAST(:writing AS boolean[])) AS a (id, fence, lease, writes)
    ), granted AS (
        UPDATE outbox_messages m
           SET state = 'running', worker_id = :worker_id,
               lease_expires_at = outbox_now() + make_interval(secs => a.lease)
          FROM asked a
         WHERE m.id = a.id AND m.fence = a.fence AND {in_state("published", column="m.state")}
           AND (m.upstream IS NULL OR EXISTS (
                SELECT 1 FROM outbox_breakers b
                 WHERE b.upstream = m.upstream AND (b.open_until IS NULL
                    OR b.open_until <= outbox_now() AND (b.probe_message_id, b.probe_fence) = (m.id, m.fence))))
           AND ({IN_FORCE.format(upstream="m.upstream")}) IS NULL
           AND NOT {DOUBTED}
        RETURNING m.*, a.writes
    ), tried AS (
        INSERT INTO outbox_attempts
            (message_id, fence, subject_type, subject_id, job, upstream, purpose, worker_id)
        SELECT id, fence, subject_type, subject_id, job, upstream,
               CASE WHEN NOT writes THEN 'read' WHEN unresolved_since IS NOT NULL THEN 'look_up' ELSE 'write' END,
               :worker_id
          FROM granted
        RETURNING id, message_id, purpose, started_at
    )
    SELECT {OF_MESSAGE}, tried.id AS attempt_id, tried.purpose, tried.started_at, {FIRST.format(message="granted.id")},
           lost.restored_to, lost.lost_at,
           CASE WHEN :durably THEN {DURABLY} ELSE set_config('synchronous_commit', 'off', true) END
      FROM granted JOIN tried ON tried.message_id = granted.id {LOST_TIME.format(message="granted")}
""")

# Pointers that met an open breaker: their messages wait in Postgres again, where waiting costs nothing.
TURN_BACK = text(f"""
    UPDATE outbox_messages m SET state = 'ready'
      FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[])) AS p (id, fence)
     WHERE m.id = p.id AND m.fence = p.fence AND {in_state("published", column="m.state")}
""")

# A waiting message whose wall-clock limit has passed is taken to be given up, under a fence like any attempt.
SEIZE = text(f"""
    WITH seized AS (
        UPDATE outbox_messages m
           SET state = 'running', fence = :fence, worker_id = :worker_id,
               lease_expires_at = outbox_now() + make_interval(secs => :lease)
         WHERE m.id = (SELECT id FROM outbox_messages
                        WHERE state IN ('later', 'ready') AND give_up_at <= outbox_now() AND id <> ALL(:but)
                          AND NOT {DOUBTED}
                        ORDER BY give_up_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING m.*
    ), tried AS (
        INSERT INTO outbox_attempts
            (message_id, fence, subject_type, subject_id, job, upstream, purpose, worker_id)
        SELECT id, fence, subject_type, subject_id, job, upstream, 'give_up', :worker_id FROM seized
        RETURNING id, message_id, purpose, started_at
    )
    SELECT seized.*, tried.id AS attempt_id, tried.purpose, tried.started_at, {FIRST.format(message="seized.id")},
           lost.restored_to, lost.lost_at
      FROM seized JOIN tried ON tried.message_id = seized.id {LOST_TIME.format(message="seized")}
""")


def read_grant(row: Any) -> Grant:
    """The Grant that a row of GRANT or SEIZE stands for."""
    return Grant(message_id=row.id, **{name: getattr(row, name) for name in GRANT_FIELDS})


@dataclass(frozen=True)
class Asked:
    """A pointer for which a grant of `lease_seconds` is wanted; `writes` where its work writes upstream."""

    message_id: int
    fence: int
    lease_seconds: float
    writes: bool

    @property
    def pointer(self) -> tuple[int, int]:
        return self.message_id, self.fence


def grant_all(engine: Engine, asked: Sequence[Asked], *, worker_id: str) -> list[Grant | None]:
    """Grant one attempt for each pointer, all committed before this returns, on a connection of its own.

    None for a pointer that is stale or doubled, and for one whose upstream is held or has its breaker open: that
    message waits in Postgres again. So does every message while the database seems to be restored from a backup.

    One statement, so it needs no BEGIN and no COMMIT of its own. If any of the work writes upstream, its commit waits
    for the disk: with its `try` row we would lose the duty to look up first.
    """
    # Everybody locks the messages in this order.
    in_order = sorted({each.pointer: each for each in asked}.values(), key=lambda each: each.pointer)
    values = {
        **pointers_of([each.pointer for each in in_order]),
        "leases": [each.lease_seconds for each in in_order],
        "writing": [each.writes for each in in_order],
        "durably": any(each.writes for each in in_order),
        "worker_id": worker_id,
    }
    with connect_autocommit(engine) as db:
        granted = {(row.id, row.fence): read_grant(row) for row in db.execute(GRANT, values)}
        refused = [each.pointer for each in in_order if each.pointer not in granted]
        if refused:
            db.execute(TURN_BACK, pointers_of(refused))
    # A doubled pointer is granted once.
    return [granted.pop(each.pointer, None) for each in asked]


def pointers_of(pointers: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    """Pointers `(message id, fence)` as the parameters of a statement."""
    return {"ids": [message_id for message_id, _ in pointers], "fences": [fence for _, fence in pointers]}


def grant(
    engine: Engine, message_id: int, fence: int, *, worker_id: str, lease_seconds: float, writes: bool
) -> Grant | None:
    """Grant one attempt at one message; see `grant_all`."""
    (found,) = grant_all(engine, [Asked(message_id, fence, lease_seconds, writes)], worker_id=worker_id)
    return found


def seize_overdue(
    db: Database, *, fence: int, worker_id: str, lease_seconds: float = 60.0, but: Sequence[int] = ()
) -> Grant | None:
    """Take one waiting message whose wall-clock limit has passed, to give it up in the caller's transaction.

    The message is then running under `fence`, with an attempt of purpose `give_up`. Messages in `but` and those that
    somebody else has locked are skipped. None when no other is left.
    """
    values = {"fence": fence, "worker_id": worker_id, "lease": lease_seconds, "but": list(but)}
    row = db.execute(SEIZE, values).one_or_none()
    return read_grant(row) if row is not None else None
