"""Synchronous ITFs: passed through to the upstream while the person waits. What it answers is kept.

Pension, survivor, the callers named in `ITF_SYNC_APPS`, and accounts outside `ITF_ASYNC_PERCENT` go this way.
"""

from __future__ import annotations

import uuid

from flaskapp.accounts.caller import find_person, identity_of_caller, problem_of_upstream
from flaskapp.current import database_now, settings, upstreams
from flaskapp.db import DbSession, transaction
from flaskapp.intent_to_file.service import find_valid, store_confirmed
from flaskapp.intent_to_file.states import CONFIRMED, SURVIVOR, SYNCHRONOUS
from flaskapp.upstreams.errors import UpstreamError
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from flaskapp.web.passthrough import waiting_for

UPSTREAM = "lighthouse_claims"


def read_itf(account_id: uuid.UUID, itf_type: str) -> UpstreamITF | None:
    """The active ITF upstream, kept here too. Raises Problem with upstream's status for whatever went wrong."""
    icn = identity_of_caller(account_id).icn
    with waiting_for(UPSTREAM):
        try:
            found = upstreams().lighthouse_claims.active_itf(icn, itf_type, settings().itf_sync_seconds)
        except UpstreamError as error:
            raise problem_of_upstream(error) from error
    if found is not None:
        keep(account_id, itf_type, found)
    return found


def create_itf(account_id: uuid.UUID, itf_type: str) -> UpstreamITF:
    """Create it upstream now. A survivor's needs the caller's SSN, which we do not keep (contract: benefits 2.1)."""
    ssn = (find_person(account_id).ssn or "") if itf_type == SURVIVOR else ""
    icn = identity_of_caller(account_id).icn
    seconds = settings().itf_sync_seconds
    with waiting_for(UPSTREAM):
        try:
            made = upstreams().lighthouse_claims.create_itf(icn, itf_type, lambda: None, ssn, seconds)
        except UpstreamError as error:
            raise problem_of_upstream(error) from error
    keep(account_id, itf_type, made)
    return made


def keep(account_id: uuid.UUID, itf_type: str, upstream: UpstreamITF) -> None:
    with transaction() as session:
        store_answer(session, account_id, itf_type, upstream)


def store_answer(session: DbSession, account_id: uuid.UUID, itf_type: str, upstream: UpstreamITF) -> None:
    """Keep what upstream answered to a synchronous caller.

    A pending ITF is left to its own job, and one that differs is left to the refresh.
    """
    itf = find_valid(session, account_id, itf_type)
    if itf is None:
        store_confirmed(session, account_id, itf_type, upstream, SYNCHRONOUS, "person")
    elif itf.state == CONFIRMED and itf.upstream_id == upstream.id:
        itf.last_synced_at = database_now(session)
