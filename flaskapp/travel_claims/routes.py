"""Routes of travel claims from check-in: a 202 in milliseconds, decided only by our database, then the real state."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import ValidationError, fields, validate

from flaskapp import clock
from flaskapp.check_in.appointments import DATE_OR_TIME, Posted, day_of, is_among, named, posted_of
from flaskapp.check_in.routes import CALLER, CHECK_IN_ID, NO_SESSION, current, current_for, unauthorized
from flaskapp.check_in.service import CheckIn, Identity
from flaskapp.db import DbSession, durably, transaction
from flaskapp.travel_claims import service
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.service import Filed
from flaskapp.travel_claims.states import TRAVEL_CLAIM, words_of
from flaskapp.web import access
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER, remember
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import Body, believable, json_body
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import DAY, FLAG, TEXT, TIMESTAMP, UUID, WHOLE, data_of, or_null, said, thing, word
from flaskapp.web.waiting import PREFER, Shown, Watched, answer_when_changed

CLAIMS = Watched("travel_claim", "SELECT id::text, state FROM travel_claims WHERE id = ANY(CAST(:ids AS uuid[]))")

blueprint = Blueprint("travel_claims", __name__, url_prefix="/check_in/v0/travel_claims")
access.declare(blueprint, "the check-in session's cookie, for that session's own person; anybody else gets a 401")

NO_SUCH_APPOINTMENT = (
    "This check-in has no appointment on that day. Open the link in your text message again and request travel pay for"
    " an appointment that it shows, or ask a staff member."
)
EXAMPLE = {"travel_claims": {"uuid": "0c4f6d1e-0000-4000-8000-0000000000aa", "appointment_date": "2031-03-04"}}


CLAIM = {
    "id": UUID,
    "type": word("travel_claim"),
    "state": word(*TRAVEL_CLAIM.states),
    "unconfirmed": said(FLAG, "It may be on file, and nobody could tell us."),
    "message": said(TEXT, "The state in words, to be shown."),
    "appointment_date": DAY,
    "claim_number_last_four": or_null(TEXT),
    "requested_at": TIMESTAMP,
    "finished_at": or_null(TIMESTAMP),
}
ACCEPTED_CLAIM = data_of(
    "AcceptedTravelClaim", thing("NewTravelClaim", {**CLAIM, "status_code": WHOLE}), {"status": WHOLE}
)


class AppointmentDate(fields.Field):
    """A calendar date or a date-time, in any of the forms in which an appointment was served."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Posted:
        try:
            posted = posted_of(value)
            believable(posted.written)
        except ValueError:
            raise ValidationError("has to be a date like 2031-03-04.") from None
        return posted


class ClaimFields(Body):
    uuid = fields.String(
        required=True, validate=validate.Regexp(CHECK_IN_ID.pattern + r"\Z", error="is not a check-in id.")
    )
    appointment_date = AppointmentDate(
        required=True,
        metadata={
            "type": "string",
            "pattern": DATE_OR_TIME.pattern,
            "description": "The day of an appointment of this check-in: its `startTime` as it was served, `YYYY-MM-DD`,"
            " or a date-time of which the wall clock counts.",
        },
    )


class ClaimBody(Body):
    travel_claims = fields.Nested(ClaimFields, required=True)


CLAIM_BODY = ClaimBody()


@blueprint.post("")
@describe(
    "Request travel pay",
    tag="Travel claims",
    security=CALLER,
    body=ClaimBody,
    example=EXAMPLE,
    answers={
        202: Answer("`data.id` names the claim. It will be filed, or a named human will have it.", ACCEPTED_CLAIM),
        401: NO_SESSION,
    },
    problems={
        409: "The check-in was never loaded, so we do not know who this is.",
        422: "A field is missing or malformed, the Idempotency-Key named another request, or the check-in has no"
        " appointment on that day (`NO_SUCH_APPOINTMENT`).",
        503: "Our database is away; nothing was accepted.",
    },
    parameters=[KEY_PARAMETER],
)
def request_claim() -> Response:
    requested = json_body(CLAIM_BODY)["travel_claims"]
    check_in = current_for(requested["uuid"])
    if check_in is None:
        return unauthorized(requested["uuid"])
    key = request.headers.get("Idempotency-Key")
    wanted = wanted_by(check_in, requested)
    described = durably(
        lambda session: accept_check_in_claim(session, check_in, requested, wanted, key),
        at_once=lambda: accept_at_once(wanted) if key is None else None,
    )
    return answer({"data": {**described, "status_code": 202}, "status": 202}, 202)


@dataclass(frozen=True)
class Wanted:
    """The claim that a check-in wants: whose, for which day and, where it is known, at what time of the facility's
    clock. `known`: the check-in may have an appointment on that day."""

    identity: Identity
    day: date
    clock: datetime | None
    known: bool


def wanted_by(check_in: CheckIn, requested: dict[str, Any]) -> Wanted:
    """Raises Problem 409 while we do not know who it is."""
    if check_in.identity is None:
        raise Problem(409, "Conflict", "Load the check-in before you request travel pay.", "CHECK_IN_NOT_LOADED")
    posted, appointments = requested["appointment_date"], check_in.appointments or []
    day, appointment = day_of(posted, appointments), named(posted, appointments)
    identity, clock = check_in.identity, appointment.clock if appointment is not None else posted.clock
    if appointment is not None and appointment.station is not None:
        # A check-in may hold appointments at two facilities, and each is a claim of its own.
        identity = replace(identity, station=appointment.station)
    return Wanted(identity, day, clock, is_known(check_in, day))


def is_known(check_in: CheckIn, day: date) -> bool:
    """Whether its appointments allow that day; a session from before they were kept may name any."""
    return check_in.appointments is None or is_among(day, check_in.appointments, clock.now().date())


def accept_at_once(wanted: Wanted) -> dict[str, Any] | None:
    """The claim and the message that files it, where they are new: one statement. None where it takes more."""
    claim = service.request_at_once(wanted.identity, wanted.day, wanted.clock) if wanted.known else None
    return describe_claim(claim) if claim is not None else None


def accept_check_in_claim(
    session: DbSession, check_in: CheckIn, requested: dict[str, Any], wanted: Wanted, key: str | None
) -> dict[str, Any]:
    """One transaction: the key, the claim, and the message that files it. Idempotent, so it may be rerun.

    Raises Problem 422 for a day without an appointment, unless the claim for it is here already.
    """
    identity, day = wanted.identity, wanted.day
    remember(session, check_in.uuid, key, {**requested, "appointment_date": day, "path": "travel_claims"})
    if not wanted.known and service.find_of_day(session, identity, day) is None:
        where = "/travel_claims/appointment_date"
        raise Problem(422, "Unprocessable Entity", NO_SUCH_APPOINTMENT, "NO_SUCH_APPOINTMENT", where)
    return describe_claim(service.request_check_in_claim(session, identity, day, wanted.clock))


def describe_claim(claim: TravelClaim) -> dict[str, Any]:
    """The claim's real state, as a code and in words."""
    filed = Filed(**claim.filed) if claim.filed else None
    return {
        "id": str(claim.id),
        "type": "travel_claim",
        "state": claim.state,
        "unconfirmed": claim.unconfirmed,
        "message": words_of(claim.state, claim.unconfirmed),
        "appointment_date": claim.appointment_date.isoformat(),
        "claim_number_last_four": filed.last_four if filed and filed.claim_number else None,
        "requested_at": claim.requested_at.isoformat(),
        "finished_at": claim.finished_at.isoformat() if claim.finished_at else None,
    }


@blueprint.get("/<claim_id>")
@describe(
    "Where a claim stands",
    tag="Travel claims",
    security=CALLER,
    parameters=[{"name": "claim_id", "in": "path", "schema": {"type": "string", "format": "uuid"}}, PREFER],
    answers={
        200: Answer(
            "`data.state` says where it stands, `data.message` says it in words.",
            data_of("TravelClaimStatus", thing("TravelClaim", CLAIM)),
        ),
        401: NO_SESSION,
    },
    problems={404: "No such claim of this person."},
)
def show_claim(claim_id: str) -> Response:
    check_in = current()
    if check_in is None or check_in.identity is None:
        return unauthorized("")
    try:
        uuids.UUID(claim_id)
    except ValueError:
        raise Problem(404, detail="You have no such claim.") from None
    icn = check_in.identity.icn
    return answer_when_changed(CLAIMS, lambda: shown_claim(claim_id, icn))


def shown_claim(claim_id: str, icn: str) -> Shown:
    with transaction() as session:
        claim = service.find_claim(session, claim_id, icn)
        if claim is None:
            raise Problem(404, detail="You have no such claim.")
        may_change = claim.state not in TRAVEL_CLAIM.final
        return Shown({"data": describe_claim(claim)}, str(claim.id), claim.state if may_change else None)
