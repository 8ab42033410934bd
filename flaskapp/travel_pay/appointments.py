"""Routes of appointments with their travel pay claims, as the front end calls them (contract: frontend 5.1, 5.2)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from flaskapp.travel_pay import reads, shapes
from flaskapp.travel_pay.routes import TAG, UPSTREAM_PROBLEMS
from flaskapp.travel_pay.schemas import bad
from flaskapp.upstreams.travel_pay.values import UpstreamAppointment
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import describe
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in

blueprint = Blueprint("travel_pay_appointments", __name__, url_prefix="/vaos/v2/appointments")
require_sign_in(blueprint)

CLAIMS = "travel_pay_claims"
# An empty value counts as left out.
A_TIMESTAMP = {"type": "string", "anyOf": [{"format": "date-time"}, {"maxLength": 0}]}
RANGE = [
    {"name": name, "in": "query", "schema": A_TIMESTAMP, "description": text}
    for name, text in (
        ("start", "From this time, ISO 8601; together with `end`. Facilities' wall clocks are compared as if UTC."),
        ("end", "To this time."),
    )
]
INCLUDE = {
    "name": "_include",
    "in": "query",
    "schema": {"type": "string"},
    "description": "`travel_pay_claims` adds each appointment's claim as `travelPayClaim`; other words are ignored.",
}


@blueprint.get("")
@describe(
    "The caller's appointments",
    tag=TAG,
    security=CALLER,
    parameters=[*RANGE, INCLUDE],
    answers={200: "`data` lists appointments.", 206: "The same, with a part missing.", **TOKEN_ANSWERS},
    problems={400: "A time that cannot be read, or one without the other.", **UPSTREAM_PROBLEMS},
)
def list_appointments() -> Response:
    account_id = uuid.UUID(caller().account_id)
    start, end = requested_timestamp("start"), requested_timestamp("end")
    if (start is None) != (end is None):
        raise bad("start and end go together.")
    found, whole = reads.appointments(account_id)
    if start is not None and end is not None:
        found = [each for each in found if is_within(each, start, end)]
    status = 200 if whole else 206
    metadata = {"status": status, "success": True, "message": reads.READ if whole else reads.PART}
    return answer({"data": described(account_id, found), "metadata": metadata}, status)


@blueprint.get("/<appointment_id>")
@describe(
    "One appointment",
    tag=TAG,
    security=CALLER,
    parameters=[INCLUDE],
    answers={200: "`data.attributes` describes it.", **TOKEN_ANSWERS},
    problems={404: "The caller has no such appointment.", **UPSTREAM_PROBLEMS},
)
def show_appointment(appointment_id: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    found, whole = reads.appointments(account_id)
    wanted = [each for each in found if appointment_id in (each.id, each.external_appointment_id)]
    if not wanted and not whole:
        raise Problem(502, detail=reads.PART)
    if not wanted:
        raise Problem(404, "Not found", "You have no such appointment.")
    return answer({"data": described(account_id, wanted[:1])[0]})


def requested_timestamp(name: str) -> datetime | None:
    text = request.args.get(name)
    if not text:
        return None
    try:
        # A plus sign in a query that was not encoded arrives as a space.
        timestamp = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise bad(f"{name} has to be a time like 2031-03-04T00:00:00Z.") from None
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def is_within(appointment: UpstreamAppointment, start: datetime, end: datetime) -> bool:
    """By the wall clock taken as UTC: pages request half a day more on each side, the most that a zone can be off."""
    shown = shapes.wall_clock(appointment.appointment_date_time)
    return shown is not None and start <= datetime.fromisoformat(shown).replace(tzinfo=UTC) <= end


def described(account_id: uuid.UUID, found: list[UpstreamAppointment]) -> list[dict[str, Any]]:
    items = [shapes.appointment_item(each) for each in found]
    if CLAIMS in request.args.get("_include", "").split(","):
        known = known_claims(account_id) if any(each.associated_claim_id for each in found) else {}
        for item, each in zip(items, found, strict=True):
            item["attributes"]["travel_pay_claim"] = claim_of(each, known)
    return items


def known_claims(account_id: uuid.UUID) -> dict[str, Any] | None:
    """The person's claims by id; None when they could not be read: the appointments must be shown all the same."""
    try:
        return {item["id"]: item for item in reads.claims(account_id, None, None, None, reads.PAGE_SIZE).items}
    except Problem:
        return None


def claim_of(appointment: UpstreamAppointment, known: dict[str, Any] | None) -> dict[str, Any]:
    """What `travelPayClaim` holds: how reading it went and, where there is one, the claim."""
    if known is None:
        return {"metadata": {"status": 502, "success": False, "message": reads.PART}}
    metadata = {"status": 200, "success": True, "message": reads.READ}
    if appointment.associated_claim_id is None:
        return {"metadata": metadata}
    named = {"id": appointment.associated_claim_id, "claim_number": appointment.associated_claim_number}
    return {"metadata": metadata, "claim": known.get(appointment.associated_claim_id) or named}
