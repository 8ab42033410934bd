"""Check-in routes as the front end calls them (contract: frontend 2): sessions, check-in data, what a person
confirms, the check-in itself."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from marshmallow import fields, validate

from flaskapp.check_in import service
from flaskapp.check_in.appointments import first_text
from flaskapp.check_in.service import CheckIn
from flaskapp.check_in.tries import OthersRunning
from flaskapp.config import Config
from flaskapp.config_readers import Rate
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.chip import CONFIRMED
from flaskapp.upstreams.errors import PERSON_TOKEN_REFUSED, Rejected, Unauthorized, UpstreamError
from flaskapp.web import access, rate_limits
from flaskapp.web.errors import CHALLENGE, Problem
from flaskapp.web.inflection import answer, to_snake, with_keys
from flaskapp.web.json_body import Body, Truth, json_body
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.passthrough import waiting_for
from flaskapp.web.shapes import ANYTHING, FLAG, OBJECT, TEXT, WHOLE, any_of, listed, or_null, thing, word

blueprint = Blueprint("check_in", __name__, url_prefix="/check_in/v2")
access.declare(blueprint, "anybody; a person proves who they are through LoROTA, then carries the cookie `cie_session`")

COOKIE = "cie_session"
CHECK_IN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CALLER = access.Access(
    "the check-in session's cookie", {"checkInSession": {"type": "apiKey", "in": "cookie", "name": COOKIE}}
)
# A caller without a session is answered too, with the `read.none` object.
ANYBODY = replace(CALLER, optional=True)

# What the page asks, and what CHIP calls it.
CONFIRMATIONS = {f"{to_snake(name)}_up_to_date": name for name in CONFIRMED}

# Status, code, title and detail (contract: travel 1.1). The front end reads the status in the body, which decides what
# it shows (contract: frontend 2.2).
SESSION_PROBLEMS = {
    "no_match": (401, "LOROTA-API_401", "Authentication Error", "We could not match that name and date of birth."),
    "too_many": (410, "CIE-VETS-API_410", "Data Gone", "Too many tries. Please check in with a staff member."),
    "not_found": (404, "CIE-VETS-API_404", "Not Found", "This link has expired. Please check in with a staff member."),
}
UNAVAILABLE = "Check-in is not available just now. Try again, or see a staff member."
UNREADABLE = "Your appointments cannot be read just now. Try again."
CROWDED = "Too many people are checking in just now; `Retry-After` says when to try again."
OPENING = "This link is being opened already. Wait a moment, then try again."
# By then LoROTA has mostly answered the others.
OTHERS_SECONDS = 5
# What phones and keyboards type for it.
APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u02bb\u02bc\u00b4`"), "'")
# What identifies a person, and no page uses.
IDENTIFIERS = ("icn", "edipi", "patientDFN")


PERMISSIONS = thing("Permissions", {"permissions": word("read.full", "read.none"), "status": TEXT, "uuid": TEXT})
BAD_ID = thing("BadCheckInId", {"error": FLAG, "message": TEXT})
# What LoROTA holds of a person is LoROTA's to say.
APPOINTMENT = thing("CheckInAppointment", {"appointment_ien": or_null(TEXT)}, additionalProperties=True)
CHECK_IN = thing(
    "CheckIn",
    {
        "id": TEXT,
        "payload": thing(
            "CheckInPayload",
            {
                "address": ANYTHING,
                "appointments": listed(APPOINTMENT),
                "demographics": OBJECT,
                "patient_demographics_status": OBJECT,
                "set_e_checkin_started_called": or_null(FLAG),
            },
        ),
    },
)
CONFIRMATION = thing("DemographicsAnswer", {"data": OBJECT, "status": WHOLE})
CHECKED_IN = thing("CheckInAnswer", {"data": ANYTHING, "status": WHOLE})
NO_SESSION = Answer("No check-in session for this uuid: the `read.none` object.", PERMISSIONS)


class SessionFields(Body):
    uuid = fields.String(
        required=True, validate=validate.Regexp(CHECK_IN_ID.pattern + r"\Z", error="is not a check-in id.")
    )
    dob = fields.Date(required=True, format="%Y-%m-%d", error_messages={"invalid": "has to be a date, YYYY-MM-DD."})
    last_name = fields.String(required=True, validate=validate.Length(1, 200))


class SessionBody(Body):
    session = fields.Nested(SessionFields, required=True)


class TextOrNumber(fields.String):
    """A text; a whole number is its digits: what LoROTA wrote as a number, a page may send back as one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return super()._deserialize(str(value) if is_number else value, attr, data, **kwargs)


class CheckInFields(Body):
    uuid = fields.String(
        required=True, validate=validate.Regexp(CHECK_IN_ID.pattern + r"\Z", error="is not a check-in id.")
    )
    appointment_ien = TextOrNumber(
        required=True, validate=validate.Length(1, 100), metadata={"type": ["string", "integer"]}
    )
    is_travel_enabled = Truth(load_default=False)
    travel_submitted = Truth(load_default=False)


class CheckInBody(Body):
    patient_check_ins = fields.Nested(CheckInFields, required=True)


class ConfirmationFields(Body):
    """The page sends only what the person was asked and answered."""

    demographics_up_to_date = Truth()
    next_of_kin_up_to_date = Truth()
    emergency_contact_up_to_date = Truth()


class DemographicsFields(Body):
    demographic_confirmations = fields.Nested(ConfirmationFields, load_default=None, allow_none=True)


class DemographicsBody(Body):
    demographics = fields.Nested(DemographicsFields, load_default=None, allow_none=True)


def permissions(level: str, uuid: str) -> dict[str, str]:
    return {"permissions": level, "status": "success", "uuid": uuid}


def unauthorized(uuid: str) -> Response:
    return answer(permissions("read.none", uuid), 401, {"WWW-Authenticate": CHALLENGE})


def current() -> CheckIn | None:
    """The caller's session, looked up and counted once in each request."""
    if "check_in" not in g:
        g.check_in = service.find_session(request.cookies.get(COOKIE))
        if g.check_in is not None:
            rate_limits.count_caller("check_in", g.check_in.uuid)
    found: CheckIn | None = g.check_in
    return found


def current_for(uuid: str) -> CheckIn | None:
    found = current()
    return found if found is not None and found.uuid == uuid else None


def upstreams() -> Upstreams:
    found: Upstreams = current_app.extensions["upstreams"]
    return found


@blueprint.get("/sessions/<uuid>")
@describe(
    "Whether this browser is signed in to a check-in",
    tag="Check-in",
    answers={
        200: Answer(
            "`permissions` is `read.full` or `read.none`; `error` is true for an id that is not valid.",
            any_of(PERMISSIONS, BAD_ID),
        )
    },
)
def show_session(uuid: str) -> Response:
    if not CHECK_IN_ID.fullmatch(uuid):
        return answer({"error": True, "message": "The check-in id is not valid."})
    return answer(permissions("read.full" if current_for(uuid) else "read.none", uuid))


@blueprint.post("/sessions")
@describe(
    "Sign in to a check-in by last name and date of birth",
    tag="Check-in",
    body=SessionBody,
    example={
        "session": {
            "uuid": "0c4f6d1e-0000-4000-8000-0000000000aa",
            "dob": "1950-01-31",
            "last_name": "Example",
            "check_in_type": "preCheckIn",
        }
    },
    answers={200: Answer("`permissions` is `read.full`; the cookie `cie_session` is set.", PERMISSIONS)},
    problems={
        401: "No match.",
        404: "No such check-in.",
        410: "Too many tries.",
        422: "A field is missing or malformed.",
        502: "LoROTA does not answer.",
        503: CROWDED,
    },
)
def create_session() -> Response:
    config: Config = current_app.extensions["config"]
    requested = json_body(SessionBody())["session"]
    last_name, seconds = plain(requested["last_name"].strip()), config.check_in_session_seconds
    try:
        with waiting_for("lorota", busy=UNAVAILABLE):
            token = service.start_session(upstreams().lorota, requested["uuid"], requested["dob"], last_name, seconds)
    except UpstreamError as error:
        return refuse_session(error)
    except OthersRunning as error:
        headers = rate_limits.waiting(Rate(config.check_in_tries, OTHERS_SECONDS), OTHERS_SECONDS)
        raise Problem(429, detail=OPENING, headers=headers) from error
    response = answer(permissions("read.full", requested["uuid"]))
    response.set_cookie(
        COOKIE,
        token,
        max_age=config.check_in_session_seconds,
        httponly=True,
        secure=not config.insecure_cookies,
        samesite="Lax",
    )
    return response


def plain(name: str) -> str:
    """The name with the apostrophe of a typewriter, as records have it: phones type another one (O’Brien)."""
    return name.translate(APOSTROPHES)


def refuse_session(error: UpstreamError) -> Response:
    if not isinstance(error, Rejected) or error.code not in SESSION_PROBLEMS:
        raise Problem(502, detail=UNAVAILABLE) from error
    status, code, title, detail = SESSION_PROBLEMS[error.code]
    headers = {"WWW-Authenticate": 'Token realm="Application"'} if status == 401 else {}
    return answer(
        {"errors": [{"title": title, "detail": detail, "code": code, "status": str(status)}]}, status, headers
    )


@blueprint.get("/patient_check_ins/<uuid>")
@describe(
    "Appointments and details of a check-in",
    tag="Check-in",
    answers={200: Answer("`payload` with `appointments`, `demographics`, …", CHECK_IN), 401: NO_SESSION},
    problems={404: "No such check-in.", 502: "LoROTA does not answer.", 503: f"{CROWDED} Or LoROTA refuses us."},
)
def show_check_in(uuid: str) -> Response:
    check_in = current_for(uuid)
    if check_in is None:
        return unauthorized(uuid)
    try:
        with waiting_for("lorota", busy=UNREADABLE):
            data = service.load_check_in(upstreams().lorota, check_in)
    except UpstreamError as error:
        if isinstance(error, Rejected):
            raise Problem(404, detail="This link has expired.") from error
        if error.code == PERSON_TOKEN_REFUSED:
            service.end_session(check_in)
            return unauthorized(uuid)
        if isinstance(error, Unauthorized):
            # Our own key was refused, which takes nobody's session away.
            seconds = math.ceil(current_app.extensions["config"].breaker_open_seconds)
            raise Problem(503, detail=UNREADABLE, headers={"Retry-After": str(seconds)}) from error
        raise Problem(502, detail=UNREADABLE) from error
    return answer({"id": uuid, "payload": shown(data)})


def shown(data: dict[str, Any]) -> dict[str, Any]:
    """What the pages use, in the spelling of all our answers; identifiers of the person are not sent.

    LoROTA's `appointmentIEN`, a text or a number, is the pages' `appointmentIen`, which they send back (contract:
    frontend 2.3).
    """
    kept = {
        "address": data.get("address"),
        "appointments": [without_identifiers(appointment) for appointment in data["appointments"]],
        "demographics": without_identifiers(data.get("demographics")),
        "patientDemographicsStatus": data.get("patientDemographicsStatus") or {},
        "setECheckinStartedCalled": data.get("setECheckinStartedCalled"),
    }
    payload: dict[str, Any] = with_keys(kept, to_snake)
    for appointment in payload["appointments"]:
        given = appointment.pop("appointmentIEN", None), appointment.get("appointment_ien")
        appointment["appointment_ien"] = first_text(*given)
    return payload


def without_identifiers(holder: Any) -> dict[str, Any]:
    """The object but for what identifies the person; an empty one for nothing at all."""
    return {key: value for key, value in holder.items() if key not in IDENTIFIERS} if isinstance(holder, dict) else {}


@blueprint.patch("/demographics/<uuid>")
@describe(
    "Confirm that one's details are up to date",
    tag="Check-in",
    security=CALLER,
    body=DemographicsBody,
    example={
        "demographics": {
            "demographic_confirmations": {
                "demographics_up_to_date": True,
                "next_of_kin_up_to_date": True,
                "emergency_contact_up_to_date": False,
            }
        }
    },
    answers={
        200: Answer("`data` is CHIP's answer, always an object, and `status` the number 200.", CONFIRMATION),
        401: NO_SESSION,
    },
    problems={
        400: "Nothing was confirmed in the body, or CHIP refused or failed (`VA900`).",
        409: "The check-in was never loaded, so we do not know whose details these are.",
        422: "An answer is neither true nor false.",
        502: "CHIP does not answer.",
        503: CROWDED,
    },
)
def confirm_demographics(uuid: str) -> Response:
    """Pages check in, and request travel pay, only after this succeeded (contract: frontend 2.7; travel 1.8)."""
    check_in = current_for(uuid)
    if check_in is None:
        return unauthorized(uuid)
    up_to_date = requested_confirmations()
    identity = check_in.identity
    if identity is None or identity.patient_dfn is None:
        raise Problem(409, "Conflict", "Load the check-in before you confirm your details.", "CHECK_IN_NOT_LOADED")
    try:
        with waiting_for("chip", busy=UNAVAILABLE):
            status, data = upstreams().chip.confirm_demographics(
                uuid, identity.patient_dfn, identity.station, up_to_date
            )
    except UpstreamError as error:
        raise Problem(502, detail=UNAVAILABLE) from error
    if status != 200:
        raise Problem(400, "Operation failed", "Operation failed", "VA900")
    # The page reads `data.error`: a success in bare text, like that of a check-in, must be an object too.
    return answer({"data": data if isinstance(data, dict) else {"message": data}, "status": 200})


def requested_confirmations() -> dict[str, bool]:
    """The person's answers by CHIP's names."""
    given = (json_body(DemographicsBody())["demographics"] or {}).get("demographic_confirmations") or {}
    if not given:
        raise Problem(400, "Bad Request", "demographicConfirmations: has to hold an answer.", "MISSING_PARAMETER")
    return {CONFIRMATIONS[name]: answered for name, answered in given.items()}


@blueprint.post("/patient_check_ins")
@describe(
    "Check in for an appointment",
    tag="Check-in",
    security=ANYBODY,
    body=CheckInBody,
    example={
        "patient_check_ins": {
            "uuid": "0c4f6d1e-0000-4000-8000-0000000000aa",
            "appointment_ien": "4444",
            "is_travel_enabled": True,
            "travel_submitted": True,
        }
    },
    answers={
        200: Answer(
            "`data` is CHIP's answer and `status` its code; without a session the `read.none` object.",
            any_of(CHECKED_IN, PERMISSIONS),
        )
    },
    problems={
        404: "CHIP knows no such check-in.",
        422: "A field is missing or malformed.",
        502: "CHIP does not answer, or failed.",
        503: CROWDED,
    },
)
def check_in() -> Response:
    requested = json_body(CheckInBody())["patient_check_ins"]
    if current_for(requested["uuid"]) is None:
        return answer(permissions("read.none", requested["uuid"]))
    try:
        with waiting_for("chip", busy=UNAVAILABLE):
            status, data = upstreams().chip.check_in(
                requested["uuid"],
                requested["appointment_ien"],
                requested["is_travel_enabled"],
                requested["travel_submitted"],
            )
    except UpstreamError as error:
        raise Problem(502, detail=UNAVAILABLE) from error
    if data is None:
        raise problem_of_chip(status)
    return answer({"data": data, "status": status})


def problem_of_chip(status: int) -> Problem:
    """What the page gets where CHIP said nothing of its own (contract: travel 1.3)."""
    if status == 404:
        return Problem(404, "Not Found", "Not Found", "CHIP-API_404")
    return Problem(502, detail=UNAVAILABLE, code=f"CHIP-API_{status}")
