"""Uploads of documents to Lighthouse: what an upload needs, and what its answer means."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from sqlalchemy import select

from flaskapp import subjects
from flaskapp.accounts.service import Identity, identity_of
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession
from flaskapp.form526.attachments.intake import stored_chunks
from flaskapp.form526.attachments.types import with_ending
from flaskapp.form526.documents import (
    DOCUMENT_SUBJECT,
    SUBJECT,
    UPLOAD_WORK,
    correct_failure,
    fail_document,
    record_arrival,
)
from flaskapp.form526.earlier import ARRIVED, Received, earlier_ids, received_from
from flaskapp.form526.models import Attachment, DocumentSubmission, Submission
from flaskapp.form526.ptsd import ptsd_parts
from flaskapp.form526.states import DONE, FORM_0781, FORM_0781A, NO_WORD, PENDING, REMOVED, UNCONFIRMED, UPLOAD
from flaskapp.statemachine import Conflict
from outbox import NOW, attempts

PDF = "application/pdf"
# Loaded by workers at their start, and by others only when a PDF is made: its libraries for fonts and pictures would be
# a fifth of every process's start, and 23 MB of its memory.
PDF_MAKING = "flaskapp.form526.pdf.making"


@dataclass(frozen=True)
class UploadWork:
    """What uploading a document needs, copied out of its rows; bytes are read while they are sent."""

    id: uuid.UUID
    status: str
    kind: str
    doc_type: str
    name: str
    request_id: int | None
    earlier_ids: tuple[int, ...]
    claim_id: int
    identity: Identity | None
    attachment_guid: uuid.UUID | None
    content_type: str
    size: int
    chunk_count: int
    made: bytes

    def chunks(self) -> Iterator[bytes]:
        """The bytes, chunk by chunk, from the beginning at every call."""
        if self.attachment_guid is None:
            return iter([self.made])
        return stored_chunks(self.attachment_guid, self.chunk_count)


def load_upload(session: DbSession, document_id: str) -> UploadWork:
    document = session.get_one(DocumentSubmission, uuid.UUID(document_id))
    submission = session.get_one(Submission, document.submission_id)
    assert submission.claim_id is not None
    attachment = session.get(Attachment, document.attachment_guid) if document.attachment_guid else None
    # Nothing is made of what was removed: it is not pending, and will not be uploaded.
    made = made_bytes(document.kind, submission.form) if attachment is None and submission.form is not None else b""
    name = document.name or REMOVED
    return UploadWork(
        id=document.id,
        status=document.lighthouse_status,
        kind=document.kind,
        doc_type=document.doc_type,
        name=name if attachment is None else with_ending(name, attachment.content_type),
        request_id=document.lighthouse_request_id,
        earlier_ids=earlier_ids(session, document_id),
        claim_id=submission.claim_id,
        identity=identity_of(session, submission.account_id),
        attachment_guid=document.attachment_guid,
        content_type=attachment.content_type if attachment is not None else PDF,
        size=attachment.size if attachment is not None else len(made),
        chunk_count=attachment.chunks if attachment is not None else 1,
        made=made,
    )


def made_bytes(kind: str, form: dict[str, Any]) -> bytes:
    """The PDF of a document that we make ourselves; the same answers make the same bytes."""
    parts, making = ptsd_parts(form), import_module(PDF_MAKING)
    made: bytes
    if kind == FORM_0781:
        made = making.form_0781(parts.form_0781 or {})
    elif kind == FORM_0781A:
        made = making.form_0781a(parts.form_0781a or {})
    else:
        made = making.bdd_instructions()
    return made


def check_uploaded(session: DbSession, document_id: str, received: Received) -> None:
    """Raises Conflict for another document's request id: with that, nobody could find out what became of this one."""
    request_id = received.request_id
    taken = select(DocumentSubmission.id).filter_by(lighthouse_request_id=request_id)
    other = session.execute(taken).scalar_one_or_none()
    if other is not None and str(other) != document_id:
        raise Conflict("Lighthouse gave it another document's request id", request_id=request_id, other=str(other))


def record_uploaded(session: DbSession, document_id: str, received: Received) -> None:
    """Lighthouse received it, no more: from here on it is polled. An earlier upload may turn out to have arrived."""
    document: DocumentSubmission = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
    if document.lighthouse_status != PENDING or document.lighthouse_request_id is not None:
        return
    now = database_now(session)
    document.possibly_twice = copies(session, document_id, received.beside) > 1
    document.lighthouse_request_id, document.uploaded_at = received.request_id, now
    detail = {"request_id": received.request_id, "possibly_twice": document.possibly_twice}
    what = "found" if received.found else "uploaded"
    subjects.note(session, DOCUMENT_SUBJECT, document_id, what, "worker", **detail)
    if received.found == ARRIVED:
        document.lighthouse_status, document.finished_at = DONE, NOW
        record_arrival(session, document, "worker", by="an earlier upload")
    else:
        document.poll_due_at = now + timedelta(minutes=settings().document_poll_minutes)


def record_upload_failed(session: DbSession, document_id: str, kind: str, details: dict[str, Any]) -> None:
    """It could not be uploaded, as far as we know: the person is informed, and a human has a case.

    Nobody knows if an upload went unanswered, however long ago, because no look-up can find it. Nor if Lighthouse calls
    it a duplicate, or received it before, whatever became of sending it again: a refusal too can mean that it has it
    (contract: benefits 4.1).
    """
    document: DocumentSubmission = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
    if document.lighthouse_status != PENDING:
        return
    found = writes(session, document_id)
    doubted = kind in (*UNCONFIRMED, "duplicate") or found.accepted
    if not doubted and not found.lost:
        fail_document(session, document, UPLOAD, kind, "worker", details)
        return
    document.possibly_twice = found.lost + (found.at_hand if kind in UNCONFIRMED else 0) > 1
    fail_document(session, document, NO_WORD, kind, "worker", details)


def reconsider_copies(session: DbSession, document_id: str) -> None:
    """An upload was answered late: with another id than the one that is polled, it is there twice; refused, it may be
    there only once. Of a failed one the person is then told anew what is known."""
    document: DocumentSubmission = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
    told = document.unconfirmed
    twice = copies(session, document_id, beside_polled(session, document)) > 1
    if document.lighthouse_request_id is None or document.possibly_twice == twice:
        return
    document.possibly_twice = twice
    subjects.note(session, DOCUMENT_SUBJECT, document_id, "reconsidered", "worker", possibly_twice=twice)
    if document.unconfirmed != told:
        correct_failure(session, document, "an upload was answered late")


def copies(session: DbSession, document_id: str, beside: int) -> int:
    """How many uploads of it Lighthouse may hold: those that it answered, those that ended without an answer, and
    `beside` of earlier messages."""
    found = writes(session, document_id)
    return found.lost + found.taken + beside


def beside_polled(session: DbSession, document: DocumentSubmission) -> int:
    """How many earlier uploads may have arrived beside the one that is polled, as it was found when that was sent."""
    kept = attempts.answers(session, SUBJECT, str(document.id), UPLOAD_WORK.path)
    of_polled = [answer for answer in kept if answer["request"] == str(document.lighthouse_request_id)]
    return received_from(of_polled[-1]).beside if of_polled else 0


def writes(session: DbSession, document_id: str) -> attempts.Writes:
    """How its uploads were answered, over all its cycles; one that is not settled yet counts as `at_hand`."""
    return attempts.count_writes(session, SUBJECT, document_id, UPLOAD_WORK.path)
