"""The demo's judge of 526 forms: filed once by the 526 service's book, and each document by Lighthouse's book."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.promises_documents import DocumentEvidence, faults_in_document, how_uploaded, judge_document
from sandbox.promises_form526 import FormEvidence, faults_in
from sandbox.story_form526 import ACCEPTED, DELIVERED, IN_EFOLDER, NOT_STORED, TWICE, Document, FormPromise
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.templates import EMAILS

ADA, BEN = DEFAULT_CAST[:2]
REQUESTED = datetime(2031, 3, 4, 15, 0, tzinfo=UTC)
LETTER = Document("guid-1", "buddy-statement.txt", "L015", DELIVERED, "digest")
MADE = Document("form_0781", "Form 0781.pdf", "L228", DELIVERED)
FORM = {"attachments": [{"name": LETTER.name, "confirmationCode": LETTER.key, "attachmentId": "L015"}]}
PROMISE = FormPromise("form-1", ADA, "a scene", ACCEPTED, 12.0, FORM, (LETTER, MADE), ["job-1", "job-1"])


def mail(notification: str, **values: str) -> dict[str, Any]:
    template = EMAILS[f"form526.{notification}"]
    filled = {"submitted_date": "March 4, 2031", "claim_id": "600", "file_name": "budXX-XXXXXXXnt.txt", **values}
    return {"template": template.name, "subject": template.subject, "body": template.filled(template.body, filled)}


def filed(**changes: Any) -> dict[str, Any]:
    return {"reference": "form-1", "claim_id": 600, "icn": ADA.icn, "form526": FORM, **changes}


def form_row(**changes: Any) -> dict[str, Any]:
    return {"job_id": "job-1", "state": "accepted", "claim_id": 600, "requested_at": REQUESTED, **changes}


def form(**changes: Any) -> FormEvidence:
    """A form that was filed and notified rightly, except for the changes."""
    kept = {"row": form_row(), "book": [filed()], "sends": [{}], "received": [mail("accepted")]}
    return FormEvidence(**{**kept, **changes})


def upload(**changes: Any) -> dict[str, Any]:
    kept = {
        "id": 7,
        "state": "SUCCESS",
        "steps_behind": 2,
        "file_name": LETTER.name,
        "participant_id": ADA.participant_id,
        "sha256": "digest",
        "first_bytes": "a letter",
    }
    return {**kept, **changes}


def row(**changes: Any) -> dict[str, Any]:
    kept = {
        "request_id": 7,
        "state": "done",
        "failed_step": None,
        "possibly_twice": False,
        "created_at": REQUESTED,
        "finished_at": REQUESTED + timedelta(seconds=9),
    }
    return {**kept, **changes}


def document(**changes: Any) -> DocumentEvidence:
    """A document that was delivered rightly, except for the changes."""
    return DocumentEvidence(**{"rows": [row()], "uploads": [upload()], **changes})


def failed(step: str, notification: str, case: str, steps_behind: int, **changes: Any) -> DocumentEvidence:
    kept = {
        "rows": [row(state="failed", failed_step=step)],
        "uploads": [upload(state="FAILED", steps_behind=steps_behind)],
        "sends": [{}],
        "received": [mail(notification)],
        "cases": [{"kind": case, "owner": "uri", "opened_at": REQUESTED}],
    }
    return document(**{**kept, **changes})


def at_bgs(**changes: Any) -> DocumentEvidence:
    return failed("BENEFITS_GATEWAY_SERVICE", "document_incomplete", "document_in_efolder", 1, **changes)


def at_claims_evidence(**changes: Any) -> DocumentEvidence:
    return failed("CLAIMS_EVIDENCE", "document_failed", "document_failed", 0, **changes)


AGAIN: dict[str, Any] = {"rows": [row(possibly_twice=True)], "uploads": [upload(id=6), upload()]}


def test_a_form_is_kept_when_the_book_has_it_once_and_its_person_was_notified() -> None:
    assert faults_in(PROMISE, form()) == []


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (FormEvidence(), "Postgres holds no such form"),
        (form(row=form_row(state="pending")), "we call it pending"),
        (form(book=[]), "the 526 service holds 0 forms of one person"),
        (form(book=[filed(), filed(reference="form-2")]), "the 526 service holds 2 forms of one person"),
        (form(book=[filed(reference="form-2")]), "under another reference"),
        (form(book=[filed(claim_id=601)]), "claim 601, which we call 600"),
        (form(book=[filed(form526={})]), "other answers than the page sent"),
        (form(row=form_row(job_id="job-2")), "given 1 ids to poll with"),
        (form(unknown=[upload()]), "Lighthouse holds 1 files that nobody sent"),
        (form(received=[]), "VANotify took 1 e-mails, 0 arrived"),
        (form(sends=[{}, {}]), "VANotify took 2 e-mails"),
        (form(received=[mail("accepted", claim_id="601")]), "the wrong e-mail"),
        (form(received=[mail("failed")]), "the wrong e-mail"),
        (form(cases=[{"kind": "overdue", "owner": "uri"}]), "open cases overdue where none belongs"),
    ],
)
def test_anything_else_about_a_form_breaks_the_promise_with_a_reason(seen: FormEvidence, reason: str) -> None:
    assert reason in "; ".join(faults_in(PROMISE, seen))


@pytest.mark.parametrize(
    ("planned", "seen"),
    [(DELIVERED, document()), (TWICE, document(**AGAIN)), (IN_EFOLDER, at_bgs()), (NOT_STORED, at_claims_evidence())],
)
def test_a_document_is_kept_when_we_and_lighthouses_book_agree(planned: str, seen: DocumentEvidence) -> None:
    assert faults_in_document(replace(LETTER, planned=planned), PROMISE, seen) == []


def test_a_document_that_we_make_ourselves_must_be_a_pdf() -> None:
    ours = upload(file_name=MADE.name, sha256="made", first_bytes="%PDF-1.7")
    assert faults_in_document(MADE, PROMISE, document(uploads=[ours])) == []
    assert faults_in_document(MADE, PROMISE, document(uploads=[{**ours, "first_bytes": ""}])) != []


@pytest.mark.parametrize(
    ("planned", "seen", "reason"),
    [
        (DELIVERED, DocumentEvidence(), "Postgres holds it 0 times"),
        (DELIVERED, document(rows=[row(), row()]), "Postgres holds it 2 times"),
        (DELIVERED, document(rows=[row(state="pending")]), "we call it pending"),
        (DELIVERED, document(uploads=[upload(state="IN_PROGRESS")]), "by Lighthouse's book it is under way"),
        (DELIVERED, document(uploads=[]), "by Lighthouse's book it is not uploaded"),
        (DELIVERED, document(rows=[row(request_id=8)]), "by Lighthouse's book it is not uploaded"),
        (DELIVERED, document(**AGAIN), "planned as delivered"),
        (TWICE, document(**{**AGAIN, "rows": [row()]}), "and we recorded otherwise"),
        (TWICE, document(), "Lighthouse took it 1 times"),
        (DELIVERED, document(uploads=[upload(sha256="cut short")]), "what Lighthouse holds is not it"),
        (DELIVERED, document(uploads=[upload(file_name="other.txt")]), "what Lighthouse holds is not it"),
        (DELIVERED, document(uploads=[upload(participant_id=BEN.participant_id)]), "what Lighthouse holds is not it"),
        (DELIVERED, document(sends=[{}], received=[mail("document_failed")]), "VANotify took 1 e-mails"),
        (IN_EFOLDER, document(), "planned as fails at BGS"),
        (IN_EFOLDER, at_bgs(rows=[row()]), "we call it done, by Lighthouse's book it is fails at BGS"),
        (IN_EFOLDER, at_bgs(rows=[row(state="failed", failed_step="CLAIMS_EVIDENCE")]), "we say it failed at CLAIMS"),
        (IN_EFOLDER, at_bgs(cases=[]), "open cases none where document_in_efolder belongs"),
        (IN_EFOLDER, at_bgs(cases=[{"kind": "document_in_efolder", "owner": ""}]), "a case without an owner"),
        (IN_EFOLDER, at_bgs(received=[]), "VANotify took 1 e-mails, 0 arrived"),
        (IN_EFOLDER, at_bgs(received=[mail("document_failed")]), "the wrong e-mail"),
        (IN_EFOLDER, at_bgs(received=[mail("document_incomplete", file_name=LETTER.name)]), "the wrong e-mail"),
        (NOT_STORED, at_claims_evidence(received=[mail("document_incomplete")]), "the wrong e-mail"),
    ],
)
def test_anything_else_about_a_document_breaks_the_promise_with_a_reason(
    planned: str, seen: DocumentEvidence, reason: str
) -> None:
    assert reason in "; ".join(faults_in_document(replace(LETTER, planned=planned), PROMISE, seen))


def test_the_table_names_a_document_by_its_file_and_its_ending() -> None:
    attempts = [
        {"subject_type": "form526_document", "purpose": "write", "status": "unknown", "error_class": "Unanswered"},
        {"subject_type": "form526_document", "purpose": "look_up", "status": "error", "error_class": None},
        {"subject_type": "form526_document", "purpose": "write", "status": "success", "error_class": None},
    ]
    assert how_uploaded(document(attempts=attempts)) == "no reply → uploaded"
    delivered = judge_document(PROMISE, LETTER, document())
    assert (delivered.scene, delivered.seconds, delivered.kept_how) == (LETTER.name, 9, DELIVERED)
    assert judge_document(PROMISE, LETTER, at_bgs()).kept_how == "notified, held by uri"
