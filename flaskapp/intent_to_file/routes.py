"""Routes of intents to file as the front end reads them (contract: frontend 3): an array on GET, an object on POST.

In the background path both answer only from our database, whatever the upstream is doing: a first visit waits a moment
for what is found out about it. The list of all types is a route of its own.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from flaskapp.accounts.caller import unknown_person
from flaskapp.accounts.service import icn_of, is_nobody
from flaskapp.clock import next_midnight
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession, db, durably, transaction
from flaskapp.intent_to_file import service, synchronous
from flaskapp.intent_to_file.first_look import look_first
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import Contended, Requested
from flaskapp.intent_to_file.states import (
    COMPENSATION,
    CONFIRMED,
    FAILED,
    INTENT_TO_FILE,
    PENDING,
    TYPES,
    USED,
    WORDS,
)
from flaskapp.intent_to_file.upkeep import let_used_go
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from flaskapp.upstreams.transport.http import within
from flaskapp.web.errors import Problem
from flaskapp.web.idempotency import KEY_PARAMETER, remember
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import TEXT, TIMESTAMP, WHOLE, Shape, data_of, listed, resource, thing, word
from flaskapp.web.sign_in import CALLER, TOKEN_ANSWERS, caller, require_sign_in
from flaskapp.web.waiting import PREFER, Shown, Watched, answer_when_changed

blueprint = Blueprint("intent_to_file", __name__, url_prefix="/v0/intent_to_file")
require_sign_in(blueprint)
all_types = Blueprint("intents_to_file", __name__, url_prefix="/v0/intents_to_file")
require_sign_in(all_types)

TAG = "Intent to file"
Item = dict[str, Any]

ITF_ROWS = Watched("intent_to_file", "SELECT id::text, state FROM intents_to_file WHERE id = ANY(CAST(:ids AS uuid[]))")
ITF = thing(
    "IntentToFile",
    {
        "id": TEXT,
        "creation_date": TIMESTAMP,
        "expiration_date": TIMESTAMP,
        "participant_id": WHOLE,
        "source": TEXT,
        "status": word("active", PENDING),
        "type": word(*TYPES),
        "record_state": word(*INTENT_TO_FILE.states),
        "record_message": TEXT,
    },
)


@dataclass(frozen=True)
class Stands:
    """The caller's ITF, and whether it is one that failed without an ICN."""

    itf_id: uuid.UUID
    failed: bool = False


def enveloped(title: str, shape: Shape) -> Shape:
    """The shape of `shaped`."""
    return data_of(
        title, resource(f"{title}Data", "intent_to_file", thing(f"{title}Attributes", {"intent_to_file": shape}))
    )


ONE_ITF, ITFS = enveloped("OneIntentToFile", ITF), enveloped("IntentToFileList", listed(ITF))
OF_ALL_TYPES = listed(ITF)
LISTED = Answer("`data.attributes.intentToFile` is a list, empty when there is no valid one.", ITFS)
TYPE_PARAMETER = {"name": "itf_type", "in": "path", "schema": {"type": "string", "enum": list(TYPES)}}
TYPE_PROBLEM = {400: "The type is none of compensation, pension and survivor."}
PART = "These are the intents to file that we have on record. Others could not be read just now; try again later."
NOTED = "A person on our side has a note of your request and its date."
UPSTREAM_PROBLEMS = {
    404: "Pension and survivor: upstream has no active one.",
    429: "Synchronous callers only: upstream asks to slow down.",
    502: "Synchronous callers only: upstream failed.",
    503: "Our database is away, or too many synchronous callers wait for upstream; `Retry-After` says for how long.",
    504: "Synchronous callers only: upstream did not answer in time.",
}


@blueprint.get("")
@describe(
    "The caller's compensation intent to file",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=[PREFER],
    answers={200: LISTED, **TOKEN_ANSWERS},
    problems={code: UPSTREAM_PROBLEMS[code] for code in (429, 502, 503, 504)},
)
def list_itfs() -> Response:
    return show(COMPENSATION)


@all_types.get("")
@describe(
    "The caller's intents to file of all types",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    answers={
        200: Answer(
            "`data` is a plain list, empty when there is no valid one.", data_of("IntentsToFile", OF_ALL_TYPES)
        ),
        206: Answer(
            "What we hold; `meta.missing_types` names the types that could not be looked up.",
            data_of(
                "SomeIntentsToFile",
                OF_ALL_TYPES,
                {"meta": thing("MissingTypes", {"missing_types": listed(word(*TYPES)), "message": TEXT})},
            ),
        ),
        **TOKEN_ANSWERS,
    },
    problems={
        429: "Upstream asks to slow down.",
        502: "Upstream failed.",
        503: "Our database is away, or upstream is, or too many people wait for it.",
        504: "Upstream did not answer in time.",
    },
)
def list_all_types() -> Response:
    """For the page "Your intents to file" (contract: frontend 3.4).

    A type that is not on record here is looked up upstream. What we hold is shown even if that fails, as a part; with
    nothing to show, the list fails as well.
    """
    account_id = uuid.UUID(caller().account_id)
    items: list[Item] = []
    missing: dict[str, Problem] = {}
    if answered_here(account_id, COMPENSATION):
        look_first(account_id, COMPENSATION)
    with within(settings().itf_sync_seconds):
        for itf_type in TYPES:
            try:
                items += known_items(account_id, itf_type)
            except Problem as problem:
                missing[itf_type] = problem
    for failure in missing.values():
        # A refusal of the person is no part of an answer.
        if failure.status < 429 or not items:
            raise failure
    if not missing:
        return answer({"data": items})
    return answer({"data": items, "meta": {"missing_types": list(missing), "message": PART}}, 206)


def known_items(account_id: uuid.UUID, itf_type: str) -> list[Item]:
    with transaction() as session:
        itf = service.find_valid(session, account_id, itf_type)
        kept = [item(session, itf)] if itf is not None else []
        is_doubted = itf is not None and itf.doubted_at is not None
    if answered_here(account_id, itf_type) or (kept and not is_doubted):
        return kept
    found = synchronous.read_itf(account_id, itf_type)
    return [upstream_item(found)] if found is not None else []


@blueprint.get("/<itf_type>")
@describe(
    "The caller's intent to file of one type",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    parameters=[TYPE_PARAMETER, PREFER],
    answers={200: LISTED, **TOKEN_ANSWERS},
    problems={**TYPE_PROBLEM, **UPSTREAM_PROBLEMS},
)
def show_itf(itf_type: str) -> Response:
    return show(checked(itf_type))


@blueprint.post("/<itf_type>")
@describe(
    "Request an intent to file",
    tag=TAG,
    security=CALLER,
    passes_on=True,
    answers={
        200: Answer("The caller's ITF, on record upstream. `data.attributes.intentToFile` is an object.", ONE_ITF),
        202: Answer("The caller's ITF, on record here and dated now; it is being sent upstream.", ONE_ITF),
        **TOKEN_ANSWERS,
    },
    problems={
        **TYPE_PROBLEM,
        403: "VA's records have no ICN for this account (`NO_ICN`): `detail` says whom to call.",
        422: "The Idempotency-Key named another request.",
        **{code: UPSTREAM_PROBLEMS[code] for code in (429, 502, 503, 504)},
    },
    parameters=[TYPE_PARAMETER, KEY_PARAMETER],
)
def request_itf(itf_type: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    key = request.headers.get("Idempotency-Key")
    if not answered_here(account_id, checked(itf_type)):
        with transaction() as session:
            remember(session, str(account_id), key, {"path": "intent_to_file", "type": itf_type})
        made = synchronous.create_itf(account_id, itf_type)
        return answer(shaped(upstream_item(made)))
    try:
        requested = durably(
            lambda session: accept_itf(session, account_id, itf_type, key),
            at_once=lambda: service.request_at_once(account_id, itf_type) if key is None else None,
        )
    except Contended:
        raise Problem(503, headers={"Retry-After": "1"}) from None
    if isinstance(requested, Requested) and (requested.end_known or settings().itf_first_look_seconds == 0):
        return answer(shaped(item_of(requested.itf, requested.now, requested.end_known)), 202)
    stands = Stands(requested.itf.id) if isinstance(requested, Requested) else requested
    db.session.remove()
    # One without an ICN may have one by now; one that a form has used may be shown no more.
    look_first(account_id, itf_type, owed=stands.failed)
    try:
        with transaction() as session:
            itf = request_again(session, stands)
            state = FAILED if itf.state == PENDING and is_nobody(session, account_id) else itf.state
            described = item(session, itf)
    except Contended:
        raise Problem(503, headers={"Retry-After": "1"}) from None
    if state == FAILED:
        raise unknown_person(NOTED)
    return answer(shaped(described), 202 if state == PENDING else 200)


def accept_itf(session: DbSession, account_id: uuid.UUID, itf_type: str, key: str | None) -> Requested | Stands:
    """One transaction: the key, the ITF and the message that creates it. Idempotent, so it may be rerun."""
    remember(session, str(account_id), key, {"path": "intent_to_file", "type": itf_type})
    itf = service.request_itf(session, account_id, itf_type)
    return Stands(itf.id, itf.state == FAILED)


def request_again(session: DbSession, stands: Stands) -> IntentToFile:
    """The one that stands, or a new one where it does not stand any more."""
    itf = session.get_one(IntentToFile, stands.itf_id)
    if itf.used_at is not None and not service.is_end_known(session, itf):
        let_used_go(session, str(itf.id))
    if itf.state == USED or (stands.failed and icn_of(session, itf.account_id) is not None):
        return service.request_itf(session, itf.account_id, itf.type)
    return itf


def checked(itf_type: str) -> str:
    if itf_type not in TYPES:
        detail = f"The type has to be one of {', '.join(TYPES)}."
        raise Problem(400, "Invalid field value", detail, "103")
    return itf_type


def show(itf_type: str) -> Response:
    account_id = uuid.UUID(caller().account_id)
    if answered_here(account_id, itf_type):
        look_first(account_id, itf_type)
        return answer_when_changed(ITF_ROWS, lambda: shown_itf(account_id, itf_type))
    found = synchronous.read_itf(account_id, itf_type)
    if found is None and itf_type != COMPENSATION:
        raise Problem(404, "Resource not found", f"There is no active {itf_type} intent to file.")
    return answer(shaped([upstream_item(found)] if found is not None else []))


def shown_itf(account_id: uuid.UUID, itf_type: str) -> Shown:
    """The valid one, if there is one; only a pending one is waited for."""
    with transaction() as session:
        itf = service.find_valid(session, account_id, itf_type)
        if itf is None:
            return Shown(shaped([]))
        state: str = itf.state
        return Shown(shaped([item(session, itf)]), str(itf.id), state if state == PENDING else None)


def answered_here(account_id: uuid.UUID, itf_type: str) -> bool:
    """Whether the caller is answered from our database: compensation, in the background's share.

    A caller with a valid ITF here keeps seeing it, even if the share has changed since.
    """
    if itf_type != COMPENSATION or request.headers.get("Source-App-Name") in settings().itf_sync_apps:
        return False
    if service.is_in_background(account_id, settings().itf_async_percent):
        return True
    with transaction() as session:
        return service.find_valid(session, account_id, itf_type) is not None


def shaped(intent_to_file: Item | list[Item]) -> dict[str, Any]:
    """The envelope (contract: frontend 3.2), which says `intent_to_file` for one and for many."""
    return {"data": {"id": "", "type": "intent_to_file", "attributes": {"intent_to_file": intent_to_file}}}


def item(session: DbSession, itf: IntentToFile) -> Item:
    """One ITF as it is shown."""
    return item_of(itf, database_now(session), service.is_end_known(session, itf))


def item_of(itf: IntentToFile, now: datetime, end_known: bool) -> Item:
    """Today's pages accept only `active`; the real state is given beside it, and in words.

    While nobody knows whether an earlier one exists, whose end would count, the present legal day is the last that we
    can vouch for. Pages need a readable end that is not over (contract: frontend 3.2).
    """
    shown_active = itf.state == CONFIRMED or settings().itf_pending_as_active
    expires_at = itf.expires_at if end_known else min(itf.expires_at, end_of_day(now))
    return {
        **dated(itf.upstream_id or str(itf.id), itf.effective_date, expires_at),
        "status": "active" if shown_active else PENDING,
        "type": itf.type,
        "record_state": itf.state,
        "record_message": service.words_of_valid(itf, end_known),
    }


def end_of_day(now: datetime) -> datetime:
    """The last millisecond of this legal day."""
    return next_midnight(now, settings().legal_time_zone) - timedelta(milliseconds=1)


def upstream_item(upstream: UpstreamITF) -> Item:
    """Upstream's answer for a synchronous caller; `duplicate` means that an active one is on record."""
    return {
        **dated(upstream.id, upstream.created_at, upstream.expires_at),
        "status": "active",
        "type": upstream.type,
        "record_state": CONFIRMED,
        "record_message": WORDS[CONFIRMED],
    }


def dated(id: str, created: datetime, expires: datetime) -> Item:
    timestamps = {"creation_date": created, "expiration_date": expires}
    texts = {name: timestamp.isoformat(timespec="milliseconds") for name, timestamp in timestamps.items()}
    return {"id": id, **texts, "participant_id": 0, "source": ""}
