"""The demo's judge of signed-in travel pay: one claim for an appointment by Travel Pay's book, and every answer
true."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sandbox.promises_travel_pay import TravelPayEvidence, faults_in, happened_to, statuses_of
from sandbox.story_travel_pay import DUPLICATE, SUBMITTED, UNFINISHED, Answer, TravelPayPromise
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.templates import EMAILS

ADA = DEFAULT_CAST[0]
FINISHED = datetime(2031, 3, 4, 15, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CREATED = Answer(201, "ours", "theirs", "Claim submitted", FINISHED + SECOND)
ACCEPTED = Answer(202, "ours", None, "Received", FINISHED - SECOND)
THERE_ALREADY = Answer(400, None, None, "ALREADY_FILED", FINISHED + SECOND)
PROMISE = TravelPayPromise(
    ADA.account, ADA, "a scene", SUBMITTED, 12.0, date(2031, 3, 4), "2031-03-04T09:30:00", [ACCEPTED, CREATED]
)


def filed(**changes: Any) -> dict[str, Any]:
    kept = {"id": "theirs", "claimNumber": "TC00000001234", "claimStatus": "ClaimSubmitted", "expenses": [{}]}
    return {**kept, "source": "created", **changes}


def mail(notification: str = "submitted", day: str = "Mar 4, 2031", number: str = "1234") -> dict[str, Any]:
    template = EMAILS[f"travel_pay.{notification}"]
    body = template.filled(template.body, {"appt_date": day, "claim_number": number})
    return {"template": template.name, "subject": "", "body": body}


def row(**changes: Any) -> dict[str, Any]:
    return {"row_id": "ours", "state": "submitted", "claim_id": "theirs", "finished_at": FINISHED, **changes}


def evidence(**changes: Any) -> TravelPayEvidence:
    """A claim that was submitted and notified rightly, except for the changes."""
    kept = {"rows": [row()], "book": [filed()], "creations": [{"worked": True}], "sends": [{}], "received": [mail()]}
    return TravelPayEvidence(**{**kept, **changes})


HELD = [{"kind": "half_filed", "owner": "vera"}]
HALF = filed(claimStatus="Saved")
UNDONE: dict[str, Any] = {"rows": [row(state="failed")], "book": [HALF], "received": [mail("unfinished")]}
THERE: dict[str, Any] = {
    "rows": [row(state="duplicate", claim_id=None)],
    "book": [filed(source="planted")],
    "creations": [],
    "received": [mail("duplicate")],
}
SAVED = replace(CREATED, words="Saved")
DIFFER = [
    {"field": "address", "vaProfile": "1*** S***, IL 627**", "btsss": "1*** O***, IL 616**"},
    {"field": "phone", "vaProfile": "***-***-0101", "btsss": "***-***-0931"},
]


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({}, evidence()),
        ({}, evidence(creations=[{"worked": False}, {"worked": True}])),
        ({"shown": DIFFER}, evidence(discrepancies=["phone", "address"])),
        ({"planned": DUPLICATE, "answers": [ACCEPTED, THERE_ALREADY]}, evidence(**THERE)),
        ({"planned": UNFINISHED, "answers": [SAVED]}, evidence(**UNDONE, cases=HELD)),
    ],
)
def test_a_promise_is_kept_when_book_answers_inbox_and_cases_agree(
    changes: dict[str, Any], seen: TravelPayEvidence
) -> None:
    assert faults_in(replace(PROMISE, **changes), seen) == []


@pytest.mark.parametrize(
    ("planned", "seen", "reason"),
    [
        (SUBMITTED, TravelPayEvidence(), "Postgres holds 0 claims"),
        (SUBMITTED, evidence(rows=[row(), row(row_id="another")]), "Postgres holds 2 claims"),
        (SUBMITTED, evidence(rows=[row(state="pending")]), "we call it pending"),
        (SUBMITTED, evidence(rows=[row(claim_id="another")]), "we hold claim another, Travel Pay theirs"),
        (SUBMITTED, evidence(book=[]), "it is not filed"),
        (SUBMITTED, evidence(book=[filed(), filed(id="second")]), "Travel Pay holds 2 claims"),
        (SUBMITTED, evidence(book=[filed(claimStatus="Saved")]), "it is unfinished"),
        (SUBMITTED, evidence(book=[filed(expenses=[{}, {}])]), "the claim has 2 expenses"),
        (SUBMITTED, evidence(creations=[{"worked": True}, {"worked": None}]), "Travel Pay began 2 claims"),
        (SUBMITTED, evidence(**THERE), "planned as submitted, but by Travel Pay's book it is duplicate"),
        (SUBMITTED, evidence(sends=[{}, {}]), "VANotify took 2 e-mails, 1 arrived"),
        (SUBMITTED, evidence(received=[]), "VANotify took 1 e-mails, 0 arrived"),
        (SUBMITTED, evidence(received=[mail("duplicate")]), "the wrong e-mail"),
        (SUBMITTED, evidence(received=[mail(day="Mar 5, 2031")]), "the wrong e-mail"),
        (SUBMITTED, evidence(received=[mail(number="4321")]), "the wrong e-mail"),
        (SUBMITTED, evidence(cases=HELD), "open cases half_filed where none belongs"),
        (DUPLICATE, evidence(**{**THERE, "creations": [{"worked": True}]}), "Travel Pay began 1 claims"),
        (UNFINISHED, evidence(**{**UNDONE, "received": [mail("failed")]}), "the wrong e-mail: travel_pay.failed"),
        (UNFINISHED, evidence(**UNDONE), "open cases none where half_filed belongs"),
        (UNFINISHED, evidence(**UNDONE, cases=[{**HELD[0], "owner": ""}]), "a case without an owner"),
    ],
)
def test_anything_else_breaks_the_promise_with_a_reason(planned: str, seen: TravelPayEvidence, reason: str) -> None:
    assert reason in "; ".join(faults_in(replace(PROMISE, planned=planned), seen))


@pytest.mark.parametrize(
    ("answer", "planned", "seen"),
    [
        (replace(CREATED, ended_at=FINISHED - SECOND), SUBMITTED, evidence()),
        (replace(CREATED, claim_id="somebody's"), SUBMITTED, evidence()),
        (replace(CREATED, id="another"), SUBMITTED, evidence()),
        (replace(ACCEPTED, id="another"), SUBMITTED, evidence()),
        (replace(ACCEPTED, claim_id="theirs"), SUBMITTED, evidence()),
        (THERE_ALREADY, SUBMITTED, evidence()),
        (replace(THERE_ALREADY, ended_at=FINISHED - SECOND), DUPLICATE, evidence(**THERE)),
        (CREATED, DUPLICATE, evidence(**THERE)),
        (CREATED, UNFINISHED, evidence(**UNDONE, cases=HELD)),
    ],
)
def test_a_false_answer_breaks_the_promise(answer: Answer, planned: str, seen: TravelPayEvidence) -> None:
    (reason,) = faults_in(replace(PROMISE, planned=planned, answers=[answer]), seen)
    assert reason.startswith(f"the page got {answer.status}")


@pytest.mark.parametrize(
    ("shown", "recorded", "reason"),
    [
        ([], [], "the page was shown a difference in nothing"),
        (DIFFER, ["address"], "recorded are address"),
        ([DIFFER[0], {**DIFFER[1], "btsss": "(555) 555-0931"}], ["address", "phone"], "shown unmasked"),
        ([DIFFER[0], {**DIFFER[1], "btsss": None}], ["address", "phone"], "or not at all"),
    ],
)
def test_contact_details_that_are_not_shown_masked_and_recorded_break_it_too(
    shown: list[dict[str, Any]], recorded: list[str], reason: str
) -> None:
    assert reason in "; ".join(faults_in(replace(PROMISE, shown=shown), evidence(discrepancies=recorded)))


def test_the_table_names_the_answers_and_what_was_found() -> None:
    assert statuses_of(replace(PROMISE, answers=[CREATED, ACCEPTED, CREATED])) == "201 ×2, 202"
    attempts = [{"subject_type": "notification", "purpose": "write", "status": "success", "error_class": None}]
    assert happened_to(evidence(**THERE, attempts=attempts)) == "already there"
    assert happened_to(TravelPayEvidence(attempts=attempts)) == "nothing"
