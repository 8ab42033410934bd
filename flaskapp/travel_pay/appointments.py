"""Routes of appointments with their travel pay claims, as the front end calls them (contract: frontend 5.1, 5.2)."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from flask import Blueprint, Response, request

from flaskapp.db import db, transaction
from flaskapp.travel_pay import answers, reads, service, shapes
from flaskapp.travel_pay.routes import TAG, UPSTREAM_PROBLEMS
from flaskapp.travel_pay.schemas import bad
from flaskapp.upstreams.transport.ids import station_of
from flaskapp.upstreams.travel_pay.values import UpstreamAppointment
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in

blueprint = Blueprint("travel_pay_appointments", __name__, url_prefix="/vaos/v2/appointments")
require_sign_in(blueprint)

CLAIMS = "travel_pay_claims"
# An empty value counts as left out.
A_TIMESTAMP = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}, {"maxLength": 0}]}
RANGE = [
    {"name": name, "in": "query", "schema": A_TIMESTAMP, "description": text}
    for name, text in (
        ("start", "From this time or day, ISO 8601; together with `end`. Wall clocks are compared as if UTC."),
        ("end", "To this time, or to the end of this day."),
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
    passes_on=True,
    parameters=[*RANGE, INCLUDE],
    answers={
        200: Answer("`data` lists appointments.", answers.APPOINTMENTS),
        206: Answer("The same, with a part missing.", answers.APPOINTMENTS),
        **TOKEN_ANSWERS,
    },
    problems={400: "A time that cannot be read, or one without the other.", **UPSTREAM_PROBLEMS},
)
def list_appointments() -> Response:
    account_id = uuid.UUID(caller().account_id)
    start, end = requested_timestamp("start", time.min), requested_timestamp("end", time.max)
    if (start is None) != (end is None):
        raise bad("start and end go together.")
    limit = reads.Limit(account_id)
    found, whole = reads.appointments(account_id, limit)
    if start is not None and end is not None:
        found = [each for each in found if is_within(each, start, end)]
    items, sure = described(account_id, found, limit)
    status = 200 if whole and sure else 206
    return answer({"data": items, "metadata": reads.metadata(status)}, status)


@blueprint.get("/<appointment_id>")
@describe(
    "One appointment",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=[INCLUDE],
    answers={
        200: Answer("`data.attributes` describes it.", answers.ONE_APPOINTMENT),
        206: Answer("The same; whether it has a claim, or which, could not be read.", answers.ONE_APPOINTMENT),
        **TOKEN_ANSWERS,
    },
    problems={404: "The caller has no such appointment.", **UPSTREAM_PROBLEMS},
)
def show_appointment(appointment_id: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    limit = reads.Limit(account_id)
    found, whole = reads.appointments(account_id, limit)
    wanted = [each for each in found if appointment_id in (each.id, each.external_appointment_id)]
    if not wanted and not whole:
        raise Problem(502, detail=reads.PART)
    if not wanted:
        raise Problem(404, "Not found", "You have no such appointment.")
    items, sure = described(account_id, wanted[:1], limit)
    return answer({"data": items[0]}, 200 if sure else 206)


def requested_timestamp(name: str, of_day: time) -> datetime | None:
    """Of a day without a time, which pages send too (contract: frontend 5.1), it is the time `of_day`."""
    text = request.args.get(name)
    if not text:
        return None
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), of_day, UTC)
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


def described(
    account_id: uuid.UUID, found: list[UpstreamAppointment], limit: reads.Limit
) -> tuple[list[dict[str, Any]], bool]:
    """The appointments as they are shown, and whether all is known that was requested about their claims."""
    items = [shapes.appointment_item(each) for each in found]
    if CLAIMS not in request.args.get("_include", "").split(","):
        return items, True
    known, here = known_claims(account_id, found, limit), claims_here(account_id)
    for item, each in zip(items, found, strict=True):
        item["attributes"]["travel_pay_claim"] = claim_of(each, known, here)
    return items, all(item["attributes"]["travel_pay_claim"]["metadata"]["success"] for item in items)


def known_claims(account_id: uuid.UUID, found: list[UpstreamAppointment], limit: reads.Limit) -> dict[str, Any] | None:
    """The claims of these appointments by id, read by their days, in the time that is left for this request.

    None when they could not be read: the appointments must be shown all the same.
    """
    days = [at.date() for each in found if each.associated_claim_id and (at := shapes.starts_at(each))]
    if not days:
        return {}
    try:
        listed = reads.claims(account_id, min(days), max(days), None, reads.PAGE_SIZE, limit)
    except Problem:
        return None
    return {item["id"]: item for item in listed.items}


def is_at(wall_clock: str | None, starts_at: datetime | None) -> bool:
    """Whether a claim with this time, day or neither may be for an appointment that begins then."""
    if wall_clock is None or starts_at is None:
        return True
    at = datetime.fromisoformat(wall_clock)
    return at == starts_at if "T" in wall_clock else at.date() == starts_at.date()


@dataclass(frozen=True)
class ClaimHere:
    """A claim that BTSSS does not have yet, or not completely. `starts_at` is naive, `claim_id` the one at BTSSS;
    `item` is what a list shows of it, `record` our words alone."""

    starts_at: datetime
    station: str
    appointment_id: str | None
    claim_id: str | None
    item: dict[str, Any]
    record: dict[str, Any]

    def is_for(self, appointment: UpstreamAppointment) -> bool:
        place, at = station_of(appointment.facility_id), shapes.starts_at(appointment)
        return (self.starts_at, self.station) == (at, place) or self.appointment_id == appointment.id


def claims_here(account_id: uuid.UUID) -> list[ClaimHere]:
    """The person's claims that stand only with us. One that came to nothing is none: it may be filed another way."""
    with transaction() as session:
        found = [
            ClaimHere(
                row.starts_at,
                service.requested_of(row).station,
                row.appointment_id,
                row.claim_id,
                shapes.waiting_here(row),
                shapes.record_of(row),
            )
            for row in service.unfinished(session, account_id)
            if not shapes.failed_without_claim(row)
        ]
    db.session.remove()
    return found


def claim_of(appointment: UpstreamAppointment, known: dict[str, Any] | None, here: list[ClaimHere]) -> dict[str, Any]:
    """What `travelPayClaim` holds: how reading it went and, where there is one, the claim. One that is listed for
    another time is not shown as this appointment's."""
    claim_id = appointment.associated_claim_id
    ours = next((each for each in here if each.is_for(appointment)), None)
    if ours is not None and claim_id not in (None, ours.claim_id):
        ours = None
    listed = (known or {}).get(claim_id or "")
    if listed is not None and is_at(listed["appointment_date_time"], shapes.starts_at(appointment)):
        return {"metadata": reads.metadata(200), "claim": listed | (ours.record if ours else {})}
    if ours is not None:
        return {"metadata": reads.metadata(200), "claim": ours.item}
    if claim_id is None:
        return {"metadata": reads.metadata(200)}
    named = {"id": claim_id, "claim_number": appointment.associated_claim_number}
    return {"metadata": reads.metadata(502 if known is None else 206), "claim": named}
