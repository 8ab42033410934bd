"""Polling of Lighthouse for what became of uploaded documents, a hundred at a time.

A tick puts due documents into batches, each with one message; the answer is recorded in two statements for each batch.
The time of polling is recorded for every document of it, changed or not, and one bad entry never spoils the others.
"""

from __future__ import annotations

import json
import logging
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from flaskapp.cases.service import close_cases, late_anew, open_case
from flaskapp.clock import HOUR_SECONDS
from flaskapp.current import settings
from flaskapp.db import DbSession, is_outage
from flaskapp.flows import Subject, Work
from flaskapp.form526.documents import (
    DOCUMENTS,
    SUBJECT,
    notification_of,
    record_arrival,
    record_correction,
    record_failure,
)
from flaskapp.form526.models import DocumentSubmission
from flaskapp.form526.states import DONE
from flaskapp.upstreams.lighthouse.documents import DocumentStatus, Statuses

log = logging.getLogger("flaskapp.form526.polling")

POLL = "document_poll"
# Given up after a day: by then the next cycle has put its documents into new batches.
POLL_WORK = Work("jobs.documents.poll_statuses", DOCUMENTS, POLL, 2 * HOUR_SECONDS, 24 * HOUR_SECONDS)
POLL_SUBJECT = Subject(POLL, case_owner=lambda config: config.case_owner_form526, overdue=False, of_several=True)
BATCH = 100
NOT_FOUND_POLLS = 3

ASSIGN_BATCH = text("""
    WITH due AS (
        SELECT id, poll_batch IS NOT NULL AS unanswered
          FROM form526_document_submissions WHERE poll_due_at <= outbox_now()
         ORDER BY poll_due_at LIMIT :size FOR UPDATE SKIP LOCKED)
    UPDATE form526_document_submissions d
       SET poll_batch = :batch,
           poll_due_at = CASE d.lighthouse_status
               WHEN 'pending' THEN outbox_now() + make_interval(secs => 60 * :minutes)
               ELSE (SELECT min(d.finished_at + make_interval(days => day)) FROM unnest(CAST(:days AS int[])) day
                      WHERE d.finished_at + make_interval(days => day) > outbox_now()) END
      FROM due WHERE d.id = due.id
    RETURNING d.id, due.unanswered
""")
DEAL_AGAIN = text("UPDATE form526_document_submissions SET poll_batch = :new WHERE id = ANY(:ids)")
REASSIGN_BATCH = text("""
    UPDATE form526_document_submissions SET poll_batch = :new
     WHERE poll_batch = :batch AND lighthouse_request_id = ANY(:requests)
""")
# One statement for each batch: it changes only documents that are still pending, and still in this batch.
RECORD_STATUSES = text("""
    UPDATE form526_document_submissions d
       SET last_polled_at = outbox_now(), poll_batch = NULL,
           not_found_count = CASE WHEN v.word = 'not_found' THEN d.not_found_count + 1 ELSE 0 END,
           started_at = COALESCE(v.started_at, d.started_at), ended_at = COALESCE(v.ended_at, d.ended_at),
           upstream_error = COALESCE(v.error, d.upstream_error),
           lighthouse_status = CASE v.word WHEN 'success' THEN 'done' WHEN 'failed' THEN 'failed' ELSE 'pending' END,
           failed_step = CASE WHEN v.word = 'failed' THEN v.step END,
           notification = CASE WHEN v.word = 'failed' THEN v.notification END,
           finished_at = CASE WHEN v.word IN ('success', 'failed') THEN outbox_now() END,
           poll_due_at = CASE v.word WHEN 'success' THEN NULL
                                     WHEN 'failed' THEN outbox_now() + make_interval(days => CAST(:first_day AS int))
                                     ELSE d.poll_due_at END
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(
               request_id bigint, word text, step text, notification text, error text,
               started_at timestamptz, ended_at timestamptz)
     WHERE d.lighthouse_request_id = v.request_id AND d.poll_batch = :batch AND d.lighthouse_status = 'pending'
    RETURNING d.id, v.word, d.not_found_count
""")
# Lighthouse corrects some failures later. Only a success is news: the person and a human know of the failure.
RECORD_CORRECTIONS = text("""
    UPDATE form526_document_submissions d
       SET last_polled_at = outbox_now(), poll_batch = NULL,
           lighthouse_status = CASE WHEN v.word = 'success' THEN 'done' ELSE 'failed' END,
           failed_step = CASE WHEN v.word = 'success' THEN NULL ELSE d.failed_step END,
           finished_at = CASE WHEN v.word = 'success' THEN outbox_now() ELSE d.finished_at END,
           poll_due_at = CASE WHEN v.word = 'success' THEN NULL ELSE d.poll_due_at END
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS v(request_id bigint, word text)
     WHERE d.lighthouse_request_id = v.request_id AND d.poll_batch = :batch AND d.lighthouse_status = 'failed'
    RETURNING d.id, v.word
""")
# Older than ten days and still on its way: somebody should ask Lighthouse. One that is uploaded again begins anew.
STUCK_SINCE = "COALESCE(d.uploaded_at, d.created_at) + interval '10 days'"
STILL_STUCK = late_anew("document_stuck", subject_type="'form526_document'", subject_id="d.id::text", since=STUCK_SINCE)
STUCK = text(f"""
    SELECT d.id::text, d.submission_id::text AS submission FROM form526_document_submissions d
     WHERE d.lighthouse_status = 'pending' AND d.created_at < outbox_now() - interval '10 days'
       AND {STUCK_SINCE} < outbox_now() AND (d.uploaded_at IS NOT NULL OR d.cycle = 1)
       AND {STILL_STUCK}
     ORDER BY d.created_at LIMIT 200
""")
OF_BATCH = text("SELECT id::text FROM form526_document_submissions WHERE poll_batch = :batch")
# Cases that an answer we can read closes, whether the document is there or not yet.
DOUBTS = ["document_not_found", "document_unclear", "unsettled"]
DOUBTED = text("""
    SELECT DISTINCT subject_id FROM cases
     WHERE subject_type = 'form526_document' AND closed_at IS NULL AND kind = ANY(:kinds) AND subject_id = ANY(:ids)
""")
UNKNOWN_STEP = "UNKNOWN"


@dataclass(frozen=True)
class Batch:
    """The request ids of one poll."""

    id: uuid.UUID
    request_ids: tuple[int, ...]


@dataclass(frozen=True)
class NoneOfThem:
    """Lighthouse knew none of a batch. Which of them it really does not know, only smaller polls show."""

    request_ids: tuple[int, ...]


Reply = Statuses | NoneOfThem


def enqueue_poll(session: DbSession) -> int:
    """Put due documents into batches, each with the message that polls it; returns how many documents there are.

    Those whose last poll got no answer are polled apart, in two halves that chance makes: one of them may be what
    Lighthouse fails on, and must not keep the others waiting for longer than a few cycles.
    """
    batch = uuid.uuid4()
    config = settings()
    values = {"size": BATCH, "batch": batch, "minutes": config.document_poll_minutes}
    values["days"] = list(config.document_ask_again_days)
    assigned = session.execute(ASSIGN_BATCH, values).all()
    doubted = [row.id for row in assigned if row.unanswered]
    random.shuffle(doubted)
    batches = [batch] if len(doubted) < len(assigned) else []
    for half in filter(None, (doubted[::2], doubted[1::2])):
        batches.append(uuid.uuid4())
        session.execute(DEAL_AGAIN, {"new": batches[-1], "ids": half})
    for each in batches:
        POLL_WORK.enqueue(session, str(each))
    return len(assigned)


def load_batch(session: DbSession, batch_id: str) -> Batch | None:
    """What is left of a batch; None when a later cycle has taken it over."""
    statement = (
        select(DocumentSubmission.lighthouse_request_id)
        .where(DocumentSubmission.poll_batch == uuid.UUID(batch_id), DocumentSubmission.lighthouse_status != DONE)
        .order_by(DocumentSubmission.lighthouse_request_id)
    )
    found = [request for request in session.execute(statement).scalars() if request is not None]
    return Batch(uuid.UUID(batch_id), tuple(found)) if found else None


def record_reply(session: DbSession, batch_id: str, reply: Reply) -> None:
    """Record the poll of every document of the batch, and what changed. An unknown batch is polled again by halves.

    So is a batch that cannot be recorded, until it is clear which of its documents is the cause: a human gets that one.
    """
    if isinstance(reply, NoneOfThem):
        return halve(session, batch_id, reply.request_ids)
    try:
        with session.begin_nested():
            record_statuses(session, batch_id, reply)
    except Exception as error:
        if is_outage(error):
            raise
        log.exception("poll not recorded", extra={"event": "documents.poll_not_recorded", "batch": batch_id})
        if len(requested(reply)) > 1:
            return halve(session, batch_id, requested(reply))
        hold_unrecorded(session, batch_id, error)
    return None


def hold_unrecorded(session: DbSession, batch_id: str, error: Exception) -> None:
    """Open a case for what is left of the batch. The next cycle polls it again."""
    for row in session.execute(OF_BATCH, {"batch": uuid.UUID(batch_id)}).all():
        open_case(session, "unsettled", SUBJECT, row.id, {"batch": batch_id, "error": type(error).__name__})


def record_statuses(session: DbSession, batch_id: str, reply: Statuses) -> None:
    rows = json.dumps([row_of(request_id, reply) for request_id in requested(reply)])
    values = {"rows": rows, "batch": uuid.UUID(batch_id)}
    # Before the others: one that fails just now is not asked about again in the same breath.
    for row in session.execute(RECORD_CORRECTIONS, values).all():
        if row.word == "success":
            record_correction(session, session.get_one(DocumentSubmission, row.id, populate_existing=True))
    first_day = next(iter(settings().document_ask_again_days), None)
    changed = session.execute(RECORD_STATUSES, {**values, "first_day": first_day}).all()
    end_doubts(session, [str(row.id) for row in changed if row.word in ("pending", "failed")])
    for row in changed:
        follow(session, str(row.id), row.word, row.not_found_count)


def end_doubts(session: DbSession, document_ids: list[str]) -> None:
    """Close the cases that say that Lighthouse gave no usable answer: now it did."""
    for row in session.execute(DOUBTED, {"kinds": DOUBTS, "ids": document_ids}).all():
        close_cases(session, SUBJECT, row.subject_id, "Lighthouse reports it again", kinds=DOUBTS)


def halve(session: DbSession, batch_id: str, request_ids: Sequence[int]) -> None:
    middle = (len(request_ids) + 1) // 2
    for half in (request_ids[:middle], request_ids[middle:]):
        new = uuid.uuid4()
        session.execute(REASSIGN_BATCH, {"new": new, "batch": uuid.UUID(batch_id), "requests": list(half)})
        POLL_WORK.enqueue(session, str(new))


def requested(reply: Statuses) -> list[int]:
    return sorted({*reply.found, *reply.not_found, *reply.unreadable})


def row_of(request_id: int, reply: Statuses) -> dict[str, Any]:
    """What one entry means: success, failed, pending, not_found or unclear. Never more than the answer said."""
    status = reply.found.get(request_id)
    if status is None:
        return {"request_id": request_id, "word": "not_found" if request_id in reply.not_found else "unclear"}
    words = {"success": "success", "failed": "failed", "in_progress": "pending"}
    return {
        "request_id": request_id,
        "word": words.get(status.state, "unclear"),
        "step": step_of(status),
        "notification": notification_of(step_of(status)),
        "error": status.error,
        "started_at": written(status.started_at),
        "ended_at": written(status.ended_at),
    }


def step_of(status: DocumentStatus) -> str:
    """Where it failed: the step that the answer names, else the one that it calls failed, else unknown."""
    failed = [name for name, state in status.step_states.items() if state == "FAILED"]
    return status.failed_step or (failed[0] if failed else UNKNOWN_STEP)


def written(timestamp: datetime | None) -> str | None:
    return timestamp.isoformat() if timestamp is not None else None


def follow(session: DbSession, document_id: str, word: str, not_found: int) -> None:
    """History, e-mail and cases of one document, after its row was updated."""
    if word == "pending" or (word == "not_found" and not_found < NOT_FOUND_POLLS):
        return
    document = session.get_one(DocumentSubmission, uuid.UUID(document_id), populate_existing=True)
    if word == "success":
        record_arrival(session, document, "poll")
    elif word == "failed":
        record_failure(session, document, "poll", {})
    else:
        kind = "document_not_found" if word == "not_found" else "document_unclear"
        open_case(session, kind, SUBJECT, document_id, {"submission": str(document.submission_id)})


def find_stuck(session: DbSession) -> Sequence[Any]:
    """Documents that are stuck and never had a case for it: `id` and `submission`."""
    return session.execute(STUCK).all()
