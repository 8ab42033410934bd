"""Builder of the job that finds out whose account a request came from: the first in flows of signed-in people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flaskapp.accounts.identify import identify
from flaskapp.accounts.service import Identity, remember_nobody
from flaskapp.db import DbSession
from flaskapp.flows import Work
from flaskapp.upstreams.errors import NO_ICN
from jobs.engine.retry import IDENTIFY
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, JobSpec


def identify_spec(
    work: Work,
    *,
    load: Callable[[DbSession, str], Any],
    give_up: Callable[[DbSession, str, str, dict[str, Any]], None],
    needs_email: bool = False,
    **parts: Any,
) -> JobSpec:
    """The job `work` of one flow. `parts` are what differs between the flows; `load` answers what has `account_id`.

    That there is no ICN is kept with the account, for every flow.
    """

    def act(call: Call, subject: Any) -> Identity:
        return identify(call.upstreams.accounts, str(subject.account_id), needs_email=needs_email)

    def give_up_person(session: DbSession, subject_id: str, kind: str, details: dict[str, Any]) -> None:
        subject = load(session, subject_id) if details.get("reason") == NO_ICN else None
        if subject is not None:
            remember_nobody(session, subject.account_id)
        give_up(session, subject_id, kind, details)

    return JobSpec(
        work=work,
        writes=False,
        schedule=IDENTIFY,
        lease_seconds=lambda config: config.accounts_total_seconds + LEASE_MARGIN_SECONDS,
        call_seconds=lambda config: config.accounts_total_seconds,
        act=act,
        load=load,
        give_up=give_up_person,
        **parts,
    )
