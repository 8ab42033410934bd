"""Check-in routes as the front end calls them (contract: frontend 2): sessions, check-in data, the check-in itself."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from marshmallow import fields, validate

from flaskapp.check_in import service
from flaskapp.check_in.service import CheckIn
from flaskapp.config import Config
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.errors import Rejected, Unauthorized, UpstreamError
from flaskapp.web import access, rate_limits
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer, to_snake, with_keys
from flaskapp.web.json_body import Body, Truth, json_body
from flaskapp.web.openapi import describe

blueprint = Blueprint("check_in", __name__, url_prefix="/check_in/v2")
access.declare(blueprint, "anybody; a person proves who they are through LoROTA, then carries the cookie `cie_session`")

COOKIE = "cie_session"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CALLER = access.Access(
    "the check-in session's cookie", {"checkInSession": {"type": "apiKey", "in": "cookie", "name": COOKIE}}
)
# A caller without a session is answered too, with the `read.none` object.
ANYBODY = replace(CALLER, optional=True)

# Status, code, title and detail (contract: travel 1.1). The front end reads the status in the body, which decides what
# it shows (contract: frontend 2.2).
SESSION_PROBLEMS = {
    "no_match": (401, "LOROTA-API_401", "Authentication Error", "We could not match that name and date of birth."),
    "too_many": (410, "CIE-VETS-API_410", "Data Gone", "Too many tries. Please check in with a staff member."),
    "not_found": (404, "CIE-VETS-API_404", "Not Found", "This link has expired. Please check in with a staff member."),
}
# What identifies a person, and no page uses.
IDENTIFIERS = ("icn", "edipi", "patientDFN")


class SessionFields(Body):
    uuid = fields.String(required=True, validate=validate.Regexp(UUID.pattern + r"\Z", error="is not a check-in id."))
    dob = fields.Date(required=True, format="%Y-%m-%d", error_messages={"invalid": "has to be a date, YYYY-MM-DD."})
    last_name = fields.String(required=True, validate=validate.Length(1, 200))


class SessionBody(Body):
    session = fields.Nested(SessionFields, required=True)


class CheckInFields(Body):
    uuid = fields.String(required=True, validate=validate.Regexp(UUID.pattern + r"\Z", error="is not a check-in id."))
    appointment_ien = fields.String(required=True, validate=validate.Length(1, 100))
    is_travel_enabled = Truth(load_default=False)
    travel_submitted = Truth(load_default=False)


class CheckInBody(Body):
    patient_check_ins = fields.Nested(CheckInFields, required=True)


def permissions(level: str, uuid: str) -> dict[str, str]:
    return {"permissions": level, "status": "success", "uuid": uuid}


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
    answers={200: "`permissions` is `read.full` or `read.none`; `error` is true for an id that is not valid."},
)
def show_session(uuid: str) -> Response:
    if not UUID.fullmatch(uuid):
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
    answers={200: "`permissions` is `read.full`; the cookie `cie_session` is set."},
    problems={
        401: "No match.",
        404: "No such check-in.",
        410: "Too many tries.",
        422: "A field is missing or malformed.",
        502: "LoROTA does not answer.",
    },
)
def create_session() -> Response:
    config: Config = current_app.extensions["config"]
    requested = json_body(SessionBody())["session"]
    try:
        token = service.start_session(
            upstreams().lorota,
            requested["uuid"],
            requested["dob"],
            requested["last_name"].strip(),
            config.check_in_session_seconds,
        )
    except UpstreamError as error:
        return refuse_session(error)
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


def refuse_session(error: UpstreamError) -> Response:
    if not isinstance(error, Rejected) or error.code not in SESSION_PROBLEMS:
        raise Problem(502, detail="Check-in is not available just now. Try again, or see a staff member.") from error
    status, code, title, detail = SESSION_PROBLEMS[error.code]
    headers = {"WWW-Authenticate": 'Token realm="Application"'} if status == 401 else {}
    return answer(
        {"errors": [{"title": title, "detail": detail, "code": code, "status": str(status)}]}, status, headers
    )


@blueprint.get("/patient_check_ins/<uuid>")
@describe(
    "Appointments and details of a check-in",
    tag="Check-in",
    security=ANYBODY,
    answers={200: "`payload` with `appointments`, `demographics`, …; without a session the `read.none` object."},
    problems={404: "No such check-in.", 502: "LoROTA does not answer."},
)
def show_check_in(uuid: str) -> Response:
    check_in = current_for(uuid)
    if check_in is None:
        return answer(permissions("read.none", uuid))
    try:
        data = service.load_check_in(upstreams().lorota, check_in)
    except UpstreamError as error:
        if isinstance(error, Rejected):
            raise Problem(404, detail="This link has expired.") from error
        if isinstance(error, Unauthorized):
            return answer(permissions("read.none", uuid))
        raise Problem(502, detail="Your appointments cannot be read just now. Try again.") from error
    return answer({"id": uuid, "payload": shown(data)})


def shown(data: dict[str, Any]) -> dict[str, Any]:
    """What the pages use, in the spelling of all our answers; identifiers of the person are not sent.

    LoROTA's `appointmentIEN` is the pages' `appointmentIen`, which they send back (contract: frontend 2.3).
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
        appointment["appointment_ien"] = appointment.pop("appointmentIEN", None)
    return payload


def without_identifiers(holder: Any) -> dict[str, Any]:
    """The object but for what identifies the person; an empty one for nothing at all."""
    return {key: value for key, value in holder.items() if key not in IDENTIFIERS} if isinstance(holder, dict) else {}


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
    answers={200: "`data` is CHIP's answer and `status` its code; without a session the `read.none` object."},
    problems={422: "A field is missing or malformed.", 502: "CHIP does not answer."},
)
def check_in() -> Response:
    requested = json_body(CheckInBody())["patient_check_ins"]
    if current_for(requested["uuid"]) is None:
        return answer(permissions("read.none", requested["uuid"]))
    try:
        status, data = upstreams().chip.check_in(
            requested["uuid"],
            requested["appointment_ien"],
            requested["is_travel_enabled"],
            requested["travel_submitted"],
        )
    except UpstreamError as error:
        raise Problem(502, detail="Check-in is not available just now. Try again, or see a staff member.") from error
    return answer({"data": data, "status": status})
