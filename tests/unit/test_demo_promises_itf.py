"""The demo's judge of intents to file: one each, by Lighthouse's book and the inbox, with the date of the request."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox.promises_itf import ITFEvidence, faults_in, received
from sandbox.story_itf import ADOPTED, CREATED, NOT_FILED, OVERTAKEN, Answer, ITFPromise
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.templates import EMAILS

ADA = DEFAULT_CAST[0]
REQUESTED = datetime(2031, 3, 4, 15, 0, tzinfo=UTC)
EARLIER = REQUESTED - timedelta(days=100)
SECOND = timedelta(seconds=1)
PROMISE = ITFPromise(
    ADA.account,
    ADA,
    "a scene",
    CREATED,
    12.0,
    [
        Answer("ours", REQUESTED - SECOND, REQUESTED + SECOND),
        Answer("theirs", REQUESTED + SECOND, REQUESTED + 3 * SECOND),
    ],
)


def on_file(created_at: datetime = REQUESTED + SECOND, status: str = "active", id: str = "theirs") -> dict[str, Any]:
    expires_at = created_at + timedelta(days=365)
    return {"id": id, "status": status, "created_at": created_at.isoformat(), "expires_at": expires_at.isoformat()}


def mail(effective: str = "March 4, 2031", until: str = "March 3, 2032") -> dict[str, Any]:
    template = EMAILS["itf.confirmed"]
    body = template.filled(template.body, {"effective_date": effective, "expiration_date": until})
    return {"template": template.name, "subject": template.subject, "body": body}


def row(**changes: Any) -> dict[str, Any]:
    kept = {
        "itf_id": "ours",
        "state": "confirmed",
        "asked_at": REQUESTED,
        "effective_date": REQUESTED,
        "expires_at": REQUESTED + timedelta(days=365),
        "upstream_id": "theirs",
    }
    return {**kept, **changes}


def evidence(**changes: Any) -> ITFEvidence:
    """An ITF that was created and notified rightly, except for the changes."""
    kept = {
        "itfs": [row()],
        "book": [on_file()],
        "creations": [{"worked": True}],
        "sends": [{"status_reason": None}],
        "received": [mail()],
    }
    return ITFEvidence(**{**kept, **changes})


HELD_BY = [{"kind": "refused", "owner": "tara"}]
UNFILED: dict[str, Any] = {"itfs": [row(state="failed")], "book": [], "creations": [], "sends": [], "received": []}
THERE: dict[str, Any] = {
    "itfs": [row(effective_date=EARLIER, expires_at=EARLIER + timedelta(days=365))],
    "book": [on_file(EARLIER)],
    "creations": [],
    "received": [mail("November 24, 2030", "November 24, 2031")],
}


@pytest.mark.parametrize(
    ("planned", "seen"),
    [
        (CREATED, evidence()),
        (CREATED, evidence(book=[on_file(EARLIER, "expired", "old"), on_file()])),
        (CREATED, evidence(creations=[{"worked": False}, {"worked": None}])),
        (ADOPTED, evidence(**THERE)),
        (OVERTAKEN, evidence(book=[on_file(), on_file(REQUESTED + 2 * SECOND, "duplicate", "second")])),
        (NOT_FILED, evidence(**UNFILED, cases=HELD_BY)),
    ],
)
def test_a_promise_is_kept_when_book_inbox_and_cases_agree(planned: str, seen: ITFEvidence) -> None:
    assert faults_in(replace(PROMISE, planned=planned), seen) == []


@pytest.mark.parametrize(
    ("planned", "seen", "reason"),
    [
        (CREATED, ITFEvidence(), "Postgres holds 0 ITFs"),
        (CREATED, evidence(itfs=[row(), row(itf_id="another")]), "Postgres holds 2 ITFs"),
        (CREATED, evidence(itfs=[row(state="pending")]), "we call it pending"),
        (CREATED, evidence(itfs=[row(itf_id="another")]), "1 of our answers named another ITF"),
        (CREATED, evidence(itfs=[row(asked_at=REQUESTED + 2 * SECOND)]), "recorded as"),
        (CREATED, evidence(creations=[{"worked": True}, {"worked": None}]), "Lighthouse took 2 creations"),
        (CREATED, evidence(book=[on_file(), on_file(id="second")]), "Lighthouse holds 2 ITFs"),
        (CREATED, evidence(book=[on_file(), on_file(status="duplicate", id="second")]), "it is overtaken"),
        (CREATED, evidence(book=[]), "by Lighthouse's book it is not filed"),
        (CREATED, evidence(book=[on_file(id="somebody's")]), "we hold theirs, Lighthouse somebody's"),
        (CREATED, evidence(book=[on_file(REQUESTED + timedelta(days=1))]), "filed only"),
        (CREATED, evidence(itfs=[row(expires_at=REQUESTED + timedelta(days=367))]), "we say it lasts until"),
        (CREATED, evidence(**THERE), "planned as created, but by Lighthouse's book it is adopted"),
        (ADOPTED, evidence(**{**THERE, "itfs": [row()]}), "we date it"),
        (CREATED, evidence(sends=[{}, {}]), "VANotify took 2 e-mails, 1 arrived"),
        (CREATED, evidence(received=[]), "VANotify took 1 e-mails, 0 arrived"),
        (CREATED, evidence(received=[mail(effective="March 5, 2031")]), "the wrong e-mail"),
        (CREATED, evidence(received=[mail(until="March 4, 2032")]), "the wrong e-mail"),
        (CREATED, evidence(cases=HELD_BY), "open cases refused where none belongs"),
        (NOT_FILED, evidence(**UNFILED), "where refused belongs"),
        (NOT_FILED, evidence(**{**UNFILED, "received": [mail()]}, cases=HELD_BY), "that could not arrive"),
        (NOT_FILED, evidence(**{**UNFILED, "itfs": [row(state="failed", effective_date=EARLIER)]}), "is lost"),
    ],
)
def test_anything_else_breaks_the_promise_with_a_reason(planned: str, seen: ITFEvidence, reason: str) -> None:
    assert reason in "; ".join(faults_in(replace(PROMISE, planned=planned), seen))


def test_the_table_names_an_e_mail_by_its_subject_and_date() -> None:
    assert received(evidence()) == "Your intent to file is on record (March 4, 2031)"
    assert received(evidence(received=[], sends=[])) == "none: never sent"
