"""Jobs of the first look: find out who a visitor is, and whether upstream holds an ITF of theirs from elsewhere."""

from __future__ import annotations

from flaskapp.accounts.identify import identity_in
from flaskapp.accounts.service import Identity, icn_of
from flaskapp.db import DbSession
from flaskapp.intent_to_file import first_look
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from jobs.engine.retry import FIRST_LOOK
from jobs.engine.runner import Job
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, JobSpec, record_nothing


def load_visitor(session: DbSession, look_id: str) -> str | None:
    """The visitor's account."""
    look = first_look.load_look(session, look_id)
    return str(look.account_id) if look is not None else None


def identify_visitor_at(call: Call, account_id: str) -> Identity | None:
    """Who it is; None without an ICN. Raises the upstream errors."""
    return identity_in(call.upstreams.accounts.find(account_id))


def load_known(session: DbSession, look_id: str) -> tuple[str, str] | None:
    """ICN and type to look for."""
    look = first_look.load_look(session, look_id)
    icn = icn_of(session, look.account_id) if look is not None else None
    return (icn, look.type) if look is not None and icn is not None else None


def look_at_upstream(call: Call, wanted: tuple[str, str]) -> UpstreamITF | None:
    icn, itf_type = wanted
    return call.upstreams.lighthouse_claims.active_itf(icn, itf_type)


IDENTIFY = JobSpec(
    work=first_look.IDENTIFY,
    writes=False,
    schedule=FIRST_LOOK,
    lease_seconds=lambda config: config.accounts_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.accounts_total_seconds,
    load=load_visitor,
    act=identify_visitor_at,
    record=first_look.record_visitor,
    give_up=record_nothing,
    let_go=first_look.let_look_go,
    disposable=True,
)

LOOK = JobSpec(
    work=first_look.LOOK,
    writes=False,
    schedule=FIRST_LOOK,
    # A token and a read, each once more after a refused token.
    lease_seconds=lambda config: 4 * config.lighthouse_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.lighthouse_total_seconds,
    load=load_known,
    act=look_at_upstream,
    record=first_look.record_look,
    give_up=record_nothing,
    let_go=first_look.let_look_go,
    disposable=True,
)


identify_visitor = Job(IDENTIFY)
look_for_itf = Job(LOOK)
