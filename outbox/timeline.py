"""Timeline of a message or a subject: its attempts and its history, for people and for checks that read all of them.

Every function reads in the caller's transaction and never commits. Rows are there until `retention` removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, text

from outbox.write import Database

STREAM_ROWS = 1000

ATTEMPTS_AT = text("""
    SELECT id, purpose, status, started_at, finished_at, charged, late, http_status, error_class, error_detail
      FROM outbox_attempts WHERE message_id = :id ORDER BY id
""")
ATTEMPTS_FOR = text("""
    SELECT id, message_id, job, upstream, purpose, status, started_at, finished_at, late, http_status, error_class,
           error_detail, upstream_ids, worker_id
      FROM outbox_attempts WHERE subject_type = :type AND subject_id = :id ORDER BY id
""")
SUBJECT_OF = text("""
    SELECT subject_type, subject_id FROM outbox_messages WHERE id = :id
    UNION ALL
    SELECT subject_type, subject_id FROM outbox_attempts WHERE message_id = :id
     LIMIT 1
""")
REQUESTED_BY = text("""
    SELECT DISTINCT subject_type, subject_id FROM outbox_history WHERE (detail ->> 'request_id') = :request_id
     LIMIT :limit
""")
HISTORY_OF = text("""
    SELECT at, what, moved_from, moved_to, actor, detail FROM outbox_history
     WHERE subject_type = :type AND subject_id = :id ORDER BY id
""")
HISTORY_AROUND = text("""
    SELECT at, what, moved_from, moved_to, actor, detail FROM outbox_history
     WHERE (subject_type, subject_id) IN (
           SELECT subject_type, subject_id FROM outbox_attempts WHERE message_id = :id
           UNION SELECT subject_type, subject_id FROM outbox_messages WHERE id = :id)
     ORDER BY id
""")

# Read through a cursor, a part at a time, and all in one order, so that they can be read side by side however many
# there are. An attempt that was answered late moved itself and not its subject.
MOVES = text("""
    SELECT subject_id, id, at, what, moved_from, moved_to, actor FROM outbox_history
     WHERE subject_type = :subject AND moved_to IS NOT NULL AND what <> 'attempt.answered_late'
       AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id COLLATE "C", id
""").execution_options(yield_per=STREAM_ROWS)
ATTEMPTS = text("""
    SELECT subject_id, id, message_id, purpose, status, started_at, finished_at, end_number, late, answered,
           error_class, error_detail
      FROM outbox_attempts
     WHERE subject_type = :subject AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id COLLATE "C", id
""").execution_options(yield_per=STREAM_ROWS)
MESSAGES = text("""
    SELECT subject_id, id, state FROM outbox_messages
     WHERE subject_type = :subject AND (CAST(:only AS text) IS NULL OR subject_id = :only)
       AND job <> ALL(CAST(:but AS text[]))
     ORDER BY subject_id COLLATE "C", id
""").execution_options(yield_per=STREAM_ROWS)


def attempts_at(db: Database, message_id: int) -> list[Row[Any]]:
    """Every attempt at a message, oldest first, also when the message is done and gone."""
    return list(db.execute(ATTEMPTS_AT, {"id": message_id}).all())


def attempts_for(db: Database, subject_type: str, subject_id: str) -> list[Row[Any]]:
    """Every attempt at any message of a subject, oldest first, with its `upstream_ids`."""
    return list(db.execute(ATTEMPTS_FOR, {"type": subject_type, "id": subject_id}).all())


def subject_of(db: Database, message_id: int) -> Row[Any] | None:
    """The `subject_type` and `subject_id` of a message, also when it is done and gone; None for one that nobody ever
    worked on."""
    row: Row[Any] | None = db.execute(SUBJECT_OF, {"id": message_id}).one_or_none()
    return row


def requested_by(db: Database, request_id: str, limit: int) -> list[Row[Any]]:
    """The `subject_type` and `subject_id` of what this request asked for: its history says so in `detail`."""
    return list(db.execute(REQUESTED_BY, {"request_id": request_id, "limit": limit}).all())


def history_of(db: Database, subject_type: str, subject_id: str) -> list[Row[Any]]:
    """What happened to a subject, oldest first: `at`, `what`, `moved_from`, `moved_to`, `actor`, `detail`."""
    return list(db.execute(HISTORY_OF, {"type": subject_type, "id": subject_id}).all())


def history_around(db: Database, message_id: int) -> list[Row[Any]]:
    """What happened to the subject of a message, oldest first, also when the message is done and gone."""
    return list(db.execute(HISTORY_AROUND, {"id": message_id}).all())


def stream_moves(db: Database, subject_type: str, subject_id: str | None = None) -> Iterable[Row[Any]]:
    """Every move of a state in the history of this type of subject, or of one subject.

    Ordered by the bytes of `subject_id`, then by `id`, like the other streams. Rows are fetched as they are read: the
    caller's transaction must stay open until then.
    """
    found: Iterable[Row[Any]] = db.execute(MOVES, {"subject": subject_type, "only": subject_id})
    return found


def stream_attempts(db: Database, subject_type: str, subject_id: str | None = None) -> Iterable[Row[Any]]:
    """Every attempt for this type of subject, or for one subject, like `stream_moves`."""
    found: Iterable[Row[Any]] = db.execute(ATTEMPTS, {"subject": subject_type, "only": subject_id})
    return found


def stream_messages(
    db: Database, subject_type: str, subject_id: str | None = None, *, but_jobs: Sequence[str] = ()
) -> Iterable[Row[Any]]:
    """Every outstanding message for this type of subject, or for one subject, except of these jobs, like
    `stream_moves`."""
    found: Iterable[Row[Any]] = db.execute(
        MESSAGES, {"subject": subject_type, "only": subject_id, "but": list(but_jobs)}
    )
    return found
