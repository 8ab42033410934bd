"""Parked messages: a human parks a waiting message by hand, or reopens a parked one.

The dashboard, the console and the command line all use these functions. Of two people who do it at the same time, the
second loses a compare-and-set. Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from outbox.columns import in_state
from outbox.write import WAKE_CHANNEL, Database, write_history

REOPEN = text(f"""
    UPDATE outbox_messages
       SET state = 'ready', due_at = outbox_now(), parked_reason = NULL, charged_attempts = 0,
           look_up_count = 0, not_found_count = 0,
           deadline_at = outbox_now() + (deadline_at - budget_from),
           give_up_at = outbox_now() + (give_up_at - budget_from),
           budget_from = outbox_now()
     WHERE id = :message_id AND {in_state("parked")} AND (CAST(:fence AS bigint) IS NULL OR fence = :fence)
    RETURNING id, job, subject_type, subject_id
""")

PARK_WAITING = text("""
    UPDATE outbox_messages SET state = 'parked', fence = :fence, parked_reason = :reason
     WHERE id = :message_id AND state IN ('later', 'ready', 'published')
    RETURNING id, job, subject_type, subject_id, queue, fence
""")


DISCARD = text("""
    DELETE FROM outbox_messages WHERE id IN (
        SELECT id FROM outbox_messages
         WHERE subject_type = :subject_type AND subject_id = ANY(:ids) AND state = 'parked'
           FOR UPDATE SKIP LOCKED)
    RETURNING id, job, subject_id
""")


def draw_fence() -> int:
    """A fence that no pointer holds yet. Drawn, never counted up: a counter repeats itself after a rollback."""
    return secrets.randbits(62)


def reopen(
    db: Database, message_id: int, *, actor: str, fence: int | None = None, reason: str | None = None
) -> Any | None:
    """Move a message from `parked` to `ready`, with a fresh budget; relays are woken when the caller commits.

    Returns its id, job, subject_type and subject_id, or None when somebody else was first: when it is not parked, or
    not under `fence`, where one is given. Nothing is granted by this. An open question stays open: a message that was
    parked unresolved is looked up before anything is sent again. Written in history, with the `reason` if one is given.
    """
    row = db.execute(REOPEN, {"message_id": message_id, "fence": fence}).one_or_none()
    if row is None:
        return None
    detail = {"reason": reason} if reason else {}
    write_history(
        db, row.subject_type, row.subject_id, "message.reopened", actor=actor, message_id=row.id, detail=detail
    )
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return row


def park_waiting(db: Database, message_id: int, *, reason: str, actor: str) -> Any | None:
    """Park a waiting message under a new fence. Written in history.

    Returns its id, job, subject_type, subject_id, queue and fence, or None when it is running, parked or gone.
    """
    values = {"message_id": message_id, "fence": draw_fence(), "reason": reason}
    row = db.execute(PARK_WAITING, values).one_or_none()
    if row is not None:
        write_history(
            db,
            row.subject_type,
            row.subject_id,
            "message.parked",
            actor=actor,
            message_id=row.id,
            detail={"reason": reason},
        )
    return row


def keep_parked(db: Database, message_id: int, reason: str) -> None:
    """Record on a parked message why it could not be reopened."""
    db.execute(
        text("UPDATE outbox_messages SET parked_reason = :reason WHERE id = :id AND state = 'parked'"),
        {"id": message_id, "reason": reason},
    )


def discard(db: Database, subject_type: str, subject_ids: Sequence[str]) -> int:
    """Delete the parked messages of these subjects that nobody has locked; returns how many. Written in the history of
    the message, not of its subject, whose own has ended.

    Only for work that nobody will requeue any more: what it may have done upstream is not looked up after this.
    """
    rows = db.execute(DISCARD, {"subject_type": subject_type, "ids": list(subject_ids)}).all() if subject_ids else []
    for row in rows:
        detail = {"job": row.job, "subject_type": subject_type, "subject": row.subject_id}
        write_history(db, "message", str(row.id), "message.discarded", message_id=row.id, detail=detail)
    return len(rows)
