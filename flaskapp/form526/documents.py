"""Documents of an accepted submission: each is enqueued, uploaded and polled, and at its end somebody is informed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from flask import url_for
from sqlalchemy import select

from flaskapp import subjects
from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.clock import DAY_SECONDS
from flaskapp.crypto import id_from
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession
from flaskapp.flows import Repair, Rule, States, Subject, Work
from flaskapp.form526.attachments.named import NamedFile
from flaskapp.form526.models import Attachment, DocumentSubmission, Submission
from flaskapp.form526.notifications import DOCUMENT as SUBJECT
from flaskapp.form526.notifications import compose_about_document
from flaskapp.form526.ptsd import ptsd_parts
from flaskapp.form526.states import (
    BDD,
    BENEFITS_GATEWAY,
    DOC_TYPES,
    DOCUMENT,
    DONE,
    EVIDENCE,
    FAILED,
    FORM_0781,
    FORM_0781A,
    MADE_NAMES,
    MISSING,
    PENDING,
)
from flaskapp.form526.words import words_of
from flaskapp.notifications.service import may_have_been_read, supersede_notifications
from flaskapp.statemachine import IllegalMove
from outbox import NOW, QueueSpec, write_history

# Each upload in flight holds a few MiB.
DOCUMENTS = QueueSpec("documents", upstream="lighthouse_documents", threads=16, depth=100, concurrency=50)
UPLOAD_WORK = Work("jobs.documents.upload_document", DOCUMENTS, SUBJECT, DAY_SECONDS, 30 * DAY_SECONDS)
FEWER_CHUNKS = """
    a.purged_at IS NULL
    AND (SELECT count(*) FROM form526_attachment_chunks c WHERE c.guid = a.guid) < a.chunks"""
OTHER_CORRESPONDENCE = "L023"
# The codes that Lighthouse knows (contract: benefits 4.2).
KNOWN_DOC_TYPES = {
    *("1489", "L014", "L015", "L018", "L023", "L029", "L033", "L034", "L037", "L048", "L049", "L051", "L070", "L102"),
    *("L107", "L115", "L117", "L133", "L139", "L149", "L159", "L222", "L228", "L229", "L418", "L450", "L451", "L478"),
    *("L702", "L703", "L827", "L1489"),
}

# What a docType code looks like: only this may be written where operators read it.
DOC_TYPE = re.compile("[A-Z]{0,2}[0-9]{1,5}")


def add_documents(session: DbSession, submission: Submission, files: Iterable[NamedFile]) -> None:
    """Add a document and a message for each: attached files, the forms made from the answers, the instructions."""
    named_or_made: list[NamedFile | str] = [*files, *kinds_to_make(submission.form or {})]
    for older_by, each in zip(range(len(named_or_made), 0, -1), named_or_made, strict=True):
        # One transaction has one time: a microsecond between them keeps their order. Should a restore from a backup
        # lose the row, it is made again with the same id, and so are the references of its notifications.
        placed = {"id": id_from(SUBJECT, submission.id, older_by), "created_at": NOW - timedelta(microseconds=older_by)}
        if isinstance(each, NamedFile):
            add_evidence(session, submission, each, placed)
        else:
            add_made(session, submission, each, placed)


def kinds_to_make(form: dict[str, Any]) -> list[str]:
    parts = ptsd_parts(form)
    wanted = {
        FORM_0781: parts.form_0781 is not None,
        FORM_0781A: parts.form_0781a is not None,
        BDD: settings().bdd_instructions == "always" or form.get("bdd_qualified") is True,
    }
    return [kind for kind, is_wanted in wanted.items() if is_wanted]


def add_evidence(session: DbSession, submission: Submission, named: NamedFile, placed: dict[str, Any]) -> None:
    """Add a file that the form names. One that we do not have fails at once: a human asks the person for it."""
    # The lock keeps the purge away until the document is committed that needs the file.
    lock = {"read": True, "key_share": True}
    attachment = session.get(Attachment, named.guid, with_for_update=lock) if named.guid is not None else None
    held = attachment is not None and attachment.account_id == submission.account_id and attachment.purged_at is None
    given = named.doc_type.strip().upper()
    doc_type = given if given in KNOWN_DOC_TYPES else OTHER_CORRESPONDENCE
    on_record = {"given_doc_type": recordable(given)} if given and given != doc_type else {}
    document = insert_document(
        session,
        submission,
        EVIDENCE,
        on_record,
        doc_type=doc_type,
        name=attachment.name if held and attachment is not None else named.name,
        attachment_guid=named.guid if held else None,
        **placed,
    )
    if held:
        enqueue_upload(session, document)
    else:
        why = "the form names a file that we do not hold"
        if named.guid is None:
            why = "the form names a file without the code of an upload"
        fail_document(session, document, MISSING, why, "worker", {"why": why, **on_record})


def recordable(given_doc_type: str) -> str:
    """The code, for history and cases; anything else that a form may have in its place is withheld."""
    return given_doc_type if DOC_TYPE.fullmatch(given_doc_type) else "[withheld]"


def add_made(session: DbSession, submission: Submission, kind: str, placed: dict[str, Any]) -> None:
    values = {"doc_type": DOC_TYPES[kind], "name": MADE_NAMES[kind], **placed}
    enqueue_upload(session, insert_document(session, submission, kind, **values))


def insert_document(
    session: DbSession, submission: Submission, kind: str, on_record: dict[str, str] | None = None, **values: Any
) -> DocumentSubmission:
    """Add the row of a document, and its history with what else is to be known of it."""
    marked = submission.synthetic_on
    document = DocumentSubmission(submission_id=submission.id, kind=kind, synthetic_on=marked, **values)
    session.add(document)
    session.flush()
    detail = {"kind": kind, "submission": str(submission.id), **(on_record or {})}
    write_history(session, SUBJECT, str(document.id), "document.enqueued", moved_to=PENDING, detail=detail)
    return document


def enqueue_upload(session: DbSession, document: DocumentSubmission) -> None:
    UPLOAD_WORK.enqueue(session, str(document.id))


def enqueue_next(session: DbSession, document: DocumentSubmission) -> None:
    """Enqueue what a pending document waits for: its upload or, once Lighthouse has it, its next poll."""
    if document.lighthouse_request_id is None:
        enqueue_upload(session, document)
    else:
        document.poll_due_at = database_now(session)


def of_submission(session: DbSession, submission_id: uuid.UUID) -> Sequence[DocumentSubmission]:
    """Every document of a submission: in the order in which the form names them, then those that we made."""
    statement = select(DocumentSubmission).filter_by(submission_id=submission_id)
    return session.execute(statement.order_by(DocumentSubmission.created_at, DocumentSubmission.id)).scalars().all()


def fail_document(
    session: DbSession,
    document: DocumentSubmission,
    step: str,
    error: str | None,
    actor: str,
    details: dict[str, Any] | None = None,
) -> None:
    """It did not arrive where it should: the state with its step, the e-mail, and a case, together."""
    DOCUMENT.check(document.lighthouse_status, FAILED)
    document.lighthouse_status, document.finished_at, document.poll_due_at = FAILED, NOW, None
    document.failed_step, document.upstream_error = step, error
    record_failure(session, document, actor, details or {})


def record_failure(session: DbSession, document: DocumentSubmission, actor: str, details: dict[str, Any]) -> None:
    """History, e-mail and case of a failed document. Unlinked and unconfirmed ones have cases of their own kinds."""
    document.notification = notification_of_failed(document)
    moved = {"step": document.failed_step, "notification": document.notification}
    write_move(session, document, PENDING, FAILED, actor, **moved)
    subjects.notify(session, DOCUMENT_SUBJECT, document)
    hold_failed(session, document, details)


def correct_failure(session: DbSession, document: DocumentSubmission, why: str) -> None:
    """A late answer shows that more is known of a failed document than the person was told, or less."""
    subjects.tell_again(session, DOCUMENT_SUBJECT, document, notification_of_failed(document), why)
    hold_failed(session, document, {"why": why})


def notification_of_failed(document: DocumentSubmission) -> str:
    return "document_unconfirmed" if document.unconfirmed else notification_of(document.failed_step)


def hold_failed(session: DbSession, document: DocumentSubmission, details: dict[str, Any]) -> None:
    kind = CASE_OF_STEP.get(document.failed_step or "", "document_failed")
    kind = "may_exist_upstream" if document.unconfirmed else kind
    about = {"submission": str(document.submission_id), "document": document.kind, "step": document.failed_step}
    open_case(session, kind, SUBJECT, str(document.id), {**details, **about})


def record_correction(session: DbSession, document: DocumentSubmission) -> None:
    """Lighthouse says now that a document arrived which it had called failed (contract: benefits 4.3)."""
    supersede_notifications(session, SUBJECT, str(document.id), "it arrived after all", "poll")
    document.cycle += 1
    record_arrival(session, document, "poll", moved_from=FAILED)


def record_arrival(
    session: DbSession, document: DocumentSubmission, actor: str, moved_from: str = PENDING, **detail: Any
) -> None:
    """History and cases of a document that arrived. Who was told that it had not is told that it did (contract:
    benefits 4.3)."""
    about = (SUBJECT, str(document.id))
    # Without a failure there was no e-mail: none is promised for a document that arrives.
    document.notification = "document_arrived" if may_have_been_read(session, *about) else None
    told = {"notification": document.notification} if document.notification else {}
    write_move(session, document, moved_from, DONE, actor, **detail, **told)
    if document.notification is not None:
        subjects.notify(session, DOCUMENT_SUBJECT, document)
    close_ended(session, *about, "it arrived")


def notification_of(failed_step: str | None) -> str:
    """The kind of e-mail for a failure at this step."""
    return NOTIFICATION_OF_STEP.get(failed_step or "", "document_failed")


# Only what we hold is sent again by us: a missing file the person is asked for.
NOTIFICATION_OF_STEP = {MISSING: "document_missing", BENEFITS_GATEWAY: "document_incomplete"}
CASE_OF_STEP = {MISSING: "document_missing", BENEFITS_GATEWAY: "document_in_efolder"}


def write_move(
    session: DbSession, document: DocumentSubmission, moved_from: str, moved_to: str, actor: str, **detail: Any
) -> None:
    write_history(
        session,
        SUBJECT,
        str(document.id),
        "document.moved",
        moved_from=moved_from,
        moved_to=moved_to,
        actor=actor,
        detail=detail,
    )


def reopen_document(session: DbSession, document_id: str, actor: str) -> None:
    """An operator wants it uploaded again: failed → pending, with a new cycle of notifications. The upload asks first
    what became of earlier ones.

    Raises IllegalMove when its bytes are gone: then it can only be delivered by hand.
    """
    document: DocumentSubmission = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
    if document.lighthouse_status != FAILED:
        return
    subjects.check_whole(document)
    attachment = session.get(Attachment, document.attachment_guid) if document.attachment_guid else None
    gone = attachment is None if document.kind == EVIDENCE else False
    if gone or (attachment is not None and attachment.purged_at is not None):
        raise IllegalMove("its bytes are gone: deliver it by hand")
    before = document.lighthouse_request_id
    document.lighthouse_status, document.finished_at, document.failed_step = PENDING, None, None
    document.lighthouse_request_id, document.upstream_error, document.notification = None, None, None
    document.started_at = document.ended_at = document.uploaded_at = None
    document.poll_due_at = document.poll_batch = None
    document.not_found_count = 0
    document.cycle += 1
    write_move(session, document, FAILED, PENDING, actor, earlier_request_id=before)
    note_cases(session, SUBJECT, document_id, "to be uploaded again", actor)
    supersede_notifications(session, SUBJECT, document_id, "it is taken up again", actor)


def deliver_by_hand(session: DbSession, document_id: str, actor: str, note: str) -> bool:
    """Staff brought it where it belongs: failed → done, and its cases are closed. False when it has not failed."""
    document: DocumentSubmission = subjects.lock(session, DOCUMENT_SUBJECT, document_id)
    if document.lighthouse_status != FAILED:
        return False
    document.lighthouse_status, document.finished_at, document.delivered_by = DONE, NOW, actor
    document.poll_due_at = None
    write_move(session, document, FAILED, DONE, actor, by="hand")
    supersede_notifications(session, SUBJECT, document_id, "it was delivered by hand", actor)
    close_ended(session, SUBJECT, document_id, f"delivered by hand: {note}", actor=actor)
    return True


DOCUMENT_SUBJECT = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_form526,
    states=States(
        DOCUMENT,
        DocumentSubmission,
        "lighthouse_status",
        began="created_at",
        watched="poll_due_at IS NOT NULL",
        account="(SELECT f.account_id FROM form526_submissions f WHERE f.id = submission_id)",
        owned="submission_id IN (SELECT f.id FROM form526_submissions f WHERE f.account_id = :account)",
    ),
    event="document",
    enqueue=enqueue_next,
    compose=compose_about_document,
    sentence=lambda session, row: words_of(row),
    status_url=lambda row: url_for("form526.show_documents", submission_id=row.submission_id),
    reopen=reopen_document,
    known_as=("lighthouse_request_id",),
    content=("name", "upstream_error"),
    needed="s.poll_due_at IS NOT NULL",
    # Watched: Lighthouse has it, and it is due to be polled. For one that arrived no notification was promised.
    accounted="""
             WHEN c.state = 'pending' AND c.poll_due_at IS NOT NULL THEN 'watched'
             WHEN c.state = 'done' THEN 'notified'""",
    rules=(
        Rule(
            "document_bytes_missing",
            "it is to be uploaded, but some of its bytes are missing",
            f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM form526_document_submissions d JOIN form526_attachments a ON a.guid = d.attachment_guid
                 WHERE d.id = CAST(s.id AS uuid) AND d.lighthouse_request_id IS NULL AND {FEWER_CHUNKS})""",
            Repair.LEAVE_TO_HUMAN,
        ),
    ),
)
