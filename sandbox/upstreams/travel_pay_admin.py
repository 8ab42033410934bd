"""The back door to Travel Pay's book: see claims with their expenses, plant one, give one another status."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.fake import BadRequest, answer, json_body
from sandbox.upstreams.travel_pay_book import Book, Claim, Journey, wall_text
from sandbox.upstreams.travel_pay_past import mileage
from sandbox.upstreams.travel_pay_reads import Unreadable, claim_listed, journey_reported, wall_clock

PLANTED = {"icn", "appointmentDateTime", "station", "claimStatus", "claimNumber", "expenses", "age_days"}


def travel_pay_admin(admin: Blueprint, book: Book, settle: Callable[[str | None], None]) -> None:
    """Add the routes; `settle` puts on file what the cast brings along: one person's, or everybody's."""

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
            listed = [journey for journey in book.journeys.values() if icn in (None, journey.icn)]
            return answer(
                [
                    journey_reported(book, journey) | {"icn": journey.icn, "station": journey.station}
                    for journey in listed
                ]
            )

    @admin.post("/claims")
    def plant_claim() -> Response:
        """Plant a claim made elsewhere. JSON: `icn`; optional `appointmentDateTime` (wall clock; the first appointment
        on file that has no claim), `station` (983), `claimStatus` (ClaimSubmitted), `claimNumber`, `expenses`, how many
        (1, none in an Incomplete one), and `age_days` (0)."""
        body = json_body()
        unknown = set(body) - PLANTED
        if unknown or not body.get("icn"):
            raise BadRequest(f"icn is needed, unknown: {', '.join(sorted(unknown)) or 'nothing'}")
        settle(body["icn"])
        with book.lock:
            claim = _planted(book, body, _journey(book, body))
            if not book.create(claim):
                raise BadRequest("that appointment has a claim")
            return answer(_described(claim), 201)

    @admin.patch("/claims/<claim_id>")
    def move_claim(claim_id: str) -> Response:
        """Give the claim of that id or number another `claimStatus`."""
        status = json_body().get("claimStatus")
        with book.lock:
            claim = next((each for each in book.claims_of(None) if claim_id in (each.id, each.number)), None)
            if claim is None or not isinstance(status, str) or not status:
                raise BadRequest(f"no claim {claim_id}, or no claimStatus")
            claim.moved(status)
            return answer(_described(claim))


def _journey(book: Book, body: dict[str, Any]) -> Journey:
    icn = body["icn"]
    if "appointmentDateTime" not in body:
        free = next((journey for journey in book.journeys_of(icn) if journey.claim_id is None), None)
        if free is None:
            raise BadRequest("no appointment without a claim: appointmentDateTime is needed")
        return free
    try:
        return book.find_or_add(Journey(icn, wall_clock(body["appointmentDateTime"]), body.get("station", "983")))[0]
    except Unreadable as error:
        raise BadRequest(str(error)) from None


def _planted(book: Book, body: dict[str, Any], journey: Journey) -> Claim:
    status = body.get("claimStatus", "ClaimSubmitted")
    at = datetime.now(UTC) - timedelta(days=float(body.get("age_days", 0)))
    return Claim(
        icn=journey.icn,
        number=body.get("claimNumber") or book.next_number(),
        name="Claim made elsewhere",
        journey=journey,
        status=status,
        station=journey.station,
        created_at=at,
        modified_at=at,
        expenses=[mileage(journey) for _ in range(int(body.get("expenses", status != "Incomplete")))],
        source="planted",
    )


def _described(claim: Claim) -> dict[str, Any]:
    """The claim as lists tell it, and what only the fake knows."""
    return claim_listed(claim) | {
        "icn": claim.icn,
        "station": claim.station,
        "appointmentId": claim.journey.id if claim.journey else None,
        "wallClock": wall_text(claim.journey.at)[:19] if claim.journey else None,
        "expenses": [expense.reported() | {"tripType": expense.trip} for expense in claim.expenses],
        "documents": [document.reported() for document in claim.documents],
        "source": claim.source,
    }
