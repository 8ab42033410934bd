"""Whose claim it is that an appointment names after a lost reply, where only its dates can decide."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from flaskapp.accounts.service import Identity
from flaskapp.travel_pay.service import ClaimWork, RequestedAppointment
from jobs.engine.spec import Call, EarlierWrites, Finding, Found, Unclear
from jobs.travel_pay import look_for_claim

BEGUN_AT = datetime(2031, 3, 4, 15, 0, tzinfo=UTC)
WORK = ClaimWork(
    uuid.uuid4(),
    uuid.uuid4(),
    "pending",
    "claim",
    Identity("1012345678V123456", email="ada@example.test"),
    RequestedAppointment(datetime(2031, 3, 4, 9, 30), "983"),
    "appointment",
    None,
)


def look(
    created_on: str | None, status: str = "Incomplete", expenses: tuple[Any, ...] = (), of: str = "appointment"
) -> Finding:
    """The look-up after our reply was lost at BEGUN_AT; the appointment names a claim with these dates and expenses."""
    detail = SimpleNamespace(
        created_on=created_on,
        claim_number="TC1",
        claim_status=status,
        expenses=expenses,
        appointment=SimpleNamespace(id=of),
        appointment_date=None,
    )
    found = SimpleNamespace(id="appointment", associated_claim_id="claim", associated_claim_number="TC1")
    upstreams: Any = SimpleNamespace(
        travel_pay_filing=SimpleNamespace(find_or_add_appointment=lambda *_: found),
        travel_pay=SimpleNamespace(claim=lambda *_, **__: detail),
    )
    config: Any = SimpleNamespace(btsss_clock_skew_seconds=120.0, travel_pay_total_seconds=1.0)
    earlier = EarlierWrites(BEGUN_AT, "unanswered", ever_unknown=True, confirmable=True)
    return look_for_claim(Call(upstreams, config, lambda: None), WORK, earlier)


@pytest.mark.parametrize("created_on", [None, "2031-03-04", "2031-03-04T15:00:01", "yesterday"])
def test_without_a_comparable_time_it_stays_open_whose_claim_it_is(created_on: str | None) -> None:
    assert look(created_on) == Unclear("the appointment's claim cannot be read")


def test_a_claim_that_says_it_is_another_appointments_is_nobodys_answer() -> None:
    assert look(BEGUN_AT.isoformat(), of="another") == Unclear("the claim is another appointment's")


@pytest.mark.parametrize(("seconds", "ours"), [(-7200, False), (-121, False), (-119, True), (0, True), (30, True)])
def test_a_claim_begun_before_our_first_try_less_the_clock_skew_was_there_already(seconds: int, ours: bool) -> None:
    found = look((BEGUN_AT + timedelta(seconds=seconds)).isoformat())
    assert isinstance(found, Found) and found.answer.ours is ours


@pytest.mark.parametrize(("status", "expenses"), [("ClaimSubmitted", ()), ("Incomplete", ("mileage",))])
def test_a_claim_that_somebody_has_continued_is_not_ours(status: str, expenses: tuple[str, ...]) -> None:
    found = look(BEGUN_AT.isoformat(), status, expenses)
    assert isinstance(found, Found) and not found.answer.ours
