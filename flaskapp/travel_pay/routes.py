"""Travel pay as the signed-in pages call it (contract: front end, 5): claims, one claim, its documents, a new one."""

from __future__ import annotations

import math
import re
import time
import uuid
from datetime import date, datetime
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import ValidationError, fields, validate

from flaskapp.current import settings
from flaskapp.db import DbSession, db, durably, transaction
from flaskapp.errors import Problem
from flaskapp.idempotency import KEY_PARAMETER, remember
from flaskapp.inflection import answer
from flaskapp.openapi import describe
from flaskapp.request import Body, json_body
from flaskapp.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in
from flaskapp.travel_pay import contacts, reads, service, shapes
from flaskapp.travel_pay.cache import Shown, remembered
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.service import Asked, Filed
from flaskapp.travel_pay.states import DUPLICATE, PENDING, SUBMITTED
from flaskapp.travel_pay.waiting import until_final

blueprint = Blueprint("travel_pay", __name__, url_prefix="/travel_pay/v0")
require_sign_in(blueprint)

TAG = "Travel pay"
WALL_CLOCK = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?)(\.\d+)?(Z|[+-]\d{2}:?\d{2})?")
DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(T.*)?")
EXAMPLE = {
    "appointment_date_time": "2031-03-04T09:30:00",
    "facility_station_number": "983",
    "facility_name": "Example VA",
    "appointment_type": "Other",
    "is_complete": False,
}
UPSTREAM_PROBLEMS = {
    429: "Upstream asks to slow down; `Retry-After` says for how long.",
    502: "Upstream failed, or answered what cannot be read.",
    503: "Upstream is left alone just now, or too many people are asking; `Retry-After` says for how long.",
    504: "Upstream did not answer in time.",
}
PAGING = [
    {"name": name, "in": "query", "schema": schema, "description": text}
    for name, schema, text in (
        ("start_date", {"type": "string"}, "First day of the appointments, `2031-03-04`; together with `end_date`."),
        ("end_date", {"type": "string"}, "Last day of the appointments."),
        ("page_number", {"type": "integer", "minimum": 1}, "One page only, from 1; needs both dates."),
        ("page_size", {"type": "integer", "minimum": 1, "maximum": 100}, "Items a page; 100 without it."),
    )
]
# What a browser may show by itself; anything else is only ever saved.
SHOWN_TYPES = frozenset({"application/pdf", "image/png", "image/jpeg", "image/gif", "image/bmp", "text/plain"})


class AppointmentTime(fields.Field):
    """A date and time whose wall clock counts: an offset is dropped, as the front end means it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        found = WALL_CLOCK.fullmatch(value) if isinstance(value, str) else None
        try:
            if found:
                return datetime.fromisoformat(found[1])
        except ValueError:
            pass
        raise ValidationError("has to be a date and time like 2031-03-04T09:30:00.")


def optional_text() -> fields.String:
    return fields.String(load_default=None, allow_none=True, validate=validate.Length(max=200))


class ClaimBody(Body):
    appointment_date_time = AppointmentTime(
        required=True,
        metadata={"type": "string", "description": "Wall clock at the facility; an offset is dropped."},
    )
    facility_station_number = fields.String(
        required=True, validate=validate.Regexp(r"[0-9A-Za-z]{3,8}\Z", error="has to be a station number like 983.")
    )
    facility_name = optional_text()
    appointment_type = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=64))
    appointment_name = optional_text()
    is_complete = fields.Boolean(load_default=None, allow_none=True)


@blueprint.get("/claims")
@describe(
    "The caller's claims",
    tag=TAG,
    security=CALLER,
    parameters=PAGING,
    answers={
        200: "`data` lists claims; `metadata.pending` those still with us.",
        206: "The same, with a part missing that could not be read.",
        **TOKEN_ANSWERS,
    },
    problems={400: "A date or page that is none, or one date without the other.", **UPSTREAM_PROBLEMS},
)
def list_claims() -> Response:
    account_id = uuid.UUID(caller().account_id)
    start, end, page, size = asked_range()

    def read() -> dict[str, Any]:
        return vars(reads.claims(account_id, start, end, page, size))

    shown = remembered(account_id, f"claims {start} {end} {page} {size}", read)
    found = reads.Partly(**shown.value)
    status = 200 if found.whole else 206
    metadata = {
        "status": status,
        "success": True,
        "message": reads.READ if found.whole else reads.PART,
        "total_record_count": found.total,
        "page_number": page,
        **age_of(shown),
        **known_here(account_id),
    }
    return answer({"data": found.items, "metadata": metadata}, status, {"Age": str(shown.age_seconds)})


def asked_range() -> tuple[date | None, date | None, int | None, int]:
    start, end = asked_date("start_date"), asked_date("end_date")
    if (start is None) != (end is None):
        raise bad("start_date and end_date go together.")
    if start is not None and end is not None and start > end:
        raise bad("start_date has to be on or before end_date.")
    page, size = asked_number("page_number", 10_000), asked_number("page_size", reads.PAGE_SIZE)
    if start is None and page is not None:
        raise bad("page_number needs start_date and end_date.")
    return start, end, page, size or reads.PAGE_SIZE


def asked_date(name: str) -> date | None:
    text = request.args.get(name)
    if not text:
        return None
    found = DATE.fullmatch(text)
    try:
        if found:
            return date.fromisoformat(found[1])
    except ValueError:
        pass
    raise bad(f"{name} has to be a date like 2031-03-04.")


def asked_number(name: str, most: int) -> int | None:
    text = request.args.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise bad(f"{name} has to be a number from 1 to {most}.")
    return int(text)


def bad(detail: str) -> Problem:
    return Problem(400, "Invalid field value", detail, "103")


def age_of(shown: Shown) -> dict[str, Any]:
    """Only where something is shown again: how old it is, and whether for want of a newer one."""
    return {"age_seconds": shown.age_seconds, "stale": shown.stale} if shown.age_seconds or shown.stale else {}


def known_here(account_id: uuid.UUID) -> dict[str, Any]:
    """What we know and Travel Pay does not: claims on their way, and contact details found to differ."""
    with transaction() as session:
        pending = [shapes.waiting_here(row) for row in service.unfinished(session, account_id)]
        differing = contacts.standing(session, account_id)
    return {"pending": pending, "contact_discrepancies": differing}


@blueprint.get("/claims/<claim_id>")
@describe(
    "One claim",
    tag=TAG,
    security=CALLER,
    answers={200: "The claim, at the top level, with its expenses and documents.", **TOKEN_ANSWERS},
    problems={400: "The id is no UUID.", 404: "The caller has no such claim.", **UPSTREAM_PROBLEMS},
)
def show_claim(claim_id: str) -> Response:
    account_id, wanted = uuid.UUID(caller().account_id), checked_id(claim_id)
    with transaction() as session:
        row = service.find_own(session, account_id, uuid.UUID(wanted))
        here = shapes.ours(row) if row is not None and row.filed is None else None
        wanted = Filed(**row.filed).claim_id if row is not None and row.filed is not None else wanted
    db.session.remove()
    if here is not None:
        return answer(here)
    shown = remembered(account_id, f"claim {wanted}", lambda: reads.claim(account_id, wanted))
    return answer({**shown.value, **age_of(shown)}, headers={"Age": str(shown.age_seconds)})


def checked_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise bad("The id has to be a UUID.") from None


@blueprint.get("/claims/<claim_id>/documents/<document_id>")
@describe(
    "A document of a claim",
    tag=TAG,
    security=CALLER,
    answers={200: "The file, never as JSON.", **TOKEN_ANSWERS},
    problems={400: "An id is no UUID.", 404: "The claim has no such document.", **UPSTREAM_PROBLEMS},
)
def show_document(claim_id: str, document_id: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    kind, content = reads.document(account_id, checked_id(claim_id), checked_id(document_id))
    kind = kind.partition(";")[0].strip().lower()
    headers = {"Content-Disposition": "attachment", "Cache-Control": "no-store"}
    return Response(content, 200, headers, content_type=kind if kind in SHOWN_TYPES else "application/octet-stream")


@blueprint.post("/claims")
@describe(
    "File a mileage claim",
    tag=TAG,
    security=CALLER,
    body=ClaimBody,
    example=EXAMPLE,
    answers={
        201: "Submitted: `claimId` and `status`. `Incomplete` or `Saved`: begun, and a person is finishing it.",
        202: "Accepted: `id` names it here. It will be submitted, or a named person will hold it.",
        **TOKEN_ANSWERS,
    },
    problems={
        400: "A claim for this appointment was already on file (`ALREADY_FILED`).",
        422: "A field is missing or malformed, the Idempotency-Key named another request, or it cannot be filed"
        " (`NOT_FILED`): a person is working on it.",
        503: "Our database is away; nothing was accepted.",
    },
    parameters=[KEY_PARAMETER],
)
def file_claim() -> Response:
    asked = read_asked(json_body(ClaimBody()))
    account_id, key = uuid.UUID(caller().account_id), request.headers.get("Idempotency-Key")
    ends_at = time.monotonic() + settings().travel_pay_wait_seconds
    claim_id = durably(lambda session: accept(session, account_id, asked, key))
    db.session.remove()
    until_final(claim_id, ends_at)
    with transaction() as session:
        row = service.find_own(session, account_id, claim_id)
        assert row is not None
        return outcome(row)


def read_asked(loaded: dict[str, Any]) -> Asked:
    return Asked(
        starts_at=loaded["appointment_date_time"],
        station=loaded["facility_station_number"].upper(),
        facility_name=loaded["facility_name"],
        appointment_type=loaded["appointment_type"],
        appointment_name=loaded["appointment_name"],
        is_complete=loaded["is_complete"],
    )


def accept(session: DbSession, account_id: uuid.UUID, asked: Asked, key: str | None) -> uuid.UUID:
    """One transaction: the key, the claim and the message of its first step. Idempotent, so it may be rerun."""
    named = {"path": "travel_pay/claims", "at": asked.starts_at, **asked.kept()}
    remember(session, str(account_id), key, named)
    return service.request_claim(session, account_id, asked).id


def outcome(row: TravelPayClaim) -> Response:
    """What can be said of the claim now. Only a claim that BTSSS holds is answered as created."""
    here = {"id": str(row.id), **shapes.record_of(row)}
    if row.state == SUBMITTED and row.filed is not None:
        filed = Filed(**row.filed)
        return answer({"claim_id": filed.claim_id, "status": "Claim submitted", **here}, 201)
    if row.state == DUPLICATE:
        raise Problem(400, "Bad Request", here["record_message"], "ALREADY_FILED")
    if row.state == PENDING or row.unconfirmed:
        retry = {"Retry-After": str(max(1, math.ceil(settings().travel_pay_wait_seconds)))}
        return answer({"claim_id": None, "status": shapes.status_of(row), **here}, 202, retry)
    if shapes.failed_without_claim(row):
        raise Problem(422, "Unprocessable Entity", here["record_message"], "NOT_FILED")
    return answer({"claim_id": row.claim_id, "status": shapes.status_of(row), **here}, 201)


@blueprint.get("/contact_discrepancies")
@describe(
    "Where VA Profile and BTSSS differ about how to reach the caller",
    tag=TAG,
    security=CALLER,
    answers={
        200: "`data.contactDiscrepancies`: each field with both sources masked; empty when they agree.",
        **TOKEN_ANSWERS,
    },
    problems={404: "VA Profile holds no contact details of the caller.", **UPSTREAM_PROBLEMS},
)
def compare_contacts() -> Response:
    account_id = uuid.UUID(caller().account_id)
    found = contacts.compare(account_id)
    message = contacts.DIFFER if found else contacts.AGREE
    attributes = {"contact_discrepancies": found, "source_of_truth": "va_profile", "message": message}
    return answer({"data": {"id": "", "type": "contact_discrepancies", "attributes": attributes}})
