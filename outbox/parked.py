"""What a human does with a message: park it by hand, or reopen it. Reopening never grants.

Every door (dashboard, console, command line) comes through here; whoever is second loses one compare-and-set.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import text

from outbox.write import WAKE_CHANNEL, Database, write_history

REOPEN = text("""
    UPDATE outbox_messages
       SET state = 'ready', due_at = outbox_now(), parked_reason = NULL, charged_attempts = 0,
           look_up_count = 0, not_found_count = 0,
           deadline_at = outbox_now() + (deadline_at - budget_from),
           give_up_at = outbox_now() + (give_up_at - budget_from),
           budget_from = outbox_now()
     WHERE id = :message_id AND state = 'parked' AND (CAST(:fence AS bigint) IS NULL OR fence = :fence)
    RETURNING id, job, subject_type, subject_id
""")

PARK_WAITING = text("""
    UPDATE outbox_messages SET state = 'parked', fence = :fence, parked_reason = :reason
     WHERE id = :message_id AND state IN ('later', 'ready', 'published')
    RETURNING id, job, subject_type, subject_id, queue, fence
""")


def draw_fence() -> int:
    """A fence no pointer holds yet. Drawn, never counted up: a counter repeats itself after a rollback."""
    return secrets.randbits(62)


def reopen(db: Database, message_id: int, *, actor: str, fence: int | None = None) -> Any | None:
    """`parked` → `ready` with a fresh budget, in the caller's transaction; None when someone else came first.

    An open question stays open: a message that was parked unresolved is looked up before anything is sent again.
    """
    row = db.execute(REOPEN, {"message_id": message_id, "fence": fence}).one_or_none()
    if row is None:
        return None
    write_history(db, row.subject_type, row.subject_id, "message.reopened", actor=actor, message_id=row.id)
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return row


def park_waiting(db: Database, message_id: int, *, reason: str, actor: str) -> Any | None:
    """Take a waiting message out of circulation by hand; None when it is running, parked or gone."""
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
    """Say on a parked message why it could not be reopened."""
    db.execute(
        text("UPDATE outbox_messages SET parked_reason = :reason WHERE id = :id AND state = 'parked'"),
        {"id": message_id, "reason": reason},
    )
