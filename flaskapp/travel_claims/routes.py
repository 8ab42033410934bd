"""Routes of travel claims from check-in: a 202 in milliseconds, decided only by our database, then the real state."""

from __future__ import annotations

import re
import uuid as uuids
from datetime import date, datetime
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import ValidationError, fields, validate

from flaskapp.check_in.routes import CALLER, UUID, current, current_for, unauthorized
from flaskapp.check_in.service import CheckIn
from flaskapp.db import DbSession, durably, transaction
from flaskapp.travel_claims import service
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.service import Filed
from flaskapp.travel_claims.states import UNCONFIRMED_WORDS, WORDS
from flaskapp.web import access
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER, remember
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import Body, believable, json_body
from flaskapp.web.openapi import describe

blueprint = Blueprint("travel_claims", __name__, url_prefix="/check_in/v0/travel_claims")
access.declare(blueprint, "the check-in session's cookie, for that session's own person; anybody else gets a 401")

WALL_CLOCK = re.compile(r"(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
EXAMPLE = {"travel_claims": {"uuid": "0c4f6d1e-0000-4000-8000-0000000000aa", "appointment_date": "2031-03-04"}}


class AppointmentDate(fields.Field):
    """A calendar date, or a date-time whose wall clock counts: an offset is dropped, as the front end means it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        found = WALL_CLOCK.fullmatch(value) if isinstance(value, str) else None
        try:
            if found:
                return believable(datetime.fromisoformat(found[0]).date())
        except ValueError:
            pass
        raise ValidationError("has to be a date like 2031-03-04.")


class ClaimFields(Body):
    uuid = fields.String(required=True, validate=validate.Regexp(UUID.pattern + r"\Z", error="is not a check-in id."))
    appointment_date = AppointmentDate(
        required=True,
        metadata={
            "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}],
            "description": "`YYYY-MM-DD`, or a date-time whose wall clock counts; an offset is dropped.",
        },
    )


class ClaimBody(Body):
    travel_claims = fields.Nested(ClaimFields, required=True)


@blueprint.post("")
@describe(
    "Request travel pay",
    tag="Travel claims",
    security=CALLER,
    body=ClaimBody,
    example=EXAMPLE,
    answers={
        202: "Accepted: `data.id` names the claim. It will be filed, or a named human will have it.",
        401: "No check-in session for this uuid; the body is the `read.none` object.",
    },
    problems={
        409: "The check-in was never loaded, so we do not know who this is.",
        422: "A field is missing or malformed, or the Idempotency-Key named another request.",
        503: "Our database is away; nothing was accepted.",
    },
    parameters=[KEY_PARAMETER],
)
def request_claim() -> Response:
    requested = json_body(ClaimBody())["travel_claims"]
    check_in = current_for(requested["uuid"])
    if check_in is None:
        return unauthorized(requested["uuid"])
    key = request.headers.get("Idempotency-Key")
    described = durably(lambda session: accept_check_in_claim(session, check_in, requested, key))
    return answer({"data": {**described, "status_code": 202}, "status": 202}, 202)


def accept_check_in_claim(
    session: DbSession, check_in: CheckIn, requested: dict[str, Any], key: str | None
) -> dict[str, Any]:
    """One transaction: the key, the claim, and the message that files it. Idempotent, so it may be rerun."""
    if check_in.identity is None:
        raise Problem(409, "Conflict", "Load the check-in before you request travel pay.", "CHECK_IN_NOT_LOADED")
    remember(session, check_in.uuid, key, {**requested, "path": "travel_claims"})
    return describe_claim(service.request_check_in_claim(session, check_in.identity, requested["appointment_date"]))


def describe_claim(claim: TravelClaim) -> dict[str, Any]:
    """The claim's real state, as a code and in words."""
    filed = Filed(**claim.filed) if claim.filed else None
    return {
        "id": str(claim.id),
        "type": "travel_claim",
        "state": claim.state,
        "unconfirmed": claim.unconfirmed,
        "message": UNCONFIRMED_WORDS if claim.unconfirmed else WORDS[claim.state],
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
    parameters=[{"name": "claim_id", "in": "path", "schema": {"type": "string", "format": "uuid"}}],
    answers={
        200: "`data.state` is pending, submitted, duplicate or failed; `data.message` says it in words.",
        401: "No check-in session; the body is the `read.none` object.",
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
    with transaction() as session:
        claim = service.find_claim(session, claim_id, check_in.identity.icn)
        if claim is None:
            raise Problem(404, detail="You have no such claim.")
        described = describe_claim(claim)
    return answer({"data": described})
