"""What an answer about a document means to us and what its person reads: never more than Lighthouse said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from flaskapp.form526.documents import notification_of
from flaskapp.form526.models import DocumentSubmission
from flaskapp.form526.polling import row_of
from flaskapp.form526.states import (
    BENEFITS_GATEWAY,
    CLAIMS_EVIDENCE,
    DONE,
    EVIDENCE,
    FAILED,
    MADE_NAMES,
    MISSING,
    PENDING,
    UPLOAD,
)
from flaskapp.form526.words import words_of
from flaskapp.upstreams.lighthouse.documents import DocumentStatus, Statuses
from sandbox.upstreams.templates import EMAILS

TIMESTAMP = datetime(2030, 1, 1, 12, tzinfo=UTC)
SENDING = "We have this document and are sending it."
RECEIVED = "VA has received this document and is putting it into your file."
NOT_LINKED = "This document is in your file, but was not yet linked to your claim."
ASK_AGAIN = "We don't have this document. Please send it again"
NOT_THERE = "This document did not get into your file."


@pytest.mark.parametrize(
    ("status", "uploaded_at", "step", "words"),
    [
        (PENDING, None, None, SENDING),
        (PENDING, TIMESTAMP, None, RECEIVED),
        (DONE, TIMESTAMP, None, "This document is in your file."),
        (FAILED, TIMESTAMP, BENEFITS_GATEWAY, NOT_LINKED),
        (FAILED, None, MISSING, ASK_AGAIN),
        (FAILED, TIMESTAMP, CLAIMS_EVIDENCE, NOT_THERE),
        (FAILED, None, UPLOAD, NOT_THERE),
        (FAILED, TIMESTAMP, "MALWARE_SCAN", NOT_THERE),
        (FAILED, TIMESTAMP, "UNKNOWN", NOT_THERE),
    ],
)
def test_every_state_of_a_document_has_its_words(
    status: str, uploaded_at: datetime | None, step: str | None, words: str
) -> None:
    document = DocumentSubmission(lighthouse_status=status, uploaded_at=uploaded_at, failed_step=step)
    assert words_of(document).startswith(words)
    assert ("is in your file" in words_of(document)) == (status == DONE or step == BENEFITS_GATEWAY)
    assert ("A person here" in words_of(document) or "a person here" in words_of(document)) == (status == FAILED)


@pytest.mark.parametrize("kind", MADE_NAMES)
@pytest.mark.parametrize("step", [CLAIMS_EVIDENCE, UPLOAD])
def test_nobody_is_asked_to_mail_a_document_that_we_made(kind: str, step: str) -> None:
    document = DocumentSubmission(kind=kind, lighthouse_status=FAILED, failed_step=step)
    assert words_of(document).startswith(NOT_THERE) and "We made it" in words_of(document)
    assert "mail it" not in words_of(document)
    assert "mail it" in words_of(DocumentSubmission(kind=EVIDENCE, lighthouse_status=FAILED, failed_step=step))


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (MISSING, "document_missing"),
        (UPLOAD, "document_failed"),
        (CLAIMS_EVIDENCE, "document_failed"),
        ("UNKNOWN", "document_failed"),
        (BENEFITS_GATEWAY, "document_incomplete"),
    ],
)
def test_only_for_what_we_hold_an_e_mail_says_that_we_send_it_again(step: str, kind: str) -> None:
    assert notification_of(step) == kind
    assert ("going to send it again" in EMAILS[f"form526.{kind}"].body) == (kind == "document_failed")


def answer_with(state: str, step: str | None = None, **steps: str) -> Statuses:
    status = DocumentStatus(state, TIMESTAMP, None, step, steps, "gave up" if state == "failed" else None)
    return Statuses({1: status}, frozenset({2}), frozenset({3}))


@pytest.mark.parametrize(
    ("reply", "word", "step", "notification"),
    [
        (answer_with("success", BENEFITS_GATEWAY="SUCCESS"), "success", None, None),
        (answer_with("in_progress", CLAIMS_EVIDENCE="FAILED"), "pending", None, None),
        (answer_with("unknown", CLAIMS_EVIDENCE="SUCCESS", BENEFITS_GATEWAY_SERVICE="SUCCESS"), "unclear", None, None),
        (answer_with("failed", CLAIMS_EVIDENCE), "failed", CLAIMS_EVIDENCE, "document_failed"),
        (answer_with("failed", BENEFITS_GATEWAY), "failed", BENEFITS_GATEWAY, "document_incomplete"),
        (
            answer_with("failed", None, BENEFITS_GATEWAY_SERVICE="FAILED"),
            "failed",
            BENEFITS_GATEWAY,
            "document_incomplete",
        ),
        (answer_with("failed", None, CLAIMS_EVIDENCE="SUCCESS"), "failed", "UNKNOWN", "document_failed"),
        (answer_with("failed", "MALWARE_SCAN"), "failed", "MALWARE_SCAN", "document_failed"),
    ],
)
def test_an_entry_means_what_it_says_and_no_more(
    reply: Statuses, word: str, step: str | None, notification: str | None
) -> None:
    row = row_of(1, reply)
    assert (row["request_id"], row["word"], row["started_at"], row["ended_at"]) == (
        1,
        word,
        TIMESTAMP.isoformat(),
        None,
    )
    failed: dict[str, Any] = {"step": step, "notification": notification} if word == "failed" else {}
    assert failed.items() <= row.items()


def test_an_id_without_an_entry_is_unknown_or_unclear() -> None:
    reply = answer_with("success")
    assert row_of(2, reply) == {"request_id": 2, "word": "not_found"}
    assert row_of(3, reply) == {"request_id": 3, "word": "unclear"}
