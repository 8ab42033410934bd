"""Builder of the job that finds out whose account a request came from: the first in flows of signed-in people."""

from __future__ import annotations

from typing import Any

from flaskapp.accounts.identify import identify
from flaskapp.accounts.service import Identity
from flaskapp.flows import Work
from jobs.engine.retry import IDENTIFY
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, JobSpec


def identify_spec(work: Work, *, needs_email: bool = False, **parts: Any) -> JobSpec:
    """The job `work` of one flow. `parts` are what differs between the flows; `load` answers what has `account_id`."""

    def act(call: Call, subject: Any) -> Identity:
        return identify(call.upstreams.accounts, str(subject.account_id), needs_email=needs_email)

    return JobSpec(
        work=work,
        writes=False,
        schedule=IDENTIFY,
        lease_seconds=lambda config: config.accounts_total_seconds + LEASE_MARGIN_SECONDS,
        call_seconds=lambda config: config.accounts_total_seconds,
        act=act,
        **parts,
    )
