"""Writes to the ledger: adding work, taking it back, and history.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from sqlalchemy import text

WAKE_CHANNEL = "outbox_ready"


class Database(Protocol):
    """A SQLAlchemy Session or Connection with the caller's transaction open in it."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any: ...


ADD = text("""
    INSERT INTO outbox_messages
        (job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    VALUES (:job, CAST(:args AS jsonb), :queue, :upstream, :subject_type, :subject_id,
            CASE WHEN :delay > 0 THEN 'later' ELSE 'ready' END,
            outbox_now() + make_interval(secs => :delay),
            outbox_now() + make_interval(secs => :deadline),
            outbox_now() + make_interval(secs => :give_up))
    ON CONFLICT (subject_type, subject_id, job) DO NOTHING
    RETURNING id, CASE WHEN :delay <= 0 THEN pg_notify(:channel, '')::text END
""")

TAKE_BACK = text("""
    DELETE FROM outbox_messages
     WHERE subject_type = :subject_type AND subject_id = :subject_id
       AND state <> 'running' AND unresolved_since IS NULL
    RETURNING id
""")

WRITE_HISTORY = text("""
    INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor, message_id, detail)
    VALUES (:subject_type, :subject_id, :what, :moved_from, :moved_to, :actor, :message_id, CAST(:detail AS jsonb))
""")


def add(
    db: Database,
    *,
    job: str,
    queue: str,
    subject_type: str,
    subject_id: str,
    deadline_seconds: float,
    give_up_seconds: float,
    upstream: str | None = None,
    args: tuple[str | int, ...] = (),
    delay_seconds: float = 0.0,
) -> int | None:
    """Enqueue a piece of work and return its message id; relays are woken when the caller commits.

    None, with nothing added, when this job is outstanding for this subject already, in whatever state. The message
    exists until a settle completes it, so there is one row for each piece of outstanding work.

    `job` is the dotted path of the job; `args` hold ids only. It is due after `delay_seconds`. Its deadline orders the
    work of a queue. After `give_up_seconds` of wall-clock time it is given up, even while its breaker is open.
    """
    message_id: int | None = db.execute(
        ADD,
        {
            "channel": WAKE_CHANNEL,
            "job": job,
            "args": json.dumps(list(args)),
            "queue": queue,
            "upstream": upstream,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "delay": delay_seconds,
            "deadline": deadline_seconds,
            "give_up": give_up_seconds,
        },
    ).scalar_one_or_none()
    return message_id


def take_back(db: Database, subject_type: str, subject_id: str) -> bool:
    """Delete the subject's messages that have had no effect upstream; returns whether there were any.

    One that is running, or whose last write may have happened, stays.
    """
    return bool(db.execute(TAKE_BACK, {"subject_type": subject_type, "subject_id": subject_id}).all())


def write_history(
    db: Database,
    subject_type: str,
    subject_id: str,
    what: str,
    *,
    moved_from: str | None = None,
    moved_to: str | None = None,
    actor: str = "system",
    message_id: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one row to the history of a subject. `detail` holds ids and codes, never personal data."""
    db.execute(
        WRITE_HISTORY,
        {
            "subject_type": subject_type,
            "subject_id": subject_id,
            "what": what,
            "moved_from": moved_from,
            "moved_to": moved_to,
            "actor": actor,
            "message_id": message_id,
            "detail": json.dumps(detail or {}),
        },
    )
