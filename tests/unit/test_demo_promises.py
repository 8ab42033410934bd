"""The demo's judge of claims: it trusts BTSSS's book and the phone, and nothing that only looks like success."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sandbox.promises import in_words, kept_how, seconds_to_notified
from sandbox.promises_claims import ClaimEvidence, faults_in
from sandbox.story_claims import CREATED, DUPLICATE, REFUSED, UNDELIVERABLE, ClaimPromise
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.templates import TEXTS

REQUESTED = datetime(2031, 3, 4, 9, 0, tzinfo=UTC)
PROMISE = ClaimPromise("claim-1", DEFAULT_CAST[0], "a scene", CREATED, 12.0, date(2031, 3, 4))
STATES = {"created": "submitted", "duplicate": "duplicate", "error": "failed"}


def text(notification: str, number: str = "6902", day: str = "Mar 04") -> dict[str, Any]:
    template = TEXTS[f"cie.{notification}"]
    return {
        "template": template.name,
        "body": template.filled(template.body, {"claim_number": number, "appt_date": day}),
    }


def evidence(notification: str = "created", **changes: Any) -> ClaimEvidence:
    """A claim with the right notification of this kind, except for the changes."""
    sources = {"created": "submitted", "duplicate": "kiosk"}
    kept = {
        "claim": {"state": STATES[notification], "requested_at": REQUESTED},
        "notifications": [{"notification_id": "n", "sent_at": REQUESTED + timedelta(seconds=2)}],
        "cases": [{"kind": "refused", "owner": "rosa", "opened_at": REQUESTED}] if notification == "error" else [],
        "book": [{"number": "TC202503000006902", "source": sources[notification]}] if notification in sources else [],
        "submits": [{"worked": True}],
        "sends": [{"status_reason": None}],
        "received": [text(notification)],
    }
    return ClaimEvidence(**{**kept, **changes})


UNREACHED = {"received": [], "cases": [{"kind": "notification_undeliverable", "owner": "sam", "opened_at": REQUESTED}]}


@pytest.mark.parametrize(
    ("planned", "seen"),
    [
        (CREATED, evidence("created")),
        (CREATED, evidence("created", submits=[{"worked": False}, {"worked": True}])),
        (DUPLICATE, evidence("duplicate")),
        (DUPLICATE, evidence("duplicate", received=[text("duplicate", number="unknown")])),
        (REFUSED, evidence("error")),
        (UNDELIVERABLE, evidence("created", **UNREACHED)),
    ],
)
def test_a_promise_is_kept_when_book_phone_and_cases_agree(planned: str, seen: ClaimEvidence) -> None:
    assert faults_in(replace(PROMISE, planned=planned), seen) == []


@pytest.mark.parametrize(
    ("planned", "seen", "reason"),
    [
        (CREATED, ClaimEvidence(), "Postgres holds no such claim"),
        (CREATED, evidence(claim={"state": "pending", "requested_at": REQUESTED}), "we call it pending"),
        (CREATED, evidence(received=[]), "0 texts on the phone"),
        (CREATED, evidence(received=[text("created"), text("created")]), "2 texts on the phone"),
        (CREATED, evidence(received=[text("duplicate")]), "the wrong text"),
        (CREATED, evidence(received=[text("created", number="1111")]), "the wrong text"),
        (CREATED, evidence(received=[text("created", day="Mar 05")]), "the wrong text"),
        (CREATED, evidence(sends=[{}, {}]), "VANotify took 2 texts"),
        (CREATED, evidence(submits=[{"worked": True}, {"worked": None}]), "BTSSS took 2 submits"),
        (CREATED, evidence(book=[{"number": "TC1", "source": "submitted"}] * 2), "BTSSS holds 2 claims"),
        (CREATED, evidence(book=[]), "by BTSSS's book it is error"),
        (CREATED, evidence("error"), "planned as created"),
        (CREATED, evidence(cases=[{"kind": "overdue", "owner": "rosa"}]), "open cases overdue where none belongs"),
        (CREATED, evidence(received=[text("created", number="unknown")]), "the wrong text"),
        (DUPLICATE, evidence("duplicate", received=[text("duplicate", number="1111")]), "the wrong text"),
        (DUPLICATE, evidence("created"), "planned as duplicate"),
        (REFUSED, evidence("error", cases=[]), "open cases none where refused belongs"),
        (REFUSED, evidence("error", cases=[{"kind": "refused", "owner": ""}]), "a case without an owner"),
        (UNDELIVERABLE, evidence("created", received=[]), "where notification_undeliverable belongs"),
        (UNDELIVERABLE, evidence("created", cases=UNREACHED["cases"]), "a text arrived that could not"),
    ],
)
def test_anything_else_breaks_the_promise_with_a_reason(planned: str, seen: ClaimEvidence, reason: str) -> None:
    assert reason in "; ".join(faults_in(replace(PROMISE, planned=planned), seen))


def test_the_seconds_count_to_the_text_and_without_one_to_the_case() -> None:
    assert seconds_to_notified(evidence(), REQUESTED) == 2
    untold = evidence(
        notifications=[{"notification_id": "n", "sent_at": None}],
        cases=[{"opened_at": REQUESTED + timedelta(seconds=5)}],
    )
    assert seconds_to_notified(untold, REQUESTED) == 5
    assert seconds_to_notified(evidence(notifications=[]), REQUESTED) is None
    assert seconds_to_notified(evidence(), None) is None


def test_how_a_promise_was_kept_names_who_holds_it() -> None:
    assert kept_how(evidence("created")) == "notified"
    assert kept_how(evidence("error")) == "notified, held by rosa"
    assert kept_how(evidence("created", **UNREACHED)) == "held by sam"


def test_attempts_are_named_in_order_and_repeats_are_counted() -> None:
    attempts: list[dict[str, Any]] = [
        {"purpose": "write", "status": "error", "error_class": "Unavailable"},
        {"purpose": "write", "status": "error", "error_class": "Unavailable"},
        {"purpose": "write", "status": "unknown", "error_class": "WorkerLost"},
        {"purpose": "look_up", "status": "error", "error_class": None},
        {"purpose": "look_up", "status": "success", "error_class": None},
    ]
    assert in_words(attempts, "filed") == "unreachable ×2 → worker killed → not there yet → found"
    assert in_words([], "filed") == "nothing"
    there = {"purpose": "write", "status": "success", "error_class": "Duplicate"}
    assert in_words([there], "filed") == "already there"
