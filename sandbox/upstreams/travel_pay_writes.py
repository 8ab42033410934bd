"""The four steps that make a claim at Travel Pay, and what repeating each of them does (contract: travel 5.3).

Finding an appointment may be repeated, creating a claim may not. A mileage expense that is added twice is there twice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import Response

from sandbox.upstreams import travel_pay_answers as words
from sandbox.upstreams.cast import FACILITIES, Veteran, utc_text
from sandbox.upstreams.travel_pay_book import MILEAGE, Book, BookedAppointment, Claim, Expense, fresh_id, wall_text
from sandbox.upstreams.travel_pay_reads import Unreadable, appointment_listed, wall_clock

TYPES = ("CompensationAndPensionExamination", "Other")
DUPLICATE = "A claim has already been created for this appointment."
SUBMITTED = "Claim has already been submitted."
OPEN = ("Incomplete", "Saved")
# What find-or-add answers now and then: an appointment of an earlier day before the requested one, that one alone, or
# one object instead of a list.
SEVERAL, ANOTHER_DAY, OBJECT = UNUSUAL_ANSWERS = ("several", "another_day", "object")
EARLIER = timedelta(days=59)


def find_or_add(book: Book, icn: str, body: dict[str, Any], answers: str) -> Response:
    appointment = BookedAppointment(
        icn,
        wall_clock(body.get("appointmentDateTime")),
        _station(body.get("facilityStationNumber")),
        name=_text(body, "appointmentName", "Primary care"),
        type=_type(body.get("appointmentType", "Other")),
        completed=_yes_or_no(body.get("isComplete", True)),
        source="API",
    )
    with book.lock:
        kept, added = book.find_or_add(appointment)
        said = f"Appointment {'added' if added else 'found'} successfully."
        if answers == OBJECT:
            at, station = wall_text(kept.at), kept.station
            one = {"appointmentId": kept.id, "appointmentDateTime": at, "facilityStationNumber": station}
            return words.good(said, one)
        found = [kept]
        if answers in (SEVERAL, ANOTHER_DAY):
            earlier = replace(kept, at=kept.at - EARLIER, id=fresh_id(), claim_id=None)
            found = [book.find_or_add(earlier)[0], kept][: 2 if answers == SEVERAL else 1]
        return words.good(said, [appointment_listed(book, each) for each in found])


def create(book: Book, icn: str, body: dict[str, Any], veteran: Veteran | None) -> Response:
    appointment_id, name = _text(body, "appointmentId"), _text(body, "claimName")
    if body.get("claimantType") != "Veteran":
        return words.refused("claimantType is not supported.")
    with book.lock:
        appointment = book.appointment(icn, appointment_id)
        if appointment is None:
            return words.missing("Appointment not found.")
        if veteran and veteran.habit == "refused":
            return words.refused(words.INVALID)
        claim = Claim(icn, book.next_number(), name, appointment, station=appointment.station)
        if not book.create(claim):
            return words.refused(DUPLICATE)
        return words.good("Claim created successfully.", {"claimId": claim.id})


def add_mileage(book: Book, icn: str, body: dict[str, Any]) -> Response:
    claim_id, trip = _text(body, "claimId"), body.get("tripType")
    incurred, description = _text(body, "dateIncurred"), _text(body, "description")
    wall_clock(incurred)
    if trip not in MILEAGE:
        return words.refused("tripType is not supported.")
    with book.lock:
        claim = book.claim(icn, claim_id)
        if claim is None:
            return words.missing("Claim not found.")
        if claim.status not in OPEN:
            return words.refused(SUBMITTED)
        expense = Expense(incurred, description, trip, MILEAGE[trip])
        claim.expenses.append(expense)
        claim.moved("Saved")
        return words.good("Expense added successfully.", {"expenseId": expense.id})


def submit(book: Book, icn: str, claim_id: str) -> Response:
    with book.lock:
        claim = book.claim(icn, claim_id)
        if claim is None:
            return words.missing("Claim not found.")
        if claim.status not in OPEN:
            return words.refused(SUBMITTED)
        if not claim.expenses:
            return words.refused("A claim without expenses cannot be submitted.")
        claim.moved("ClaimSubmitted")
        times = {"createdOn": utc_text(claim.created_at), "modifiedOn": utc_text(claim.modified_at)}
        return words.good("Claim submitted successfully.", {"claimId": claim.id, "status": claim.status, **times})


def _text(body: dict[str, Any], name: str, usual: str | None = None) -> str:
    value = body.get(name, usual)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{name} is required and cannot be empty.")
    return value


def _station(number: Any) -> str:
    if number not in FACILITIES:
        raise Unreadable("facilityStationNumber is not known.")
    return str(number)


def _type(given: Any) -> str:
    if given not in TYPES:
        raise Unreadable("appointmentType is not supported.")
    return str(given)


def _yes_or_no(given: Any) -> bool:
    if not isinstance(given, bool):
        raise Unreadable("isComplete must be true or false.")
    return given
