"""Travel pay routes as the signed-in pages call them (contract: frontend 5): claims, documents, a new claim."""

from __future__ import annotations

import math
import time
import uuid
from datetime import date
from typing import Any

from flask import Blueprint, Response, request

from flaskapp.accounts.caller import unknown_person
from flaskapp.current import settings
from flaskapp.db import DbSession, db, durably, transaction
from flaskapp.subjects import TooManyOpen
from flaskapp.travel_pay import answers, contacts, reads, service, shapes
from flaskapp.travel_pay.cache import Shown, remembered
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.schemas import (
    CLAIM_ID,
    DOCUMENT_ID,
    PAGING,
    MileageClaimBody,
    checked_id,
    read_request,
    requested_range,
)
from flaskapp.travel_pay.service import Filed, RequestedAppointment
from flaskapp.travel_pay.states import DUPLICATE, PENDING, SUBMITTED
from flaskapp.travel_pay.wait_for_end import until_final
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER, remember
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import json_body
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in

blueprint = Blueprint("travel_pay", __name__, url_prefix="/travel_pay/v0")
require_sign_in(blueprint)

TAG = "Travel pay"
EXAMPLE = {
    "appointment_date_time": "2031-03-04T09:30:00",
    "facility_station_number": "983",
    "facility_name": "Example VA",
    "appointment_type": "Other",
    "is_complete": False,
}
TOO_MANY_CLAIMS = (
    "Many of your travel claims are still being filed, and we cannot take another one until one of them is done. Please"
    " wait for that, and file this one again within 30 days of its appointment."
)
UPSTREAM_PROBLEMS = {
    429: "Upstream asks to slow down; `Retry-After` says for how long. Of the list of claims this is a 503.",
    502: "Upstream failed, or answered what cannot be read.",
    503: "Upstream's breaker is open or held, our credentials were refused, or too many people are reading;"
    " `Retry-After` says for how long.",
    504: "Upstream did not answer in time.",
}
# What a browser may show by itself; anything else is only ever saved.
SHOWN_TYPES = frozenset({"application/pdf", "image/png", "image/jpeg", "image/gif", "image/bmp", "text/plain"})


@blueprint.get("/claims")
@describe(
    "The caller's claims",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=PAGING,
    answers={
        200: Answer(
            "`data` lists claims, those still with us included; `metadata.pending` lists these alone.", answers.CLAIMS
        ),
        206: Answer("The same, with a part missing that could not be read.", answers.CLAIMS),
        **TOKEN_ANSWERS,
    },
    problems={400: "A date or page that cannot be read, or one date without the other.", **UPSTREAM_PROBLEMS},
)
def list_claims() -> Response:
    account_id = uuid.UUID(caller().account_id)
    start, end, page, size = requested_range()

    def read_claims() -> dict[str, Any]:
        return vars(reads.claims(account_id, start, end, page, size))

    question = f"claims {start} {end} {page} {size}"
    failure: Problem | None = None
    try:
        shown = remembered(account_id, question, read_claims, is_whole=lambda value: bool(value["whole"]))
    except Problem as problem:
        failure, shown = problem, Shown(vars(reads.Partly([], whole=False)))
    found = reads.Partly(**shown.value)
    items, here = with_known_here(account_id, found.items, start, end, page)
    # A claim that stands only with us is shown whatever the upstream does; a refusal of the person stays one.
    if failure is not None and (failure.status < 429 or not items):
        raise nobodys_fault(failure)
    status = 200 if found.whole else 206
    metadata = {
        **reads.metadata(status),
        "total_record_count": None if found.total is None else found.total + len(items) - len(found.items),
        "page_number": page,
        **age_of(shown),
        **here,
    }
    headers = {"Age": str(shown.age_seconds), **(failure.headers if failure is not None else {})}
    return answer({"data": items, "metadata": metadata}, status, headers)


def nobodys_fault(failure: Problem) -> Problem:
    """The failure as 503 if upstream has too many requests: of any 4xx of the list pages say that the person may not
    file (contract: frontend 5.4)."""
    if failure.status != 429:
        return failure
    return Problem(503, detail=failure.entry["detail"], headers=failure.headers)


def age_of(shown: Shown) -> dict[str, Any]:
    """Only where a kept answer is shown: how old it is, and whether because no newer one could be read."""
    return {"age_seconds": shown.age_seconds, "stale": shown.stale} if shown.age_seconds or shown.stale else {}


def with_known_here(
    account_id: uuid.UUID, listed: list[dict[str, Any]], start: date | None, end: date | None, page: int | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The list with what we know and Travel Pay does not, and that alone, for the metadata.

    Claims on their way are on the first page. One that is begun in Travel Pay is added only to a list of all pages:
    another page may have it.
    """
    with transaction() as session:
        rows = service.unfinished(session, account_id)
        requested = [row for row in rows if start is None or end is None or start <= row.starts_at.date() <= end]
        waiting = [row for row in requested if page is None or (page == 1 and row.claim_id is None)]
        items = shapes.with_waiting(listed, waiting, requested)
        pending = [shapes.waiting_here(row) for row in rows]
        differing = contacts.standing(session, account_id)
    return items, {"pending": pending, "contact_discrepancies": differing}


@blueprint.get("/claims/<claim_id>")
@describe(
    "One claim",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=[CLAIM_ID],
    answers={
        200: Answer("The claim, at the top level, with its expenses and documents.", answers.CLAIM),
        206: Answer(
            "The same; `documentsMessage` says that documents are missing which could not be read.", answers.CLAIM
        ),
        **TOKEN_ANSWERS,
    },
    problems={400: "The id is no UUID.", 404: "The caller has no such claim.", **UPSTREAM_PROBLEMS},
)
def show_claim(claim_id: str) -> Response:
    account_id, wanted = uuid.UUID(caller().account_id), checked_id(claim_id)
    with transaction() as session:
        row = service.find_own(session, account_id, uuid.UUID(wanted))
        held = Filed(**row.filed).claim_id if row is not None and row.filed is not None else None
        here = shapes.ours(row) if row is not None and held is None else None
        wanted = held or wanted
    db.session.remove()
    if here is not None:
        return answer(here)
    shown = remembered(
        account_id,
        f"claim {wanted}",
        lambda: reads.claim(account_id, wanted),
        is_whole=lambda value: "documents_message" not in value,
    )
    status = 206 if "documents_message" in shown.value else 200
    return answer({**shown.value, **age_of(shown)}, status, {"Age": str(shown.age_seconds)})


@blueprint.get("/claims/<claim_id>/documents/<document_id>")
@describe(
    "A document of a claim",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=[CLAIM_ID, DOCUMENT_ID],
    answers={
        200: Answer("The file, never as JSON.", media=("application/octet-stream", *sorted(SHOWN_TYPES))),
        **TOKEN_ANSWERS,
    },
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
    passes_on=True,
    body=MileageClaimBody,
    example=EXAMPLE,
    answers={
        201: Answer(
            "Submitted: `claimId` and `status`. `Incomplete` or `Saved`: begun, and a person is finishing it.",
            answers.FILED,
        ),
        202: Answer(
            "Accepted: `id` names it here. It will be submitted, or a named human will have it.", answers.FILED
        ),
        **TOKEN_ANSWERS,
    },
    problems={
        400: "A claim for this appointment was already on file (`ALREADY_FILED`).",
        403: "VA's records have no ICN for this account (`NO_ICN`): nothing was accepted; `detail` says whom to call.",
        422: "A field is missing or malformed, the Idempotency-Key named another request, it cannot be filed"
        " (`NOT_FILED`): a person is working on it, or too many claims of this account are still being filed"
        " (`TOO_MANY_OPEN`).",
        502: "A UTC time was sent, and not all appointments could be read: nothing was accepted.",
        503: "Our database is away, or a UTC time was sent while Travel Pay cannot be asked whose it is; nothing was"
        " accepted.",
    },
    parameters=[KEY_PARAMETER],
)
def file_claim() -> Response:
    account_id, key = uuid.UUID(caller().account_id), request.headers.get("Idempotency-Key")
    requested = read_request(account_id, json_body(MileageClaimBody()))
    ends_at = time.monotonic() + settings().travel_pay_wait_seconds
    try:
        claim_id = durably(lambda session: accept_travel_pay_claim(session, account_id, requested, key))
    except TooManyOpen:
        raise Problem(422, detail=TOO_MANY_CLAIMS, code="TOO_MANY_OPEN") from None
    db.session.remove()
    if claim_id is None:
        raise unknown_person()
    until_final(claim_id, ends_at)
    with transaction() as session:
        row = service.find_own(session, account_id, claim_id)
        assert row is not None
        return outcome(row)


def accept_travel_pay_claim(
    session: DbSession, account_id: uuid.UUID, requested: RequestedAppointment, key: str | None
) -> uuid.UUID | None:
    """One transaction: the key, the claim and the message of its first step. Idempotent, so it may be rerun. None for
    an account without an ICN."""
    named = {"path": "travel_pay/claims", "at": requested.starts_at, **requested.kept()}
    remember(session, str(account_id), key, named)
    claim = service.request_travel_pay_claim(session, account_id, requested)
    return claim.id if claim is not None else None


def outcome(row: TravelPayClaim) -> Response:
    """The answer for the claim as it is now. Only a claim that BTSSS holds is answered as created."""
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
    passes_on=True,
    answers={
        200: Answer(
            "`data.attributes.contactDiscrepancies`: each field with both sources masked; empty when they agree.",
            answers.DISCREPANCIES,
        ),
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
