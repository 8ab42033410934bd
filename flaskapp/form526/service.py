"""Submitting a form: the same form is one submission, and once it is accepted each document is owed by itself."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.service import Identity, ensure_account, identity_of, remember_person
from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.crypto import vault
from flaskapp.current import database_now
from flaskapp.db import DbSession
from flaskapp.form526 import documents
from flaskapp.form526.attachments.named import named_files
from flaskapp.form526.models import Attachment, Submission
from flaskapp.form526.notifications import enqueue_form_notification
from flaskapp.form526.states import ACCEPTED, FAILED, PENDING, SUBMISSION, UNCONFIRMED
from flaskapp.intent_to_file import service as itf_service
from flaskapp.intent_to_file import upkeep as itf_upkeep
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.states import COMPENSATION, CONFIRMED
from flaskapp.notifications.service import supersede_notifications
from flaskapp.queues import ACCOUNTS, FORM526
from flaskapp.statemachine import Conflict
from outbox.write import add, write_history

SUBJECT = "form526_submission"
SUBMIT_JOB = "jobs.form526.submit_form"
IDENTIFY_JOB = "jobs.form526.identify_person"
DEADLINE_SECONDS = 24 * 3600.0
GIVE_UP_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True)
class SubmissionWork:
    """What submitting a form needs, copied out of its row."""

    id: uuid.UUID
    state: str
    account_id: uuid.UUID
    identity: Identity | None
    form: dict[str, Any]


def request_submission(session: DbSession, account_id: uuid.UUID, form: dict[str, Any]) -> Submission:
    """Find or create the submission of this form, with the message that files it, and claim its files.

    Insert and re-read are statements of their own, so however often and at once it is posted, it is one submission.
    """
    ensure_account(session, account_id)
    digest = vault().digest(json.dumps(form, sort_keys=True, ensure_ascii=False))
    itf = itf_service.find_valid(session, account_id, COMPENSATION)
    statement = (
        insert(Submission)
        .values(
            id=uuid.uuid4(),
            account_id=account_id,
            job_id=uuid.uuid4().hex,
            form=form,
            form_digest=digest,
            state=PENDING,
            itf_id=itf.id if itf is not None else None,
        )
        .on_conflict_do_nothing()
        .returning(Submission.id)
    )
    created = session.execute(statement).scalar_one_or_none()
    found = session.execute(select(Submission).filter_by(account_id=account_id, form_digest=digest)).scalar_one()
    if created is not None:
        claim_files(session, found)
        write_history(session, SUBJECT, str(found.id), "form526.requested", moved_to=PENDING, actor="person")
        enqueue_submission(session, found)
    elif found.state == FAILED:
        note_asked_again(session, found)
    return found


def claim_files(session: DbSession, submission: Submission) -> None:
    """The person's own files that this form names stay until their documents are done."""
    guids = [named.guid for named in named_files(submission.form) if named.guid is not None]
    session.execute(
        update(Attachment)
        .where(Attachment.guid.in_(guids), Attachment.account_id == submission.account_id)
        .values(submission_id=submission.id)
        .execution_options(synchronize_session=False)
    )


def note_asked_again(session: DbSession, submission: Submission) -> None:
    """The person came back after a failure: whoever holds the case should know."""
    submission.asked_again = Submission.asked_again + 1
    write_history(session, SUBJECT, str(submission.id), "form526.asked_again", actor="person")
    note_cases(session, SUBJECT, str(submission.id), "the person asked again", "person")


def enqueue_submission(session: DbSession, submission: Submission) -> None:
    """Enqueue the filing; while nobody has told us who the person is, owe that question first. No ITF is waited for."""
    known = identity_of(session, submission.account_id) is not None
    job, queue = (SUBMIT_JOB, FORM526) if known else (IDENTIFY_JOB, ACCOUNTS)
    add(
        session,
        job=job,
        queue=queue.name,
        upstream=queue.upstream,
        subject_type=SUBJECT,
        subject_id=str(submission.id),
        deadline_seconds=DEADLINE_SECONDS,
        give_up_seconds=GIVE_UP_SECONDS,
    )


def find_by_job(session: DbSession, account_id: uuid.UUID, job_id: str) -> Submission | None:
    """A person's own submission by what its client polls with."""
    return session.execute(select(Submission).filter_by(account_id=account_id, job_id=job_id)).scalar_one_or_none()


def find_own(session: DbSession, account_id: uuid.UUID, submission_id: uuid.UUID) -> Submission | None:
    statement = select(Submission).filter_by(account_id=account_id, id=submission_id)
    return session.execute(statement).scalar_one_or_none()


# -- working ------------------------------------------------------------------


def load_submission(session: DbSession, submission_id: str) -> SubmissionWork:
    row = session.get_one(Submission, uuid.UUID(submission_id))
    return SubmissionWork(row.id, row.state, row.account_id, identity_of(session, row.account_id), row.form)


def lock(session: DbSession, submission_id: str) -> Submission:
    statement = select(Submission).where(Submission.id == uuid.UUID(submission_id)).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one()


def record_identified(session: DbSession, submission_id: str, identity: Identity) -> None:
    row = lock(session, submission_id)
    remember_person(session, row.account_id, identity)
    if row.state == PENDING:
        enqueue_submission(session, row)


def finish(session: DbSession, row: Submission, target: str, notification: str, **detail: Any) -> None:
    SUBMISSION.check(row.state, target)
    now = database_now(session)
    moved_from, row.state, row.finished_at, row.notification = row.state, target, now, notification
    write_history(
        session,
        SUBJECT,
        str(row.id),
        "form526.moved",
        moved_from=moved_from,
        moved_to=target,
        actor="worker",
        detail={**detail, "notification": notification},
    )
    enqueue_form_notification(session, row)


def check_accepted(session: DbSession, submission_id: str, claim_id: int) -> None:
    """Raises Conflict for a claim id that is another submission's."""
    taken = session.execute(select(Submission.id).filter_by(claim_id=claim_id)).scalar_one_or_none()
    if taken is not None and str(taken) != submission_id:
        raise Conflict("the claim id is another submission's", claim_id=claim_id, submission=str(taken))


def record_accepted(session: DbSession, submission_id: str, claim_id: int) -> None:
    """It is filed: the state, one message a document, the e-mail, and the ITF it used, in one transaction."""
    row = lock(session, submission_id)
    if row.state != PENDING:
        return
    row.claim_id, row.unconfirmed = claim_id, False
    finish(session, row, ACCEPTED, "accepted")
    documents.begin(session, row, named_files(row.form))
    use_itf(session, row)
    close_ended(session, SUBJECT, submission_id, "accepted after all")


def use_itf(session: DbSession, row: Submission) -> None:
    """A confirmed ITF is used up by the claim. One in any other state goes its own way: nothing here needs it."""
    itf = session.get(IntentToFile, row.itf_id) if row.itf_id is not None else None
    if itf is not None and itf.state == CONFIRMED:
        itf_upkeep.mark_used(session, str(itf.id), "form526")


def record_failed(session: DbSession, submission_id: str, kind: str, details: dict[str, Any]) -> None:
    row = lock(session, submission_id)
    if row.state != PENDING:
        return
    row.refused, row.unconfirmed = kind == "refused", kind in UNCONFIRMED
    finish(session, row, FAILED, "unconfirmed" if row.unconfirmed else "failed", case=kind)
    open_case(session, kind, SUBJECT, submission_id, details)


# Form and ITF both late: the person's date is in doubt twice over, so their cases come before the others.
LATE_PAIRS = text("""
    UPDATE cases c
       SET priority = 1, notes = c.notes || jsonb_build_array(jsonb_build_object(
               'at', outbox_now(), 'by', 'system', 'note', 'form and intent to file are both late'))
      FROM form526_submissions s JOIN intents_to_file f ON f.id = s.itf_id
     WHERE c.closed_at IS NULL AND c.priority = 0
       AND (s.state = 'failed' OR (s.state = 'pending' AND s.requested_at < outbox_now() - interval '1 day'))
       AND (f.state = 'failed' OR f.past_midnight)
       AND ((c.subject_type = 'form526_submission' AND c.subject_id = s.id::text)
            OR (c.subject_type = 'intent_to_file' AND c.subject_id = f.id::text))
    RETURNING c.id
""")


def put_late_pairs_first(session: DbSession) -> int:
    """Raise the priority of open cases of a form and an ITF that are both late; how many."""
    return len(session.execute(LATE_PAIRS).all())


def reopen_submission(session: DbSession, submission_id: str, actor: str) -> None:
    """An operator's move: failed → pending, a new cycle of notices, the case still open until it is accepted."""
    row = lock(session, submission_id)
    if row.state != FAILED:
        return
    SUBMISSION.check(row.state, PENDING)
    row.state, row.finished_at, row.notification = PENDING, None, None
    row.cycle += 1
    write_history(session, SUBJECT, submission_id, "form526.moved", moved_from=FAILED, moved_to=PENDING, actor=actor)
    note_cases(session, SUBJECT, submission_id, "requeued", actor)
    supersede_notifications(session, SUBJECT, submission_id, "it is taken up again", actor)
