"""The judge of the 526 forms, by the 526 service's book: filed once, as the page sent them.

Their documents are found here too, and judged in promises_documents.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sandbox import promises_documents
from sandbox.promises import (
    Evidence,
    Row,
    Verdict,
    Witnesses,
    faults_of_cases,
    kept_how,
    messages_of,
    seconds_to_notified,
    stray,
    untold,
    what_happened,
)
from sandbox.promises_documents import DocumentEvidence, judge_document, states_of
from sandbox.story_form526 import FormPromise
from sandbox.upstreams.itfs import ZONE

FLOW = "form526_submission"
FORMS = """
    SELECT id::text AS form_id, job_id, state, claim_id, requested_at FROM form526_submissions ORDER BY requested_at
"""
DOCUMENTS = """
    SELECT id::text AS document_id, submission_id::text AS form_id, COALESCE(attachment_guid::text, kind) AS key,
           lighthouse_status AS state, lighthouse_request_id AS request_id, failed_step, possibly_twice,
           created_at, finished_at
      FROM form526_document_submissions ORDER BY created_at, id
"""


@dataclass
class FormEvidence(Evidence):
    """All that is known about one form: our row, what the 526 service holds of its person, and its documents by key.

    `unknown` are uploads to the person's file that are none of its documents.
    """

    row: Row | None = None
    book: list[Row] = field(default_factory=list)
    documents: dict[str, DocumentEvidence] = field(default_factory=lambda: defaultdict(DocumentEvidence))
    unknown: list[Row] = field(default_factory=list)


def verdicts(witnesses: Witnesses, promises: Sequence[FormPromise]) -> dict[str, list[Verdict]]:
    """Verdicts by kind of subject: one for every form and document promised, and one for everything else in
    Postgres."""
    found = testify(witnesses, promises)
    forms, documents = [], []
    for promise in promises:
        evidence = found.pop(promise.key, FormEvidence())
        forms.append(judge(promise, evidence))
        for document in promise.documents:
            documents.append(
                judge_document(promise, document, evidence.documents.pop(document.key, DocumentEvidence()))
            )
        documents += strays_of(promise.key, evidence)
    for form_id, evidence in found.items():
        forms.append(stray(f"form {form_id}", str((evidence.row or {}).get("state")), evidence))
        documents += strays_of(form_id, evidence)
    return {FLOW: forms, promises_documents.FLOW: documents}


def strays_of(form_id: str, evidence: FormEvidence) -> list[Verdict]:
    return [
        stray(f"document {key} of form {form_id}", states_of(seen), seen) for key, seen in evidence.documents.items()
    ]


def testify(witnesses: Witnesses, promises: Sequence[FormPromise]) -> dict[str, FormEvidence]:
    """The evidence by form. Two rows of one document share one entry, so that the second cannot hide behind the
    first."""
    found: dict[str, FormEvidence] = defaultdict(FormEvidence)
    by_document: dict[str, DocumentEvidence] = defaultdict(DocumentEvidence)
    for row in witnesses.rows(FORMS):
        found[row["form_id"]].row = row
    for row in witnesses.rows(DOCUMENTS):
        by_document[row["document_id"]] = found[row["form_id"]].documents[row["key"]]
        found[row["form_id"]].documents[row["key"]].rows.append(row)
    witnesses.add_ledger(FLOW, found)
    witnesses.add_ledger(promises_documents.FLOW, by_document)
    book = witnesses.control.call("GET", "form526", "submissions")
    uploads = witnesses.control.call("GET", "documents", "uploads")
    for promise in promises:
        evidence = found[promise.key]
        evidence.book = [row for row in book if row["icn"] == promise.veteran.icn]
        add_uploads(promise, evidence, uploads)
    add_mails(witnesses, promises, found)
    return found


def add_uploads(promise: FormPromise, evidence: FormEvidence, uploads: Sequence[Row]) -> None:
    """Add every upload of this claim or to this person's file. Its type says which document it is; a form has each type
    once."""
    claims, keys = {row["claim_id"] for row in evidence.book}, {each.doc_type: each.key for each in promise.documents}
    for upload in uploads:
        if upload["claim_id"] in claims or upload["participant_id"] == promise.veteran.participant_id:
            key = keys.get(upload["doc_type"])
            (evidence.documents[key].uploads if key else evidence.unknown).append(upload)


def add_mails(witnesses: Witnesses, promises: Sequence[FormPromise], found: Mapping[str, FormEvidence]) -> None:
    """Add the person's e-mails, each to the document or form whose notification it carries. One without counts as the
    form's."""
    sends, inbox = witnesses.control.call("GET", "va_notify", "notifications"), witnesses.control.phone()
    for promise in promises:
        evidence = found[promise.key]
        own = [mail for mail in inbox if mail["to"] == promise.veteran.email]
        for document in evidence.documents.values():
            references = {notification["notification_id"] for notification in document.notifications}
            its = [mail for mail in own if mail["reference"] in references]
            own = [mail for mail in own if mail["reference"] not in references]
            witnesses.add_notifications(document, sends, its, promise.veteran.email)
        witnesses.add_notifications(evidence, sends, own, promise.veteran.email)


def judge(promise: FormPromise, evidence: FormEvidence) -> Verdict:
    row = evidence.row or {}
    return Verdict(
        subject=f"form {promise.key}",
        who=promise.veteran.name,
        scene=promise.scene,
        happened=what_happened(evidence, "filed", "e-mail"),
        state=row.get("state", "unknown"),
        received=" / ".join(mail["subject"] for mail in evidence.received) or untold(evidence),
        seconds=seconds_to_notified(evidence, row.get("requested_at")),
        kept_how=kept_how(evidence),
        faults=faults_in(promise, evidence),
        messages=messages_of(evidence),
    )


def faults_in(promise: FormPromise, evidence: FormEvidence) -> list[str]:
    """Everything about this form that is not as it must be; nothing when its promise was kept."""
    row = evidence.row
    if row is None:
        return ["Postgres holds no such form"]
    if len(evidence.book) != 1:
        return [f"the 526 service holds {len(evidence.book)} forms of one person"]
    (filed,) = evidence.book
    checks: tuple[tuple[bool, str], ...] = (
        (row["state"] == promise.planned, f"we call it {row['state']}, the 526 service has it"),
        (filed["reference"] == promise.key, "the 526 service has it under another reference"),
        (filed["claim_id"] == row["claim_id"], f"claim {filed['claim_id']}, which we call {row['claim_id']}"),
        (filed["form526"] == promise.form, "the 526 service has other answers than the page sent"),
        (set(promise.job_ids) == {row["job_id"]}, f"the page was given {len(set(promise.job_ids))} ids to poll with"),
        (not evidence.unknown, f"Lighthouse holds {len(evidence.unknown)} files that nobody sent"),
    )
    wrong = [fault for holds, fault in checks if not holds]
    return wrong + faults_of_mail(row, evidence) + faults_of_cases(evidence, [])


def faults_of_mail(row: Row, evidence: FormEvidence) -> list[str]:
    if (len(evidence.sends), len(evidence.received)) != (1, 1):
        return [f"VANotify took {len(evidence.sends)} e-mails, {len(evidence.received)} arrived"]
    (mail,) = evidence.received
    named = (str(row["claim_id"]), day_of(row["requested_at"]))
    right = mail["template"] == "form526.accepted" and all(text in mail["body"] for text in named)
    return [] if right else [f"the wrong e-mail: {mail['template']}: {mail['body']}"]


def day_of(timestamp: datetime) -> str:
    return f"{timestamp.astimezone(ZONE):%B %-d, %Y}"
