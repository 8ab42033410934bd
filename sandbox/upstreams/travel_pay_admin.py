"""The admin API of Travel Pay's book: list claims with their expenses, add a claim, give a claim another status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.fake import BadRequest, answer, json_body
from sandbox.upstreams.travel_pay_book import Book, BookedAppointment, Claim, wall_text
from sandbox.upstreams.travel_pay_past import mileage
from sandbox.upstreams.travel_pay_reads import Unreadable, appointment_listed, claim_listed, wall_clock

PLANTED = {"icn", "appointmentDateTime", "station", "claimStatus", "claimNumber", "expenses", "age_days"}


def travel_pay_admin(admin: Blueprint, book: Book, settle: Callable[[str | None], None]) -> None:
    """Add the routes. `settle` puts on file what the cast already has: for one person, or for everybody."""

    @admin.get("/claims")
    def list_claims() -> Response:
        icn = request.args.get("icn")
        settle(icn)
        with book.lock:
            return answer([_described(claim) for claim in book.claims_of(icn)])

    @admin.get("/appointments")
    def list_appointments() -> Response:
        icn = request.args.get("icn")
        settle(icn)
        with book.lock:
            found = [each for each in book.appointments.values() if icn in (None, each.icn)]
            return answer(
                [appointment_listed(book, each) | {"icn": each.icn, "station": each.station} for each in found]
            )

    @admin.post("/claims")
    def plant_claim() -> Response:
        """Add a claim made elsewhere. JSON: `icn`; optional `appointmentDateTime` (wall clock; default: the first
        appointment on file without a claim), `station` (983), `claimStatus` (ClaimSubmitted), `claimNumber`,
        `expenses`, how many (1, none in an Incomplete one), and `age_days` (0)."""
        body = json_body()
        unknown = set(body) - PLANTED
        if unknown or not body.get("icn"):
            raise BadRequest(f"icn is needed, unknown: {', '.join(sorted(unknown)) or 'nothing'}")
        settle(body["icn"])
        with book.lock:
            claim = _planted(book, body, _appointment(book, body))
            if not book.create(claim):
                raise BadRequest("that appointment has a claim")
            return answer(_described(claim), 201)

    @admin.patch("/claims/<claim_id>")
    def move_claim(claim_id: str) -> Response:
        """Give the claim with that id or number another `claimStatus`."""
        status = json_body().get("claimStatus")
        with book.lock:
            claim = next((each for each in book.claims_of(None) if claim_id in (each.id, each.number)), None)
            if claim is None or not isinstance(status, str) or not status:
                raise BadRequest(f"no claim {claim_id}, or no claimStatus")
            claim.moved(status)
            return answer(_described(claim))


def _appointment(book: Book, body: dict[str, Any]) -> BookedAppointment:
    icn = body["icn"]
    if "appointmentDateTime" not in body:
        free = next((each for each in book.appointments_of(icn) if each.claim_id is None), None)
        if free is None:
            raise BadRequest("no appointment without a claim: appointmentDateTime is needed")
        return free
    try:
        at = wall_clock(body["appointmentDateTime"])
    except Unreadable as error:
        raise BadRequest(str(error)) from None
    return book.find_or_add(BookedAppointment(icn, at, body.get("station", "983")))[0]


def _planted(book: Book, body: dict[str, Any], appointment: BookedAppointment) -> Claim:
    status = body.get("claimStatus", "ClaimSubmitted")
    at = datetime.now(UTC) - timedelta(days=float(body.get("age_days", 0)))
    return Claim(
        icn=appointment.icn,
        number=body.get("claimNumber") or book.next_number(),
        name="Claim made elsewhere",
        appointment=appointment,
        status=status,
        station=appointment.station,
        created_at=at,
        modified_at=at,
        expenses=[mileage(appointment) for _ in range(int(body.get("expenses", status != "Incomplete")))],
        source="planted",
    )


def _described(claim: Claim) -> dict[str, Any]:
    """The claim as lists have it, and what only the fake knows."""
    return claim_listed(claim) | {
        "icn": claim.icn,
        "station": claim.station,
        "appointmentId": claim.appointment.id if claim.appointment else None,
        "wallClock": wall_text(claim.appointment.at)[:19] if claim.appointment else None,
        "expenses": [expense.as_json() | {"tripType": expense.trip} for expense in claim.expenses],
        "documents": [document.as_json() for document in claim.documents],
        "source": claim.source,
    }
