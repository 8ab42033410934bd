"""The judge of the documents of 526 forms, by Lighthouse's book.

A document is uploaded whole to the right person's file, and called delivered only when Lighthouse says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sandbox.promises import (
    Evidence,
    Row,
    Verdict,
    faults_of_cases,
    in_words,
    kept_how,
    messages_of,
    seconds_to_notified,
    untold,
)
from sandbox.story_form526 import DELIVERED, IN_EFOLDER, NOT_STORED, TWICE, UPLOADS_OF, Document, FormPromise

FLOW = "form526_document"
NOT_UPLOADED, UNDER_WAY = "not uploaded", "under way"
ARRIVED = (DELIVERED, TWICE)
STEP_OF = {IN_EFOLDER: "BENEFITS_GATEWAY_SERVICE", NOT_STORED: "CLAIMS_EVIDENCE"}
CASES_OF = {IN_EFOLDER: ["document_in_efolder"], NOT_STORED: ["document_failed"]}
MAILS = {
    IN_EFOLDER: ("form526.document_incomplete", "is safe in your file"),
    NOT_STORED: ("form526.document_failed", "didn't reach your file"),
}


@dataclass
class DocumentEvidence(Evidence):
    """All that is known about one document: our rows, and every upload of it that Lighthouse holds."""

    rows: list[Row] = field(default_factory=list)
    uploads: list[Row] = field(default_factory=list)

    @property
    def followed(self) -> Row | None:
        """The upload whose status we poll."""
        ours = {row["request_id"] for row in self.rows}
        return next((upload for upload in self.uploads if upload["id"] in ours), None)


def judge_document(promise: FormPromise, document: Document, evidence: DocumentEvidence) -> Verdict:
    ending = ending_in(evidence)
    arrived = ending in ARRIVED
    return Verdict(
        subject=f"document {document.key} of form {promise.key}",
        who=promise.veteran.name,
        scene=document.name,
        happened=f"{how_uploaded(evidence)} → {ending}",
        state=states_of(evidence),
        received="" if arrived else " / ".join(mail["subject"] for mail in evidence.received) or untold(evidence),
        seconds=seconds_to_end(evidence),
        kept_how=ending if arrived and not evidence.cases else kept_how(evidence),
        faults=faults_in_document(document, promise, evidence),
        messages=messages_of(evidence),
    )


def states_of(evidence: DocumentEvidence) -> str:
    return " and ".join(row["state"] for row in evidence.rows) or "unknown"


def how_uploaded(evidence: DocumentEvidence) -> str:
    """The attempts in a few words. Lighthouse cannot be queried for an upload that it never answered, so look-ups are
    left out."""
    own = [row for row in evidence.attempts if (row["subject_type"], row["purpose"]) == (FLOW, "write")]
    return in_words(own, "uploaded")


def seconds_to_end(evidence: DocumentEvidence) -> float | None:
    """From the acceptance of its form until it was known to have arrived, or the person was notified of something
    else."""
    row: Row = evidence.rows[0] if evidence.rows else {"created_at": None, "finished_at": None}
    if row["finished_at"] and not evidence.notifications:
        return float((row["finished_at"] - row["created_at"]).total_seconds())
    return seconds_to_notified(evidence, row["created_at"])


def ending_in(evidence: DocumentEvidence) -> str:
    """What became of it by Lighthouse's own book, whatever we say."""
    followed = evidence.followed
    if followed is None:
        return NOT_UPLOADED
    if followed["state"] == "FAILED":
        return IN_EFOLDER if followed["steps_behind"] else NOT_STORED
    if followed["state"] != "SUCCESS":
        return UNDER_WAY
    return TWICE if len(evidence.uploads) > 1 else DELIVERED


def faults_in_document(document: Document, promise: FormPromise, evidence: DocumentEvidence) -> list[str]:
    """Everything about this document that is wrong; nothing when its promise was kept."""
    if len(evidence.rows) != 1:
        return [f"Postgres holds it {len(evidence.rows)} times"]
    (row,) = evidence.rows
    ending, times = ending_in(evidence), len(evidence.uploads)
    state = "done" if ending in ARRIVED else "failed"
    checks: tuple[tuple[bool, str], ...] = (
        (ending == document.planned, f"planned as {document.planned}, but by Lighthouse's book it is {ending}"),
        (row["state"] == state, f"we call it {row['state']}, by Lighthouse's book it is {ending}"),
        (row["failed_step"] == STEP_OF.get(ending), f"we say it failed at {row['failed_step']}"),
        (times == UPLOADS_OF[document.planned], f"Lighthouse took it {times} times"),
        (row["possibly_twice"] == (times > 1), f"Lighthouse took it {times} times, and we recorded otherwise"),
        (all(is_right(upload, document, promise) for upload in evidence.uploads), "what Lighthouse holds is not it"),
    )
    wrong = [fault for holds, fault in checks if not holds]
    return wrong + faults_of_notification(document, row, evidence) + faults_of_cases(evidence, CASES_OF.get(ending, []))


def is_right(upload: Row, document: Document, promise: FormPromise) -> bool:
    """Whether these bytes are the document's, for this person and nobody else."""
    whole = upload["first_bytes"].startswith("%PDF") if document.sha256 is None else upload["sha256"] == document.sha256
    whose = upload["participant_id"] == promise.veteran.participant_id
    return bool(whole and whose and upload["file_name"] == document.name)


def faults_of_notification(document: Document, row: Row, evidence: DocumentEvidence) -> list[str]:
    """A document that arrived has no e-mail. For another the e-mail names it, and goes to its owner only."""
    wanted = MAILS.get(ending_in(evidence))
    if (len(evidence.sends), len(evidence.received)) != ((1, 1) if wanted else (0, 0)):
        return [f"VANotify took {len(evidence.sends)} e-mails, {len(evidence.received)} arrived"]
    if wanted is None:
        return []
    (mail,) = evidence.received
    template, words = wanted
    right = mail["template"] == template and words in mail["body"]
    named = re.search(obscured(document.name), mail["body"]) and document.name not in mail["body"]
    return [] if right and named else [f"the wrong e-mail: {mail['template']}: {mail['body']}"]


def obscured(name: str) -> str:
    """A pattern for a file's name in which the letters and digits between its ends are masked."""
    stem, _, ending = name.rpartition(".")
    between = re.sub("[A-Za-z0-9]", "X", stem[3:-2])
    return rf"{re.escape(stem[:3] + between + stem[-2:])}\.{ending}"
