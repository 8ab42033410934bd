"""Synchronous ITFs: passed through to the upstream while the person waits. What it answers is kept.

Pension, survivor, the callers named in `ITF_SYNC_APPS`, and accounts outside `ITF_ASYNC_PERCENT` go this way.
"""

from __future__ import annotations

import uuid

from flaskapp.accounts.caller import find_person, identity_of_caller, problem_of_upstream
from flaskapp.accounts.service import ensure_account
from flaskapp.clock import next_midnight
from flaskapp.current import database_now, settings, upstreams
from flaskapp.db import DbSession, transaction
from flaskapp.intent_to_file.service import SUBJECT, find_valid, first_refresh, insert_itf
from flaskapp.intent_to_file.states import CONFIRMED, SURVIVOR, SYNCHRONOUS
from flaskapp.upstreams.errors import UpstreamError
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from outbox import write_history


def read_itf(account_id: uuid.UUID, itf_type: str) -> UpstreamITF | None:
    """The active ITF upstream, kept here too. Raises Problem with upstream's status for whatever went wrong."""
    icn = identity_of_caller(account_id).icn
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
    try:
        made = upstreams().lighthouse_claims.create_itf(icn, itf_type, lambda: None, ssn, settings().itf_sync_seconds)
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
    now, zone = database_now(session), settings().legal_time_zone
    itf = find_valid(session, account_id, itf_type)
    if itf is not None:
        if itf.state == CONFIRMED and itf.upstream_id == upstream.id:
            itf.last_synced_at = now
        return
    if upstream.expires_at <= now:
        return
    ensure_account(session, account_id)
    created = insert_itf(
        session,
        account_id=account_id,
        type=itf_type,
        path=SYNCHRONOUS,
        state=CONFIRMED,
        asked_at=now,
        effective_date=min(now, upstream.created_at),
        expires_at=upstream.expires_at,
        legal_midnight_at=next_midnight(now, zone),
        upstream_id=upstream.id,
        upstream_status=upstream.status,
        upstream_created_at=upstream.created_at,
        upstream_expires_at=upstream.expires_at,
        how="found",
        last_synced_at=now,
        refresh_due_at=first_refresh(now),
        finished_at=now,
    )
    if created is not None:
        write_history(session, SUBJECT, str(created.id), "intent_to_file.stored", moved_to=CONFIRMED, actor="person")
