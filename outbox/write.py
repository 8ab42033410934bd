"""Writes to the ledger: adding work, taking it back, and history.

Every function works in the caller's transaction and never commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

from sqlalchemy import TextClause, text

from outbox.statements import prepared

WAKE_CHANNEL = "outbox_ready"

# Part of a statement: the commit of this transaction waits for the disk and, where there is one, for the synchronous
# standby, whatever the role or the database says; `remote_apply` waits for more than that, and stays. Settings of one
# transaction also hold behind a pooler. As a part of a statement it costs no round trip.
DURABLY = """CASE WHEN current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
                THEN set_config('synchronous_commit', 'on', true) END"""


class Database(Protocol):
    """A SQLAlchemy Session or Connection with the caller's transaction open in it."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any: ...


# Why a question is open after a restore from a backup, before and after a human had it; and the setting of a
# transaction that passes it on.
RESTORED, DECIDED, IN_DOUBT = "restored", "decided", "outbox.in_doubt"
# Whether what is added may have happened in a time that the database lost, and since when that is over.
DOUBT = f"""
    CASE WHEN COALESCE(current_setting('{IN_DOUBT}', true), '') = 'yes'
              OR r.lost_at IS NOT NULL AND (:look_first OR EXISTS (
                    SELECT 1 FROM outbox_history h
                     WHERE h.subject_type = :about_type AND h.subject_id = {{about_id}} AND h.at < r.recorded_at))
         THEN r.lost_at END
"""
# Restores after which people may still file again what was lost. An aggregate: always one row.
IN_FORCE = """
    SELECT max(lost_at) AS lost_at, max(recorded_at) AS recorded_at FROM outbox_restores
     WHERE look_first_until > outbox_now()
"""

COMMIT_DURABLY = text(f"SELECT {DURABLY}")

# The id of the request that asked for this or, of work that follows from something, for that: its history begins with
# it.
ASKED_BY = """
    COALESCE(CAST(:request_id AS text), (
        SELECT h.detail ->> 'request_id' FROM outbox_history h
         WHERE h.subject_type = COALESCE(CAST(:about_type AS text), :subject_type)
           AND h.subject_id = COALESCE(CAST({about_id} AS text), {subject_id}) ORDER BY h.id LIMIT 1))
"""
MESSAGE = f"""
    INSERT INTO outbox_messages
        (job, args, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at,
         unresolved_since, unresolved_why, request_id)
    SELECT :job, CAST(:args AS jsonb), :queue, :upstream, :subject_type, {{subject_id}},
           CASE WHEN :delay > 0 THEN 'later' ELSE 'ready' END,
           outbox_now() + make_interval(secs => :delay),
           outbox_now() + make_interval(secs => :deadline),
           outbox_now() + make_interval(secs => :give_up),
           doubt.since, CASE WHEN doubt.since IS NOT NULL THEN '{RESTORED}' END, {ASKED_BY}
      FROM {{rows}}({IN_FORCE}) r, LATERAL (SELECT {DOUBT} AS since) doubt
     {{order}}
    ON CONFLICT (subject_type, subject_id, job) DO NOTHING
"""
ADD = prepared(f"""
    {MESSAGE.format(subject_id=":subject_id", about_id=":about_id", rows="", order="")}
    RETURNING id, CASE WHEN :delay <= 0 THEN pg_notify(:channel, '')::text END, {DURABLY}
""")
EACH = "unnest(CAST(:subject_ids AS text[]), CAST(:about_ids AS text[])) WITH ORDINALITY AS each (id, about, place), "
ADD_ALL = prepared(f"""
    {MESSAGE.format(subject_id="each.id", about_id="each.about", rows=EACH, order="ORDER BY each.place")}
    RETURNING id, CASE WHEN :delay <= 0 THEN pg_notify(:channel, '')::text END, {DURABLY}
""")

TAKE_BACK = text("""
    DELETE FROM outbox_messages
     WHERE subject_type = :subject_type AND subject_id = :subject_id
       AND state <> 'running' AND unresolved_since IS NULL
    RETURNING id
""")

HASTEN = text("""
    UPDATE outbox_messages SET state = 'ready', due_at = outbox_now()
     WHERE subject_type = :subject_type AND subject_id = :subject_id AND state = 'later'
    RETURNING pg_notify(:channel, '')::text
""")

WRITE_HISTORY = prepared(f"""
    INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor, message_id, detail)
    VALUES (:subject_type, :subject_id, :what, :moved_from, :moved_to, :actor, :message_id, CAST(:detail AS jsonb))
    RETURNING {DURABLY}
""")
WRITE_HISTORIES = prepared(f"""
    INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor, detail)
    SELECT :subject_type, each.id, :what, :moved_from, :moved_to, :actor, CAST(each.detail AS jsonb)
      FROM unnest(CAST(:subject_ids AS text[]), CAST(:details AS text[])) WITH ORDINALITY AS each (id, detail, place)
     ORDER BY each.place
    RETURNING {DURABLY}
""")


def commit_durably(db: Database) -> None:
    """Have the commit of the caller's transaction wait for the disk and for a synchronous standby, even where the role
    or the database says otherwise. Whatever writes to the ledger does that by itself."""
    db.execute(COMMIT_DURABLY, {})


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
    look_first: bool = False,
    about: tuple[str, str] | None = None,
    request_id: str | None = None,
) -> int | None:
    """Enqueue a piece of work and return its message id; relays are woken when the caller commits.

    None, with nothing added, when this job is outstanding for this subject already, in whatever state. The message
    exists until a settle completes it, so there is one row for each piece of outstanding work.

    `job` is the dotted path of the job; `args` hold ids only. It is due after `delay_seconds`. Its deadline orders the
    work of a queue. After `give_up_seconds` of wall-clock time it is given up, even while its breaker is open.

    In the time after a restore from a backup it is looked up before it is sent if it may have been sent before: where
    `look_first` says that it may be the same work once more, or where `about`, type and id of a subject, is older than
    the restore. `request_id` is that of the request that asked for it; without one, it is what the history of the
    subject, or of `about`, begins with.
    """
    about_type, about_id = about or (None, None)
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
            "look_first": look_first,
            "about_type": about_type,
            "about_id": about_id,
            "request_id": request_id,
        },
    ).scalar_one_or_none()
    return message_id


def add_all(
    db: Database,
    about: Mapping[str, str],
    *,
    job: str,
    queue: str,
    subject_type: str,
    about_type: str,
    deadline_seconds: float,
    give_up_seconds: float,
    upstream: str | None = None,
    look_first: bool = False,
) -> None:
    """As `add` for each subject, due at once, in one statement. `about` has the id of the subject of `about_type` that
    each of them follows from."""
    values = {"channel": WAKE_CHANNEL, "args": "[]", "delay": 0.0, "request_id": None, "look_first": look_first}
    limits = {"deadline": deadline_seconds, "give_up": give_up_seconds}
    whose = {"subject_type": subject_type, "subject_ids": list(about), "about_type": about_type}
    work = {"job": job, "queue": queue, "upstream": upstream, "about_ids": list(about.values())}
    db.execute(ADD_ALL, {**values, **limits, **whose, **work})


@cache
def beginning_with(rows: str) -> TextClause:
    return prepared(f"""
        WITH {rows},
             begun AS (
                INSERT INTO outbox_history (subject_type, subject_id, what, moved_to, actor, detail)
                SELECT :subject_type, id::text, :what, :moved_to, :actor, CAST(:detail AS jsonb) FROM subject),
             added AS ({MESSAGE.format(subject_id="subject.id::text", about_id=":about_id", rows="subject, ", order="")}
                      RETURNING 1)
        SELECT subject.*, pg_notify(:channel, '')::text, {DURABLY} FROM subject
    """)


def begin(
    db: Database,
    rows: str,
    values: Mapping[str, Any],
    *,
    what: str,
    moved_to: str,
    actor: str,
    job: str,
    queue: str,
    subject_type: str,
    deadline_seconds: float,
    give_up_seconds: float,
    upstream: str | None = None,
    look_first: bool = False,
    detail: dict[str, Any] | None = None,
) -> Any:
    """Insert a row of the caller's with the first row of its history and its message, in one statement: on a connection
    that commits by itself, that is the whole transaction, in one round trip.

    `rows` is what stands after WITH: `subject AS (INSERT ...)` with `values`, which returns the row's `id` and whatever
    else the caller wants back, and before it what that row needs. Where it inserts none, there is no history and no
    message, and the result is None. The message is as `add` makes it, due at once; `detail` is the history's.
    """
    more = {
        "channel": WAKE_CHANNEL,
        "what": what,
        "moved_to": moved_to,
        "actor": actor,
        "detail": json.dumps(detail or {}),
        "job": job,
        "args": "[]",
        "queue": queue,
        "upstream": upstream,
        "subject_type": subject_type,
        "delay": 0.0,
        "deadline": deadline_seconds,
        "give_up": give_up_seconds,
        "look_first": look_first,
        "about_type": None,
        "about_id": None,
        "request_id": (detail or {}).get("request_id"),
    }
    return db.execute(beginning_with(rows), {**values, **more}).one_or_none()


def take_back(db: Database, subject_type: str, subject_id: str) -> bool:
    """Delete the subject's messages that have had no effect upstream; returns whether there were any.

    One that is running, or whose last write may have happened, stays.
    """
    return bool(db.execute(TAKE_BACK, {"subject_type": subject_type, "subject_id": subject_id}).all())


def hasten(db: Database, subject_type: str, subject_id: str) -> None:
    """Have the subject's messages that wait for a later try tried at once."""
    db.execute(HASTEN, {"subject_type": subject_type, "subject_id": subject_id, "channel": WAKE_CHANNEL})


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


def write_histories(
    db: Database,
    subject_type: str,
    details: Mapping[str, Mapping[str, Any]],
    what: str,
    *,
    moved_from: str | None = None,
    moved_to: str | None = None,
    actor: str = "system",
) -> None:
    """Append a row for each of these subjects, to which the same happened, in one statement. `details` has the detail
    of each."""
    written = {"subject_ids": list(details), "details": [json.dumps(detail) for detail in details.values()]}
    move = {"moved_from": moved_from, "moved_to": moved_to}
    db.execute(WRITE_HISTORIES, {"subject_type": subject_type, "what": what, "actor": actor, **move, **written})
