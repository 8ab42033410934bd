"""Attempts at a message: each is granted under the message's fence and settled under the same fence.

`grant` commits by itself. Every other function works in the caller's transaction and never commits. An error of
Postgres is raised as SQLAlchemy's `DBAPIError`.

A settle locks its message first, then the flow's own rows and the attempt: nobody else touches those while the message
is locked. A worker whose fence is gone changes nothing but its own attempt, through `record_late`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from outbox.columns import in_state
from outbox.connections import connect_autocommit
from outbox.eras import DOUBTED
from outbox.holds import IN_FORCE
from outbox.values import Ending, Grant, Sibling
from outbox.write import DECIDED, DURABLY, RESTORED, WAKE_CHANNEL, Database, write_history

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

GRANT = text(f"""
    WITH granted AS (
        UPDATE outbox_messages m
           SET state = 'running', worker_id = :worker_id,
               lease_expires_at = outbox_now() + make_interval(secs => :lease)
         WHERE m.id = :message_id AND m.fence = :fence AND {in_state("published", column="m.state")}
           AND (m.upstream IS NULL OR EXISTS (
                SELECT 1 FROM outbox_breakers b
                 WHERE b.upstream = m.upstream AND (b.open_until IS NULL
                    OR b.open_until <= outbox_now() AND (b.probe_message_id, b.probe_fence) = (m.id, m.fence))))
           AND ({IN_FORCE.format(upstream="m.upstream")}) IS NULL
           AND NOT {DOUBTED}
        RETURNING m.*
    ), tried AS (
        INSERT INTO outbox_attempts
            (message_id, fence, subject_type, subject_id, job, upstream, purpose, worker_id)
        SELECT id, fence, subject_type, subject_id, job, upstream,
               CASE WHEN NOT :writes THEN 'read' WHEN unresolved_since IS NOT NULL THEN 'look_up' ELSE 'write' END,
               :worker_id
          FROM granted
        RETURNING id, message_id, purpose, started_at
    )
    SELECT granted.*, tried.id AS attempt_id, tried.purpose, tried.started_at, {FIRST.format(message="granted.id")},
           lost.restored_to, lost.lost_at,
           CASE WHEN :writes THEN {DURABLY} ELSE set_config('synchronous_commit', 'off', true) END
      FROM granted JOIN tried ON tried.message_id = granted.id {LOST_TIME.format(message="granted")}
""")

# A pointer that met an open breaker: its message waits in Postgres again, where waiting costs nothing.
TURN_BACK = text(f"""
    UPDATE outbox_messages SET state = 'ready'
     WHERE id = :message_id AND fence = :fence AND {in_state("published")}
""")

LOCK_MESSAGE = text(f"""
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
COMPLETE = text(f"WITH done AS (DELETE FROM outbox_messages WHERE id = :message_id) {FINISH}")
# The same where nothing was read under the message's lock before: the deletion compares the fence, and locks first.
FINISH_HELD = FINISH.replace("WHERE id = :attempt_id", "WHERE id = :attempt_id AND EXISTS (SELECT 1 FROM done)")
COMPLETE_HELD = text(f"""
    WITH done AS (
        DELETE FROM outbox_messages
         WHERE id = :message_id AND fence = :fence AND {in_state("running")} RETURNING id
    )
    {FINISH_HELD}, EXISTS (
        SELECT 1 FROM outbox_breakers b
         WHERE b.upstream = :upstream AND (b.opened_at IS NOT NULL OR b.unanswered <> '{{}}')) AS troubled
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

# Writes of one job, by how they ended.
WRITES = text("""
    SELECT count(*) FILTER (WHERE status = 'unknown') AS lost, count(*) FILTER (WHERE status = 'try') AS at_hand,
           count(*) FILTER (WHERE status = 'success') AS accepted,
           count(DISTINCT upstream_ids ->> 'digest') FILTER (WHERE status = 'success' AND message_id = last) AS taken
      FROM (SELECT *, max(message_id) OVER () AS last FROM outbox_attempts
             WHERE subject_type = :type AND subject_id = :id AND job = :job AND purpose = 'write') writes
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

GRANT_FIELDS = tuple(name for name in Grant.__dataclass_fields__ if name != "message_id")


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


@dataclass(frozen=True)
class Completed:
    """`troubled`: the upstream's breaker has something to learn even from a plain success."""

    troubled: bool


def read_grant(row: Any) -> Grant:
    """The Grant that a row of GRANT or SEIZE stands for."""
    values = row._mapping
    return Grant(message_id=values["id"], **{name: values[name] for name in GRANT_FIELDS})


def grant(
    engine: Engine, message_id: int, fence: int, *, worker_id: str, lease_seconds: float, writes: bool
) -> Grant | None:
    """Grant one attempt at a message for `lease_seconds`, committed before this returns, on a connection of its own.

    None for a pointer that is stale or doubled, and for one whose upstream is held or has its breaker open: that
    message waits in Postgres again. So does every message while the database seems to be restored from a backup.

    One statement, so it needs no BEGIN and no COMMIT of its own. For work that writes upstream (`writes`) its commit
    waits for the disk: with its `try` row we would lose the duty to look up first.
    """
    key = {"message_id": message_id, "fence": fence}
    with connect_autocommit(engine) as db:
        row = db.execute(GRANT, {**key, "worker_id": worker_id, "lease": lease_seconds, "writes": writes}).one_or_none()
        if row is None:
            db.execute(TURN_BACK, key)
            return None
        return read_grant(row)


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


def lock_message(db: Database, grant: Grant) -> bool:
    """Lock the message to the end of the caller's transaction. False when another grant or a settle came first."""
    return db.execute(LOCK_MESSAGE, {"message_id": grant.message_id, "fence": grant.fence}).one_or_none() is not None


def is_charged(db: Database, grant: Grant) -> bool:
    """Whether this attempt counts against the retry schedule.

    It does if the upstream has answered another message since our previous attempt (or since the budget began), so an
    outage charges nothing. Work without an upstream is always charged.
    """
    values = {
        "upstream": grant.upstream,
        "message_id": grant.message_id,
        "attempt_id": grant.attempt_id,
        "budget_from": grant.budget_from,
    }
    return grant.upstream is None or bool(db.execute(CHARGED, values).scalar_one())


def finish(db: Database, attempt_id: int, ending: Ending, *, charged: bool = False, late: bool = False) -> None:
    """Write how an attempt ended. Postpone or park its message in the same transaction."""
    db.execute(text(FINISH), {"attempt_id": attempt_id, "charged": charged, "late": late, **columns_of(ending)})


def complete(db: Database, grant: Grant, ending: Ending) -> None:
    """End the attempt and delete its message: the work is done."""
    values = {"message_id": grant.message_id, "attempt_id": grant.attempt_id, "charged": False, "late": False}
    db.execute(COMPLETE, {**values, **columns_of(ending)})


def complete_held(db: Database, grant: Grant, ending: Ending) -> Completed | None:
    """Lock the message, end the attempt and delete the message, all in one statement; None, with nothing written, when
    another grant or a settle came first."""
    keys = {"message_id": grant.message_id, "fence": grant.fence, "attempt_id": grant.attempt_id}
    values = {**keys, "upstream": grant.upstream, "charged": False, "late": False, **columns_of(ending)}
    row = db.execute(COMPLETE_HELD, values).one_or_none()
    return Completed(row.troubled) if row is not None else None


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
