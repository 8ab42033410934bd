"""E-mails about a 526: what became of the form, and of a document that did not arrive."""

from __future__ import annotations

from datetime import datetime

from flaskapp.accounts.service import icn_of
from flaskapp.clock import legal_date
from flaskapp.current import settings
from flaskapp.db import DbSession
from flaskapp.flows import Content
from flaskapp.form526.attachments.store import obscured
from flaskapp.form526.models import DocumentSubmission, Submission
from flaskapp.form526.states import MADE_WORDS, REMOVED

# The sender under which VANotify's templates for forms and documents are configured.
SENDER = "form526"
FORM, DOCUMENT = "form526_submission", "form526_document"


def day_of(timestamp: datetime) -> str:
    """The legal day of a timestamp, as the e-mails write it."""
    return f"{legal_date(timestamp, settings().legal_time_zone):%B %-d, %Y}"


def recipient_of(session: DbSession, submission: Submission) -> dict[str, str]:
    return {"icn": icn_of(session, submission.account_id) or "", "phone": ""}


def compose_about_form(session: DbSession, submission: Submission) -> Content:
    """The e-mail that says what became of the form."""
    return Content(
        SENDER,
        recipient_of(session, submission),
        {"claim_id": str(submission.claim_id or ""), "submitted_date": day_of(submission.requested_at)},
    )


def compose_about_document(session: DbSession, document: DocumentSubmission) -> Content:
    """The e-mail about the document: a file of the person by its name, obscured because file names may contain names of
    people, and what we made by what it is."""
    submission = session.get_one(Submission, document.submission_id)
    named = MADE_WORDS.get(document.kind) or (obscured(document.name) if document.name is not None else REMOVED)
    return Content(
        SENDER,
        recipient_of(session, submission),
        {"file_name": named, "submitted_date": day_of(submission.requested_at)},
    )
