"""Jobs for intents to file: identify the person, create the ITF upstream unless it is there, and compare it later."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.intent_to_file import service, upkeep
from flaskapp.intent_to_file.service import Confirmation, ITFWork
from flaskapp.intent_to_file.states import PENDING
from flaskapp.upstreams.errors import NO_ICN, Rejected, Unanswered, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from jobs.engine.retry import ITF_CREATE, ITF_REFRESH
from jobs.engine.runner import Job
from jobs.engine.spec import (
    LEASE_MARGIN_SECONDS,
    Call,
    EarlierWrites,
    Finding,
    Found,
    JobSpec,
    NotFound,
    record_nothing,
)
from jobs.identify import identify_spec


def is_final(refusal: Exception | None) -> bool:
    """Only a missing ICN is final: trying again does not produce one. Whatever upstream refuses is tried again, because
    it may be upstream's own fault.

    An unsupported type never comes this far: the request is refused, and Postgres holds no such row.
    """
    return isinstance(refusal, UpstreamError) and refusal.code == NO_ICN


def load_pending(session: DbSession, itf_id: str) -> ITFWork | None:
    work = service.load_itf(session, itf_id)
    return work if work.state == PENDING else None


# -- creating -----------------------------------------------------------------


def create(call: Call, work: ITFWork) -> Confirmation:
    """Read, and create only what is not there (contract: benefits 2.1, 8). Raises the six upstream errors."""
    if work.icn is None:
        raise Rejected("lighthouse_claims", "no ICN for this account", code=NO_ICN, from_upstream=False)
    client = call.upstreams.lighthouse_claims
    there = client.active_itf(work.icn, work.type)
    if there is not None:
        return Confirmation(unused(work, there), "found")
    made = client.create_itf(work.icn, work.type, call.before_write)
    if made.status == "duplicate":
        return Confirmation(unused(work, counting(call, work, made)), "found")
    if made.expires_at <= clock.now():
        raise Unanswered("lighthouse_claims", "the one it says it created has expired")
    return Confirmation(made, "created")


def unused(work: ITFWork, there: UpstreamITF) -> UpstreamITF:
    """Raises Unavailable for the one that a form has used: as long as upstream shows it, no new one can be created."""
    if is_used(work, there):
        raise Unavailable("lighthouse_claims", "still shows the one that a form has used", http_status=200)
    return there


def is_used(work: ITFWork, there: UpstreamITF) -> bool:
    return work.used_up_to is not None and there.created_at <= work.used_up_to


def counting(call: Call, work: ITFWork, duplicate: UpstreamITF) -> UpstreamITF:
    """The ITF that counts after the answer `duplicate`: the one that a read shows, otherwise the one in the answer."""
    assert work.icn is not None
    try:
        there = call.upstreams.lighthouse_claims.active_itf(work.icn, work.type)
    except UpstreamError:
        there = None
    if there is None and duplicate.expires_at <= clock.now():
        raise Unanswered("lighthouse_claims", "a duplicate of one that has expired")
    return there or duplicate


def look_up_itf(call: Call, work: ITFWork, earlier: EarlierWrites) -> Finding:
    """Look up whether an unanswered creation happened: an ITF that is active now is the person's."""
    if work.icn is None:
        return NotFound()
    there = call.upstreams.lighthouse_claims.active_itf(work.icn, work.type)
    return NotFound() if there is None or is_used(work, there) else Found(Confirmation(there, "found"))


def ids(confirmation: Confirmation) -> dict[str, str]:
    """What the attempt keeps of an answer, encrypted. A duplicate's id is not compared: two of them may differ."""
    upstream = confirmation.upstream
    kept = {"answer": vault().encrypt(json.dumps(asdict(confirmation), default=datetime.isoformat)).decode()}
    return kept if upstream.status == "duplicate" else {**kept, "digest": vault().digest("itf", upstream.id)}


def from_ids(kept: dict[str, str]) -> Confirmation:
    values = json.loads(vault().decrypt(kept["answer"].encode()))["upstream"]
    timestamps = {name: datetime.fromisoformat(values[name]) for name in ("created_at", "expires_at")}
    return Confirmation(UpstreamITF(**{**values, **timestamps}), "late")


def reconsider(session: DbSession, itf_id: str, accepted: Confirmation | None) -> None:
    upkeep.reconsider(session, itf_id, accepted.upstream if accepted is not None else None)


# -- comparing ----------------------------------------------------------------


def load_refreshed(session: DbSession, itf_id: str) -> ITFWork | None:
    work = service.load_itf(session, itf_id)
    return work if work.state == "confirmed" and work.icn is not None else None


def read_current_itf(call: Call, work: ITFWork) -> UpstreamITF | None:
    assert work.icn is not None
    return call.upstreams.lighthouse_claims.active_itf(work.icn, work.type)


def lease_seconds(config: Config) -> float:
    """Time for a token, a read, a create and a second read, each once more after a refused token."""
    return 8 * config.lighthouse_total_seconds + LEASE_MARGIN_SECONDS


IDENTIFY_PERSON = identify_spec(
    service.IDENTIFY,
    load=load_pending,
    record=service.record_identified,
    give_up=service.record_itf_failed,
    is_final=is_final,
)

CREATE = JobSpec(
    work=service.CREATE,
    writes=True,
    schedule=ITF_CREATE,
    lease_seconds=lease_seconds,
    call_seconds=lambda config: config.lighthouse_total_seconds,
    load=load_pending,
    act=create,
    look_up=look_up_itf,
    confirm_after_seconds=lambda config: config.lighthouse_confirm_seconds,
    record=service.record_confirmed,
    reconsider=reconsider,
    give_up=service.record_itf_failed,
    ids=ids,
    from_ids=from_ids,
    is_final=is_final,
)

REFRESH = JobSpec(
    work=service.REFRESH,
    writes=False,
    schedule=ITF_REFRESH,
    lease_seconds=lease_seconds,
    call_seconds=lambda config: config.lighthouse_total_seconds,
    load=load_refreshed,
    act=read_current_itf,
    record=upkeep.record_read,
    give_up=record_nothing,
    disposable=True,
)


identify_person = Job(IDENTIFY_PERSON)
create_itf = Job(CREATE)
refresh_itf = Job(REFRESH)
