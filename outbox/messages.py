"""Messages as operators and the application read them: lists, counts, and the message behind an id.

Every function works in the caller's transaction and never commits. None but `lock_by_id` changes or locks anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text

from outbox.write import Database

LISTED = text("""
    SELECT id, job, queue, state, subject_type, subject_id, due_at, deadline_at, charged_attempts,
           unresolved_why, parked_reason
      FROM outbox_messages
     WHERE (CAST(:state AS text) IS NULL OR state = :state) AND (CAST(:queue AS text) IS NULL OR queue = :queue)
     ORDER BY deadline_at, id LIMIT :limit
""")
WAITING = text("""
    SELECT id FROM outbox_messages WHERE subject_type = :subject_type AND subject_id = :subject_id
       AND state IN ('later', 'ready', 'published')
""")
BY_STATE = text("""
    SELECT queue, state, count(*) AS messages, extract(epoch FROM outbox_now() - min(created_at))::float AS oldest
      FROM outbox_messages GROUP BY queue, state ORDER BY queue, state
""")
BY_JOB = text("""
    SELECT job, state, count(*) AS messages, min(created_at) AS oldest, min(deadline_at) AS first_deadline
      FROM outbox_messages WHERE queue = ANY(:queues) GROUP BY job, state ORDER BY job, state
""")
# Nothing that people look at counts further: what is more is said to be more.
MOST_COUNTED = 10_000

# From cause to cause by the index, and of each cause no more rows than are counted.
PARKED_GROUPS = text("""
    WITH RECURSIVE causes AS (
        (SELECT job, parked_reason FROM outbox_messages
          WHERE state = 'parked' AND (job, parked_reason) >= (:job, :reason) ORDER BY job, parked_reason LIMIT 1)
        UNION ALL
        SELECT following.* FROM causes c CROSS JOIN LATERAL (
            SELECT job, parked_reason FROM outbox_messages m
             WHERE state = 'parked' AND (m.job, m.parked_reason) > (c.job, c.parked_reason)
             ORDER BY job, parked_reason LIMIT 1) AS following
         WHERE NOT :only
    )
    SELECT c.job, g.upstream, c.parked_reason, g.messages, g.oldest, g.past
      FROM causes c CROSS JOIN LATERAL (
               SELECT min(upstream) AS upstream, count(*) AS messages, min(created_at) AS oldest, min(id) AS first,
                      count(*) FILTER (WHERE deadline_at <= outbox_now()) AS past
                 FROM (SELECT * FROM outbox_messages m
                        WHERE state = 'parked' AND m.job = c.job AND m.parked_reason = c.parked_reason
                        ORDER BY job, parked_reason, id LIMIT :most) AS counted) AS g
     WHERE NOT :only OR c.job = :job AND c.parked_reason = :reason
     ORDER BY g.messages DESC, g.first LIMIT :limit
""")
PARKED_IN = text("""
    SELECT id, subject_type, subject_id, deadline_at, created_at FROM outbox_messages
     WHERE state = 'parked' AND job = :job AND parked_reason = :reason AND id > :after
     ORDER BY job, parked_reason, id LIMIT :limit
""")


def list_messages(db: Database, *, state: str | None = None, queue: str | None = None, limit: int) -> list[Row[Any]]:
    """At most `limit` messages, of this state and this queue where they are given, earliest deadline first."""
    return list(db.execute(LISTED, {"state": state, "queue": queue, "limit": limit}).all())


def find_message(db: Database, message_id: int) -> Row[Any] | None:
    """The message's whole row; None when its work is done, or was never enqueued."""
    row: Row[Any] | None = db.execute(
        text("SELECT * FROM outbox_messages WHERE id = :id"), {"id": message_id}
    ).one_or_none()
    return row


def lock_by_id(db: Database, message_id: int) -> Row[Any] | None:
    """The message's state, job, subject_type and subject_id, locked to the end of the transaction; None when it is
    gone."""
    statement = text("SELECT state, job, subject_type, subject_id FROM outbox_messages WHERE id = :id FOR UPDATE")
    row: Row[Any] | None = db.execute(statement, {"id": message_id}).one_or_none()
    return row


def waiting_for(db: Database, subject_type: str, subject_id: str) -> list[int]:
    """The ids of the subject's messages that are neither running nor parked."""
    return list(db.execute(WAITING, {"subject_type": subject_type, "subject_id": subject_id}).scalars())


def parked_for(db: Database, subject_type: str, subject_id: str) -> list[int]:
    """The ids of the subject's parked messages, at most one for each job."""
    statement = text("""
        SELECT id FROM outbox_messages WHERE subject_type = :type AND subject_id = :id AND state = 'parked'
    """)
    return list(db.execute(statement, {"type": subject_type, "id": subject_id}).scalars())


def of_subject(db: Database, subject_type: str, subject_id: str) -> list[Row[Any]]:
    """The whole rows of the subject's messages, in the order in which they were added."""
    statement = text("""
        SELECT * FROM outbox_messages WHERE subject_type = :type AND subject_id = :id ORDER BY id
    """)
    return list(db.execute(statement, {"type": subject_type, "id": subject_id}).all())


def parked_groups(db: Database, limit: int) -> list[Row[Any]]:
    """Parked messages by their job and the reason why they were parked, the largest group first: `job`, `upstream`,
    `parked_reason`, `messages`, how many of them are `past` their deadline, and when the `oldest` was added. Of each
    group `MOST_COUNTED` at most are counted."""
    return list(db.execute(PARKED_GROUPS, of_parked("", "", only=False, limit=limit)).all())


def parked_group(db: Database, job: str, reason: str) -> Row[Any] | None:
    """One of these groups; None when nothing of it is parked any more."""
    row: Row[Any] | None = db.execute(PARKED_GROUPS, of_parked(job, reason, only=True, limit=1)).one_or_none()
    return row


def of_parked(job: str, reason: str, *, only: bool, limit: int) -> dict[str, Any]:
    return {"job": job, "reason": reason, "only": only, "limit": limit, "most": MOST_COUNTED}


def parked_in(db: Database, job: str, reason: str, *, after: int = 0, limit: int) -> list[Row[Any]]:
    """At most `limit` messages of a group with ids above `after`, in the order of their ids: `id`, `subject_type`,
    `subject_id`, `deadline_at`, `created_at`."""
    values = {"job": job, "reason": reason, "after": after, "limit": limit}
    return list(db.execute(PARKED_IN, values).all())


def states_of(db: Database, message_ids: Sequence[int]) -> dict[int, str]:
    """The state of each of these messages that is outstanding; what is done is not there."""
    statement = text("SELECT id, state FROM outbox_messages WHERE id = ANY(:ids)")
    return {row.id: row.state for row in db.execute(statement, {"ids": list(message_ids)}).all()}


def count_by_state(db: Database) -> list[Row[Any]]:
    """For each queue and state: `queue`, `state`, `messages`, and the age of the `oldest` in seconds."""
    return list(db.execute(BY_STATE, {}).all())


def count_by_job(db: Database, queues: Sequence[str]) -> list[Row[Any]]:
    """For each job and state in these queues: `job`, `state`, `messages`, and the times `oldest` (when it was added)
    and `first_deadline`."""
    return list(db.execute(BY_JOB, {"queues": list(queues)}).all())
