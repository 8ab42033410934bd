"""E-mails about a 526: what became of the form, and of a document that did not arrive."""

from __future__ import annotations

import uuid
from datetime import datetime

from flaskapp.accounts.service import icn_of
from flaskapp.clock import legal_date
from flaskapp.current import settings
from flaskapp.db import DbSession
from flaskapp.form526.attachments.store import obscured
from flaskapp.form526.models import DocumentSubmission, Submission
from flaskapp.notifications.service import enqueue_notification

# The sender under which VANotify's templates for forms and documents are configured.
SENDER = "form526"
FORM, DOCUMENT = "form526_submission", "form526_document"


def day_of(timestamp: datetime) -> str:
    """The legal day of a timestamp, as the e-mails write it."""
    return f"{legal_date(timestamp, settings().legal_time_zone):%B %-d, %Y}"


def recipient_of(session: DbSession, submission: Submission) -> dict[str, str]:
    """Without an ICN the send is refused, and a human has to reach the person."""
    return {"icn": icn_of(session, submission.account_id) or "", "phone": ""}


def enqueue_form_notification(
    session: DbSession, submission: Submission, notification_id: uuid.UUID | None = None
) -> None:
    """Enqueue the e-mail that says what became of the form; `submission.notification` is its kind."""
    assert submission.notification is not None
    enqueue_notification(
        session,
        FORM,
        str(submission.id),
        submission.notification,
        notification_id=notification_id,
        cycle=submission.cycle,
        sender=SENDER,
        recipient=recipient_of(session, submission),
        personalisation={
            "claim_id": str(submission.claim_id or ""),
            "submitted_date": day_of(submission.requested_at),
        },
        channel="email",
    )


def enqueue_document_notification(
    session: DbSession, document: DocumentSubmission, notification_id: uuid.UUID | None = None
) -> None:
    """Enqueue the e-mail about the document, with its file name obscured: file names may contain names of people."""
    assert document.notification is not None
    submission = session.get_one(Submission, document.submission_id)
    enqueue_notification(
        session,
        DOCUMENT,
        str(document.id),
        document.notification,
        notification_id=notification_id,
        cycle=document.cycle,
        sender=SENDER,
        recipient=recipient_of(session, submission),
        personalisation={
            "file_name": obscured(document.name),
            "submitted_date": day_of(submission.requested_at),
        },
        channel="email",
    )
