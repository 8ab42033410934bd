"""Submissions of Form 526: the same form is one submission, and once it is accepted each document has its own work."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from flask import url_for
from sqlalchemy import or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from flaskapp import subjects
from flaskapp.accounts.service import ACCOUNTS, Identity, ensure_account, identity_of, remember_person
from flaskapp.cases.service import close_ended, note_cases
from flaskapp.clock import DAY_SECONDS
from flaskapp.crypto import id_from, vault
from flaskapp.db import DbSession
from flaskapp.flows import Repair, Rule, States, Subject, Work
from flaskapp.form526 import documents
from flaskapp.form526.attachments.named import named_files
from flaskapp.form526.models import Attachment, Submission, form_parts
from flaskapp.form526.notifications import compose_about_form
from flaskapp.form526.states import ACCEPTED, FAILED, PENDING, SUBMISSION, UNCONFIRMED, words_of_submission
from flaskapp.intent_to_file import service as itf_service
from flaskapp.intent_to_file import upkeep as itf_upkeep
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.states import COMPENSATION, CONFIRMED
from flaskapp.keys.digests import StoredDigests, stored_digests
from flaskapp.statemachine import Conflict
from outbox import QueueSpec, sql

FORM526 = QueueSpec("form526", upstream="form526", threads=16, depth=100, concurrency=50)
SUBJECT = "form526_submission"
SUBMIT = Work("jobs.form526.submit_form", FORM526, SUBJECT, DAY_SECONDS, 30 * DAY_SECONDS, look_first=True)
IDENTIFY = Work("jobs.form526.identify_person", ACCOUNTS, SUBJECT, DAY_SECONDS, 30 * DAY_SECONDS)


@dataclass(frozen=True)
class SubmissionWork:
    """What submitting a form needs, copied out of its row."""

    id: uuid.UUID
    state: str
    account_id: uuid.UUID
    identity: Identity | None
    form: dict[str, Any]


def request_submission(session: DbSession, account_id: uuid.UUID, form: dict[str, Any]) -> Submission | None:
    """Find or create the submission of this form, with the message that files it, and claim its files. None instead of
    a new one for somebody who is nobody in VA's records; the cases of their failed forms say that they asked again.

    Insert and re-read are statements of their own, so however often and at once it is posted, it is one submission.
    Raises TooManyOpen for a new form of an account of which too many are being filed.
    """
    ensure_account(session, account_id)
    digests = stored_digests(session)
    if subjects.is_promised_in_vain(session, FORM, account_id):
        return asked_in_vain(session, account_id, form)
    found = find_same(session, account_id, form) if digests.look_first else None
    if found is None:
        found, created = insert_submission(session, account_id, form, digests)
        if created:
            return found
    if found.state == FAILED:
        subjects.note_requested_again(session, FORM, found)
    return found


def insert_submission(
    session: DbSession, account_id: uuid.UUID, form: dict[str, Any], digests: StoredDigests
) -> tuple[Submission, bool]:
    """The submission of this form, and whether it was created here, with its message and its files."""
    itf = itf_service.find_valid(session, account_id, COMPENSATION)
    digest = digests.of(*form_parts(form))
    statement = (
        insert(Submission)
        .values(
            id=id_from(SUBJECT, account_id, digest),
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
    found = find_same(session, account_id, form)
    assert found is not None
    if created is not None:
        if not subjects.is_within_limit(session, FORM, found):
            raise subjects.TooManyOpen
        claim_files(session, found)
        subjects.begin(session, FORM, found)
        note_on_failed(session, found)
        enqueue_submission(session, found)
    return found, created is not None


def find_same(session: DbSession, account_id: uuid.UUID, form: dict[str, Any]) -> Submission | None:
    """This account's submission of this very form."""
    statement = select(Submission).where(
        Submission.account_id == account_id, Submission.form_digest.in_(vault().digests(*form_parts(form)))
    )
    return session.execute(statement.order_by(Submission.requested_at).limit(1)).scalar_one_or_none()


def asked_in_vain(session: DbSession, account_id: uuid.UUID, form: dict[str, Any]) -> Submission | None:
    """This form, if it was posted before; a failed form of theirs, this or the latest, is noted as requested again."""
    forms = select(Submission).filter_by(account_id=account_id)
    same = find_same(session, account_id, form)
    latest = forms.filter_by(state=FAILED).order_by(Submission.requested_at.desc()).limit(1)
    noted = same or session.execute(latest).scalar_one_or_none()
    if noted is not None and noted.state == FAILED:
        subjects.note_requested_again(session, FORM, noted)
    return same


def note_on_failed(session: DbSession, newer: Submission) -> None:
    """The cases of the person's failed forms name the newer one: requeuing an older form would make a second claim."""
    failed = select(Submission.id).filter_by(account_id=newer.account_id, state=FAILED)
    for submission_id in session.execute(failed).scalars().all():
        note_cases(session, SUBJECT, str(submission_id), f"the person filed a newer form: {newer.id}", "person")


def find_newer(session: DbSession, row: Submission) -> uuid.UUID | None:
    """The person's latest form after this one, unless that certainly failed: only the same form is one submission."""
    later = select(Submission.id).where(
        Submission.account_id == row.account_id,
        Submission.requested_at > row.requested_at,
        or_(Submission.state != FAILED, Submission.unconfirmed),
    )
    return session.execute(later.order_by(Submission.requested_at.desc()).limit(1)).scalar_one_or_none()


def claim_files(session: DbSession, submission: Submission) -> None:
    """The person's own files that this form names stay until their documents are done."""
    guids = [named.guid for named in named_files(submission.form or {}) if named.guid is not None]
    session.execute(
        update(Attachment)
        .where(Attachment.guid.in_(guids), Attachment.account_id == submission.account_id)
        .values(submission_id=submission.id)
        .execution_options(synchronize_session=False)
    )


def enqueue_submission(session: DbSession, submission: Submission) -> None:
    """Enqueue the filing or, while we do not know who the person is, that look-up first. It waits for no ITF."""
    work = SUBMIT if identity_of(session, submission.account_id) is not None else IDENTIFY
    work.enqueue(session, str(submission.id))


def find_by_job(session: DbSession, account_id: uuid.UUID, job_id: str) -> Submission | None:
    """A person's own submission, by the job id that its client polls with."""
    return session.execute(select(Submission).filter_by(account_id=account_id, job_id=job_id)).scalar_one_or_none()


def find_own(session: DbSession, account_id: uuid.UUID, submission_id: uuid.UUID) -> Submission | None:
    statement = select(Submission).filter_by(account_id=account_id, id=submission_id)
    return session.execute(statement).scalar_one_or_none()


# Two of its documents may have to be made from it again, as long as somebody may want them uploaded again.
DOCUMENTS_NEED_IT = f"""EXISTS (
        SELECT 1 FROM form526_document_submissions d
         WHERE d.submission_id = s.id
           AND (d.finished_at IS NULL OR d.finished_at > outbox_now() - make_interval(days => :days)
                OR d.poll_due_at IS NOT NULL
                OR EXISTS (SELECT 1 {sql.messages(subject_type=f"'{documents.SUBJECT}'", subject_id="d.id::text")})
                OR EXISTS (SELECT 1 FROM cases c WHERE c.subject_type = '{documents.SUBJECT}'
                              AND c.subject_id = d.id::text AND c.closed_at IS NULL)))"""
FORM = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_form526,
    states=States(SUBMISSION, Submission, account="account_id"),
    event="form526",
    enqueue=enqueue_submission,
    compose=compose_about_form,
    sentence=lambda session, row: words_of_submission(row.state, row.unconfirmed),
    status_url=lambda row: url_for("form526.show_status", job_id=row.job_id),
    newer=find_newer,
    known_as=("job_id", "claim_id"),
    content=("form",),
    keep_days=lambda config: config.keep_form_days,
    needed=DOCUMENTS_NEED_IT,
    rules=(
        Rule(
            "form_bytes_missing",
            "it names a file of which some bytes are missing",
            f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM form526_attachments a
                 WHERE a.submission_id = CAST(s.id AS uuid) AND {documents.FEWER_CHUNKS})""",
            Repair.LEAVE_TO_HUMAN,
        ),
    ),
)


# -- working ------------------------------------------------------------------


def load_submission(session: DbSession, submission_id: str) -> SubmissionWork:
    row = session.get_one(Submission, uuid.UUID(submission_id))
    return SubmissionWork(row.id, row.state, row.account_id, identity_of(session, row.account_id), row.form or {})


def record_identified(session: DbSession, submission_id: str, identity: Identity) -> None:
    row: Submission = subjects.lock(session, FORM, submission_id)
    remember_person(session, row.account_id, identity)
    if row.state == PENDING:
        enqueue_submission(session, row)


def check_accepted(session: DbSession, submission_id: str, claim_id: int) -> None:
    """Raises Conflict for a claim id that is another submission's."""
    taken = session.execute(select(Submission.id).filter_by(claim_id=claim_id)).scalar_one_or_none()
    if taken is not None and str(taken) != submission_id:
        raise Conflict("the claim id is another submission's", claim_id=claim_id, submission=str(taken))


def record_accepted(session: DbSession, submission_id: str, claim_id: int) -> None:
    """It is filed: the state, one message for each document, the e-mail, and the ITF it used, in one transaction."""
    row: Submission = subjects.lock(session, FORM, submission_id)
    if row.state != PENDING:
        return
    row.claim_id, row.unconfirmed = claim_id, False
    subjects.end(session, FORM, row, ACCEPTED, "accepted")
    documents.add_documents(session, row, named_files(row.form or {}))
    use_itf(session, row)
    close_ended(session, SUBJECT, submission_id, "accepted after all")


def use_itf(session: DbSession, row: Submission) -> None:
    """The claim uses a confirmed ITF up. An ITF in any other state stays as it is: nothing here needs it."""
    itf = session.get(IntentToFile, row.itf_id) if row.itf_id is not None else None
    if itf is not None and itf.state == CONFIRMED:
        itf_upkeep.mark_used(session, str(itf.id), "form526")


def record_form_failed(session: DbSession, submission_id: str, kind: str, details: dict[str, Any]) -> None:
    row: Submission = subjects.lock(session, FORM, submission_id)
    if row.state != PENDING:
        return
    row.refused, row.unconfirmed = kind == "refused", kind in UNCONFIRMED
    subjects.fail(session, FORM, row, "unconfirmed" if row.unconfirmed else "failed", kind, details)


# Form and ITF are both late, so the person's date is doubly in doubt: their cases come before the others.
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
    """Raise the priority of the open cases of a form and an ITF that are both late; returns how many."""
    return len(session.execute(LATE_PAIRS).all())
