"""Synchronous ITFs: passed through to the upstream while the person waits. What it answers is kept.

Pension, survivor, the callers named in `ITF_SYNC_APPS`, and accounts outside `ITF_ASYNC_PERCENT` go this way.
"""

from __future__ import annotations

import uuid

from flaskapp import clock
from flaskapp.accounts.caller import find_person, identity_of_caller, problem_of_upstream
from flaskapp.current import settings, upstreams
from flaskapp.db import DbSession, transaction
from flaskapp.intent_to_file.service import find_valid, store_confirmed
from flaskapp.intent_to_file.states import SURVIVOR, SYNCHRONOUS
from flaskapp.intent_to_file.upkeep import record_read
from flaskapp.upstreams.errors import Unanswered, UpstreamError
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
    with transaction() as session:
        store_answer(session, account_id, itf_type, found)
    return found


def create_itf(account_id: uuid.UUID, itf_type: str) -> UpstreamITF:
    """Create it upstream now. A survivor's needs the caller's SSN, which we do not keep (contract: benefits 2.1)."""
    ssn = (find_person(account_id).ssn or "") if itf_type == SURVIVOR else ""
    icn = identity_of_caller(account_id).icn
    seconds = settings().itf_sync_seconds
    with waiting_for(UPSTREAM):
        try:
            made = upstreams().lighthouse_claims.create_itf(icn, itf_type, lambda: None, ssn, seconds)
            if made.expires_at <= clock.now():
                raise Unanswered(UPSTREAM, "the one it says it holds has expired", http_status=200)
        except UpstreamError as error:
            raise problem_of_upstream(error) from error
    with transaction() as session:
        store_answer(session, account_id, itf_type, made)
    return made


def store_answer(session: DbSession, account_id: uuid.UUID, itf_type: str, shown: UpstreamITF | None) -> None:
    """Keep what upstream answered to a synchronous caller, also that it has none.

    A pending ITF is left to its own job.
    """
    itf = find_valid(session, account_id, itf_type)
    if itf is not None:
        record_read(session, str(itf.id), shown, "person")
    elif shown is not None:
        store_confirmed(session, account_id, itf_type, shown, SYNCHRONOUS, "person")
