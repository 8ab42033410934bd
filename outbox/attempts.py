"""Attempts at a message and their ends: each was granted under the message's fence, and is settled under the same one.

Every function works in the caller's transaction and never commits. An error of Postgres is raised as SQLAlchemy's
`DBAPIError`.

A settle locks its message first, then the flow's own rows and the attempt: nobody else touches those while the message
is locked. A worker whose fence is gone changes nothing but its own attempt, through `record_late`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from outbox.columns import in_state
from outbox.statements import prepared
from outbox.values import Ending, Grant, Sibling
from outbox.write import DURABLY, WAKE_CHANNEL, Database, write_history

LOCK_MESSAGE = prepared(f"""
    SELECT id FROM outbox_messages
     WHERE id = :message_id AND fence = :fence AND {in_state("running")} FOR UPDATE
""")

# The id of an attempt's row orders its start. Its end gets a number from the same sequence, because the clock may be
# put back between the two.
ENDED = "finished_at = outbox_now(), end_number = nextval('outbox_attempts_id_seq')"
FINISH = f"""
    UPDATE outbox_attempts
       SET status = :status, {ENDED}, answered = :answered, charged = :charged,
           http_status = :http_status, error_class = :error_class, error_detail = :error_detail,
           upstream_ids = CAST(:upstream_ids AS jsonb), late = :late
     WHERE id = :attempt_id RETURNING {DURABLY}
"""
# The work is done: its message is deleted in the transaction that records its effect.
COMPLETE = prepared(f"WITH done AS (DELETE FROM outbox_messages WHERE id = :message_id) {FINISH}")
# The same for many, where nothing was read under their messages' locks before: the deletion compares the fences, and
# locks first.
COMPLETE_HELD = prepared(f"""
    WITH ended AS (
        SELECT * FROM unnest(
            CAST(:message_ids AS bigint[]), CAST(:fences AS bigint[]), CAST(:attempt_ids AS bigint[]),
            CAST(:answered AS boolean[]), CAST(:http_statuses AS int[]), CAST(:error_classes AS text[]),
            CAST(:error_details AS text[]), CAST(:upstream_ids AS text[])
        ) AS e (message_id, fence, attempt_id, answered, http_status, error_class, error_detail, upstream_ids)
    ), done AS (
        DELETE FROM outbox_messages m USING ended e
         WHERE m.id = e.message_id AND m.fence = e.fence AND {in_state("running", column="m.state")}
        RETURNING m.id
    )
    UPDATE outbox_attempts a
       SET status = 'success', {ENDED}, answered = e.answered, charged = false, http_status = e.http_status,
           error_class = e.error_class, error_detail = e.error_detail,
           upstream_ids = CAST(e.upstream_ids AS jsonb), late = false
      FROM ended e
     WHERE a.id = e.attempt_id AND e.message_id IN (SELECT id FROM done)
    RETURNING a.id, {DURABLY}, EXISTS (
        SELECT 1 FROM outbox_breakers b
         WHERE b.upstream = a.upstream AND (b.opened_at IS NOT NULL OR b.unanswered <> '{{}}')) AS troubled
""")

# The latest answer, read off the end of its index. With EXISTS, Postgres may read years of attempts during an outage,
# when there is no answer to find.
CHARGED = text("""
    SELECT COALESCE((
        SELECT other.finished_at FROM outbox_attempts other
         WHERE other.upstream = :upstream AND other.answered AND other.message_id <> :message_id
         ORDER BY other.finished_at DESC LIMIT 1
    ) > COALESCE((
        SELECT max(started_at) FROM outbox_attempts mine
         WHERE mine.message_id = :message_id AND mine.id < :attempt_id), :budget_from), false)
""")
# Whether an earlier try of the message came to nothing either, and the breaker neither opened nor stayed open for it.
NO_OUTAGE = text("""
    SELECT max(mine.started_at) > COALESCE((
        SELECT GREATEST(b.opened_at, b.tripped_at) FROM outbox_breakers b WHERE b.upstream = :upstream), '-infinity')
      FROM outbox_attempts mine WHERE mine.message_id = :message_id AND mine.id < :attempt_id
""")

POSTPONE = text("""
    UPDATE outbox_messages
       SET state = CASE WHEN :delay > 0 THEN 'later' ELSE 'ready' END,
           due_at = outbox_now() + make_interval(secs => :delay),
           worker_id = NULL, lease_expires_at = NULL,
           charged_attempts = charged_attempts + CAST(:charged AS int),
           unresolved_since = CASE WHEN :resolved THEN NULL
                                   WHEN :why IS NOT NULL THEN COALESCE(unresolved_since, outbox_now())
                                   ELSE unresolved_since END,
           unresolved_why = CASE WHEN :resolved THEN NULL ELSE COALESCE(unresolved_why, :why) END,
           not_found_count = CASE WHEN :resolved THEN 0 ELSE :not_found END,
           look_up_count = CASE WHEN :resolved THEN 0 ELSE :look_ups END
     WHERE id = :message_id
""")

PARK = text("""
    UPDATE outbox_messages
       SET state = 'parked', fence = :new_fence, parked_reason = :reason, worker_id = NULL, lease_expires_at = NULL,
           charged_attempts = charged_attempts + CAST(:charged AS int),
           unresolved_since = CASE WHEN :why IS NOT NULL THEN COALESCE(unresolved_since, outbox_now())
                                   ELSE unresolved_since END,
           unresolved_why = COALESCE(unresolved_why, :why)
     WHERE id = :message_id
""")

# Writes of one job, by how they ended.
WRITES = text("""
    SELECT count(*) FILTER (WHERE status = 'unknown') AS lost, count(*) FILTER (WHERE status = 'try') AS at_hand,
           count(*) FILTER (WHERE status = 'success') AS accepted,
           count(DISTINCT upstream_ids ->> 'digest') FILTER (WHERE status = 'success' AND message_id = last) AS taken
      FROM (SELECT *, max(message_id) OVER () AS last FROM outbox_attempts
             WHERE subject_type = :type AND subject_id = :id AND job = :job AND purpose = 'write') writes
""")

# Whether a write ended with this error.
ENDED_WITH = text("""
    SELECT EXISTS (SELECT 1 FROM outbox_attempts
                    WHERE message_id = :message AND purpose = 'write' AND error_class = :error)
""")

# What upstream answered to one job's work for a subject, its finished messages included.
ANSWERS = text("""
    SELECT upstream_ids FROM outbox_attempts
     WHERE subject_type = :type AND subject_id = :id AND job = :job AND status = 'success' AND upstream_ids <> '{}'
     ORDER BY id
""")

# What attempts keep under one name, for an application that encrypts it and changes its key.
COUNT_KEPT = text("SELECT count(*) FROM outbox_attempts WHERE upstream_ids ->> :name IS NOT NULL")
KEPT_AFTER = text("""
    SELECT id, upstream_ids ->> :name FROM outbox_attempts
     WHERE id > :after AND upstream_ids ->> :name IS NOT NULL ORDER BY id LIMIT :limit
""")
KEPT_OF = """
    SELECT id, upstream_ids ->> :name FROM outbox_attempts
     WHERE id = ANY(:ids) AND upstream_ids ->> :name IS NOT NULL
"""
REWRITE_KEPT = text("""
    UPDATE outbox_attempts SET upstream_ids = jsonb_set(upstream_ids, ARRAY[:name], to_jsonb(CAST(:value AS text)))
     WHERE id = :id
""")

# Whether history has such a row about the attempt right before this one.
NOTED_BEFORE = text("""
    SELECT EXISTS (
        SELECT 1 FROM outbox_history h
         WHERE h.subject_type = :subject_type AND h.subject_id = :subject_id AND h.what = :what
           AND h.message_id = :message_id
           AND CAST(h.detail ->> 'attempt' AS bigint) = (
                SELECT max(a.id) FROM outbox_attempts a WHERE a.message_id = :message_id AND a.id < :attempt_id))
""")


@dataclass(frozen=True)
class Writes:
    """Writes by their answers: `lost` ones ended without any, `at_hand` ones are under way, `accepted` got a yes.
    `taken` are the different things that upstream named in its answers to the latest message, late ones included."""

    lost: int
    at_hand: int
    accepted: int
    taken: int

    @property
    def all_refused(self) -> bool:
        """Whether none of them can have happened."""
        return not (self.lost or self.at_hand or self.accepted)


def lock_message(db: Database, grant: Grant) -> bool:
    """Lock the message to the end of the caller's transaction. False when another grant or a settle came first."""
    return db.execute(LOCK_MESSAGE, {"message_id": grant.message_id, "fence": grant.fence}).one_or_none() is not None


def is_charged(db: Database, grant: Grant, *, doubtful: bool = False) -> bool:
    """Whether this attempt counts against the retry schedule.

    It does if the upstream has answered another message since our previous attempt (or since the budget began), so an
    outage charges nothing. What it met may be `doubtful`, about this message alone: then it also counts if no outage
    was noticed since the previous attempt. Work without an upstream is always charged.
    """
    values = {
        "upstream": grant.upstream,
        "message_id": grant.message_id,
        "attempt_id": grant.attempt_id,
        "budget_from": grant.budget_from,
    }
    if grant.upstream is None or db.execute(CHARGED, values).scalar_one():
        return True
    return doubtful and bool(db.execute(NO_OUTAGE, values).scalar_one())


def finish(db: Database, attempt_id: int, ending: Ending, *, charged: bool = False, late: bool = False) -> None:
    """Write how an attempt ended. Postpone or park its message in the same transaction."""
    db.execute(text(FINISH), {"attempt_id": attempt_id, "charged": charged, "late": late, **columns_of(ending)})


def complete(db: Database, grant: Grant, ending: Ending) -> None:
    """End the attempt and delete its message: the work is done."""
    values = {"message_id": grant.message_id, "attempt_id": grant.attempt_id, "charged": False, "late": False}
    db.execute(COMPLETE, {**values, **columns_of(ending)})


def complete_held(db: Database, accepted: Sequence[tuple[Grant, Ending]]) -> dict[int, bool]:
    """Lock the messages, end their attempts as successes and delete the messages, all in one statement.

    Returns, by the id of each attempt of which that is so, whether its upstream's breaker has something to learn even
    from a plain success. Nothing was written for the others: another grant or a settle came first.
    """
    # Everybody locks the messages in this order.
    in_order = sorted(accepted, key=lambda each: each[0].message_id)
    grants, endings = [grant for grant, _ in in_order], [columns_of(ending) for _, ending in in_order]
    values = {
        "message_ids": [grant.message_id for grant in grants],
        "fences": [grant.fence for grant in grants],
        "attempt_ids": [grant.attempt_id for grant in grants],
        "answered": [ending["answered"] for ending in endings],
        "http_statuses": [ending["http_status"] for ending in endings],
        "error_classes": [ending["error_class"] for ending in endings],
        "error_details": [ending["error_detail"] for ending in endings],
        "upstream_ids": [ending["upstream_ids"] for ending in endings],
    }
    return {row.id: row.troubled for row in db.execute(COMPLETE_HELD, values)}


def columns_of(ending: Ending) -> dict[str, Any]:
    """An ending as the columns of its attempt's row."""
    return {
        "status": ending.status,
        "answered": ending.answered,
        "http_status": ending.http_status,
        "error_class": ending.error_class,
        "error_detail": ending.error_detail,
        "upstream_ids": json.dumps(ending.upstream_ids),
    }


def postpone(
    db: Database,
    grant: Grant,
    delay_seconds: float,
    *,
    charged: bool = False,
    unresolved_why: str | None = None,
    resolved: bool = False,
    not_found: int = 0,
    look_ups: int = 0,
) -> None:
    """Enqueue the message again, due after `delay_seconds`. With no delay, relays are woken when the caller commits.

    `unresolved_why` opens the question whether the write happened, `resolved` closes it. `not_found` and `look_ups`
    are what the message counts from now on.
    """
    db.execute(
        POSTPONE,
        {
            "message_id": grant.message_id,
            "delay": delay_seconds,
            "charged": charged,
            "why": unresolved_why,
            "resolved": resolved,
            "not_found": not_found,
            "look_ups": look_ups,
        },
    )
    if delay_seconds <= 0:
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))


def park(
    db: Database,
    grant: Grant,
    reason: str,
    *,
    new_fence: int,
    charged: bool = False,
    unresolved_why: str | None = None,
) -> None:
    """Park the message for a human, under a new fence so that no pointer out there can touch it. Written in history."""
    db.execute(
        PARK,
        {
            "message_id": grant.message_id,
            "new_fence": new_fence,
            "reason": reason,
            "charged": charged,
            "why": unresolved_why,
        },
    )
    subject, detail = (grant.subject_type, grant.subject_id), {"reason": reason}
    write_history(db, *subject, "message.parked", message_id=grant.message_id, detail=detail)


def siblings(db: Database, message_id: int) -> list[Sibling]:
    """Every attempt at a message, the present one and late answers included, oldest first."""
    rows = db.execute(
        text("""SELECT id, purpose, status, started_at, finished_at, upstream_ids
                  FROM outbox_attempts WHERE message_id = :id ORDER BY id"""),
        {"id": message_id},
    )
    return [Sibling(**row._mapping) for row in rows]


def status_of(db: Database, attempt_id: int) -> str:
    """An attempt's status. From it a settle whose COMMIT got no answer learns whether it landed.

    Raises NoResultFound when there is no such attempt.
    """
    return str(db.execute(text("SELECT status FROM outbox_attempts WHERE id = :id"), {"id": attempt_id}).scalar_one())


def count_writes(db: Database, subject_type: str, subject_id: str, job: str) -> Writes:
    """How the writes of this job for this subject were answered."""
    values = {"type": subject_type, "id": subject_id, "job": job}
    return Writes(**db.execute(WRITES, values).one()._mapping)


def answers(db: Database, subject_type: str, subject_id: str, job: str) -> list[dict[str, str]]:
    """What upstream answered to this job for this subject, in all its messages, oldest first: what `ids` kept of it."""
    values = {"type": subject_type, "id": subject_id, "job": job}
    return list(db.execute(ANSWERS, values).scalars())


def has_ended_with(db: Database, message_id: int, error_class: str) -> bool:
    """Whether a write of this message ended with this error."""
    return bool(db.execute(ENDED_WITH, {"message": message_id, "error": error_class}).scalar_one())


def count_kept(db: Database, name: str) -> int:
    """How many attempts keep something under this name."""
    return int(db.execute(COUNT_KEPT, {"name": name}).scalar_one())


def kept_after(db: Database, name: str, after: int, limit: int) -> list[tuple[int, str]]:
    """The next attempts after this id that keep something under this name, and what."""
    return [tuple(row) for row in db.execute(KEPT_AFTER, {"name": name, "after": after, "limit": limit})]


def kept_of(db: Database, name: str, ids: Sequence[int], lock: bool = False) -> list[tuple[int, str]]:
    """What these attempts keep under this name. With `lock`, those that nobody else has locked, locked."""
    query = text(KEPT_OF + (" FOR NO KEY UPDATE SKIP LOCKED" if lock else ""))
    return [tuple(row) for row in db.execute(query, {"name": name, "ids": list(ids)})]


def rewrite_kept(db: Database, attempt_id: int, name: str, value: str) -> None:
    """Keep this instead of what the attempt kept under this name. It must mean the same."""
    db.execute(REWRITE_KEPT, {"id": attempt_id, "name": name, "value": value})


def was_noted_before(db: Database, grant: Grant, what: str) -> bool:
    """Whether the history of the subject says `what` of the attempt right before this one. Such a row names its attempt
    as `attempt` in its detail."""
    names = ("subject_type", "subject_id", "message_id", "attempt_id")
    values = {name: getattr(grant, name) for name in names}
    return bool(db.execute(NOTED_BEFORE, {**values, "what": what}).scalar_one())


def record_late(db: Database, grant: Grant, ending: Ending) -> bool:
    """Keep an answer whose fence is gone on its own attempt. A message that waits for a look-up is due at once.

    False, with nothing written, when the attempt is already settled as a success. Written in history.
    """
    message = db.execute(
        text("SELECT state FROM outbox_messages WHERE id = :id FOR UPDATE"), {"id": grant.message_id}
    ).one_or_none()
    status = db.execute(
        text("SELECT status FROM outbox_attempts WHERE id = :id FOR UPDATE"), {"id": grant.attempt_id}
    ).scalar_one()
    if status == "success":
        return False
    finish(db, grant.attempt_id, ending, late=True)
    write_history(
        db,
        grant.subject_type,
        grant.subject_id,
        "attempt.answered_late",
        moved_from=status,
        moved_to=ending.status,
        message_id=grant.message_id,
        detail={"attempt": grant.attempt_id},
    )
    if message is not None and message.state == "later":
        db.execute(
            text("UPDATE outbox_messages SET state = 'ready', due_at = outbox_now() WHERE id = :id"),
            {"id": grant.message_id},
        )
        db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return True
