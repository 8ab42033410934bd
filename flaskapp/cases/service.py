"""Opening, noting and closing of cases. An opened case alerts somebody, in the same transaction that opens it."""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.models import Case
from flaskapp.clock import DAY_SECONDS, HOUR_SECONDS
from flaskapp.current import database_now, flows, settings
from flaskapp.db import DbSession
from flaskapp.flows import Subject, Work
from outbox import QueueSpec, prepared, write_history

ALERTS = QueueSpec("alerts", upstream="alert_webhook", threads=2, depth=50, concurrency=4)
log = logging.getLogger("flaskapp.cases")

SUBJECT = "case"
SEND_ALERT = Work(
    "jobs.alerts.send_alert", ALERTS, SUBJECT, deadline_seconds=HOUR_SECONDS, give_up_seconds=7 * DAY_SECONDS
)
CASE_SUBJECT = Subject(SUBJECT, case_owner=lambda config: config.case_owner_notification, overdue=False)
# A command in a playbook, and whose id it takes.
COMMAND = re.compile(r"`flask ([a-z-]+) [^`]*`")
ABOUT = {"documents": "form526_document", "itf": "intent_to_file", "webhooks": "webhook"}
ENDED = [name for name, kind in KINDS.items() if not kind.stays]

# What has been late since `{since}` and has no such case, or is late anew: beyond a date that was not reached when its
# case was closed, or for twice as long as then, and a day at least. Who closed it knew of the rest.
LATE_ANEW = """NOT EXISTS (
        SELECT 1 FROM cases c
         WHERE c.subject_type = {subject_type} AND c.subject_id = {subject_id} AND c.kind = '{kind}'
           AND (c.closed_at IS NULL
                OR ({since} <= c.closed_at
                    AND outbox_now() < c.closed_at + GREATEST(c.closed_at - {since}, interval '1 day'))))"""

OPEN = text("""
    INSERT INTO cases (id, kind, subject_type, subject_id, owner, priority, details, notes)
    VALUES (:id, :kind, :subject_type, :subject_id, :owner, :priority, CAST(:details AS jsonb), '[]')
    ON CONFLICT (subject_type, subject_id, kind) WHERE closed_at IS NULL DO NOTHING
    RETURNING id
""")
NOTE = text("""
    UPDATE cases SET notes = notes || jsonb_build_array(jsonb_build_object(
           'at', outbox_now(), 'by', CAST(:actor AS text), 'note', CAST(:note AS text)))
     WHERE subject_type = :subject_type AND subject_id = :subject_id AND closed_at IS NULL
    RETURNING id
""")
CLOSE_OF_SUBJECT = text("""
    UPDATE cases SET closed_at = outbox_now(), closed_by = :actor, resolution = :resolution
     WHERE subject_type = :subject_type AND subject_id = :subject_id AND closed_at IS NULL
       AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(:kinds))
       AND (CAST(:message AS text) IS NULL OR details ->> 'message' = :message)
    RETURNING id, kind
""")

CLOSE_OF_SUBJECTS = prepared("""
    UPDATE cases SET closed_at = outbox_now(), closed_by = 'system', resolution = :resolution
     WHERE subject_type = :subject_type AND subject_id = ANY(:subject_ids) AND closed_at IS NULL AND kind = ANY(:kinds)
    RETURNING id, kind, subject_id
""")


def late_anew(kind: str, *, subject_type: str, subject_id: str, since: str) -> str:
    """The SQL condition for opening a case of this kind about what has been late `since` then. All but the kind are
    SQL expressions."""
    return LATE_ANEW.format(kind=kind, subject_type=subject_type, subject_id=subject_id, since=f"({since})")


def owner_of(subject_type: str) -> str:
    """The default owner of a subject's cases: a required setting, so that every case has one."""
    return flows().subjects[subject_type].case_owner(settings())


def open_case(
    session: DbSession,
    kind: str,
    subject_type: str,
    subject_id: str,
    details: dict[str, Any] | None = None,
    *,
    owner: str | None = None,
) -> uuid.UUID | None:
    """Put a subject into a named human's hands, by default its owner's; None when such a case is open already. Details
    hold ids only."""
    owner = owner or owner_of(subject_type)
    values = {"id": uuid.uuid4(), "kind": kind, "subject_type": subject_type, "subject_id": subject_id}
    case_id = session.execute(
        OPEN, {**values, "owner": owner, "priority": 0, "details": json.dumps(details or {})}
    ).scalar_one_or_none()
    if case_id is None:
        return None
    write_history(session, subject_type, subject_id, "case.opened", detail={"case": str(case_id), "kind": kind})
    if KINDS[kind].alert:
        raise_alert(session, case_id, kind, subject_type, subject_id, owner)
    return case_id


def raise_alert(
    session: DbSession, case_id: uuid.UUID, kind: str, subject_type: str, subject_id: str, owner: str
) -> None:
    """An error-level event for the log, and a message of its own for the webhook, sent as surely as a claim."""
    extra = {"event": "case.opened", "case": str(case_id), "kind": kind, "owner": owner}
    log.error("case opened", extra={**extra, "subject_type": subject_type, "subject": subject_id})
    if settings().alert_webhook_url is not None:
        SEND_ALERT.enqueue(session, str(case_id))


def note_cases(session: DbSession, subject_type: str, subject_id: str, note: str, actor: str = "system") -> int:
    """Write a note on every open case of a subject; returns how many there are."""
    values = {"subject_type": subject_type, "subject_id": subject_id, "note": note, "actor": actor}
    return len(session.execute(NOTE, values).all())


class NoSuchCase(LookupError):
    """There is no open case with this id: it never was, or somebody closed it."""


def lock_open(session: DbSession, case_id: uuid.UUID) -> Case:
    """The open case, locked until the transaction ends. Raises NoSuchCase."""
    case = session.get(Case, case_id, with_for_update=True, populate_existing=True)
    if case is None or case.closed_at is not None:
        raise NoSuchCase("there is no such open case; somebody may have closed it")
    return case


def record_act(session: DbSession, case: Case, what: str, actor: str, **detail: Any) -> None:
    detail = {"case": str(case.id), "kind": case.kind, **detail}
    write_history(session, case.subject_type, case.subject_id, what, actor=actor, detail=detail)


def close_case(session: DbSession, case_id: uuid.UUID, actor: str, resolution: str) -> None:
    """Nobody has to do anything about this case any more, and why. Raises NoSuchCase, as the next two do."""
    case = lock_open(session, case_id)
    case.closed_at, case.closed_by, case.resolution = database_now(session), actor, resolution
    record_act(session, case, "case.closed", actor)


def assign_case(session: DbSession, case_id: uuid.UUID, actor: str, owner: str) -> None:
    case = lock_open(session, case_id)
    case.owner = owner
    record_act(session, case, "case.assigned", actor, owner=owner)


def note_case(session: DbSession, case_id: uuid.UUID, actor: str, note: str) -> None:
    """Write a note on every open case of this case's subject."""
    case = lock_open(session, case_id)
    record_act(session, case, "case.noted", actor)
    note_cases(session, case.subject_type, case.subject_id, note, actor)


def playbook(case: Case, message_id: int | None) -> str:
    """What to do about this case, with its own ids in the commands."""

    def filled(found: re.Match[str]) -> str:
        command = found[0]
        if message_id is not None:
            command = re.sub(r"\bMESSAGE\b", str(message_id), command)
        about = ABOUT.get(found[1])
        return re.sub(r"\bID\b", case.subject_id, command) if about == case.subject_type else command

    return COMMAND.sub(filled, KINDS[case.kind].to_do)


def close_cases(
    session: DbSession,
    subject_type: str,
    subject_id: str,
    resolution: str,
    *,
    kinds: list[str] | None = None,
    actor: str = "system",
    message_id: int | None = None,
) -> int:
    """Close a subject's open cases, of the given kinds or all, of one message or any; returns how many were closed."""
    values = {"subject_type": subject_type, "subject_id": subject_id, "resolution": resolution, "actor": actor}
    message = str(message_id) if message_id is not None else None
    rows = session.execute(CLOSE_OF_SUBJECT, {**values, "kinds": kinds, "message": message}).all()
    for row in rows:
        detail = {"case": str(row.id), "kind": row.kind}
        write_history(session, subject_type, subject_id, "case.closed", actor=actor, detail=detail)
    return len(rows)


def close_ended(
    session: DbSession,
    subject_type: str,
    subject_id: str,
    resolution: str,
    *,
    and_also: tuple[str, ...] = (),
    actor: str = "system",
) -> None:
    """A subject ended well: close the cases that this settles, in every flow alike, and those of kinds `and_also`."""
    close_cases(session, subject_type, subject_id, resolution, kinds=[*ENDED, *and_also], actor=actor)


def close_all_ended(session: DbSession, subject_type: str, subject_ids: Sequence[str], resolution: str) -> None:
    """The same for many subjects, mostly without any case, in one statement."""
    values = {"subject_type": subject_type, "subject_ids": list(subject_ids), "resolution": resolution, "kinds": ENDED}
    for row in session.execute(CLOSE_OF_SUBJECTS, values).all():
        detail = {"case": str(row.id), "kind": row.kind}
        write_history(session, subject_type, row.subject_id, "case.closed", detail=detail)
