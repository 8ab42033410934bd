"""Jobs that submit a Form 526: find out whose it is, submit it, or look up what became of an earlier try."""

from __future__ import annotations

from typing import Any

from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.form526 import service
from flaskapp.form526.service import SubmissionWork
from flaskapp.form526.states import PENDING
from flaskapp.upstreams.errors import NO_ICN, Rejected
from flaskapp.web.inflection import to_camel, with_keys
from jobs.engine.retry import FORM526_SUBMIT
from jobs.engine.runner import Job
from jobs.engine.spec import LEASE_MARGIN_SECONDS, Call, EarlierWrites, Finding, Found, JobSpec, NotFound, Unclear
from jobs.identify import identify_spec


def load_pending(session: DbSession, submission_id: str) -> SubmissionWork | None:
    work = service.load_submission(session, submission_id)
    return work if work.state == PENDING else None


def submit(call: Call, work: SubmissionWork) -> int:
    """The claim id (an assumption: docs/assumptions.md, 526 service). Raises the six upstream errors."""
    if work.identity is None:
        raise Rejected("form526", "no ICN for this account", code=NO_ICN, from_upstream=False)
    form: dict[str, Any] = with_keys(work.form, to_camel)
    return call.upstreams.form526.submit(str(work.id), work.identity.icn, form, call.before_write)


def look_up_form(call: Call, work: SubmissionWork, earlier: EarlierWrites) -> Finding:
    """Look up an earlier try. Each carries the submission's id as reference, so one that arrived can be found."""
    claim_id = call.upstreams.form526.find(str(work.id))
    if claim_id is not None:
        return Found(claim_id)
    return Unclear("none on file after a duplicate answer") if earlier.why == "duplicate" else NotFound()


def lease_seconds(config: Config) -> float:
    return config.form526_total_seconds + LEASE_MARGIN_SECONDS


IDENTIFY_PERSON = identify_spec(
    service.IDENTIFY,
    load=load_pending,
    record=service.record_identified,
    give_up=service.record_form_failed,
)

SUBMIT = JobSpec(
    work=service.SUBMIT,
    writes=True,
    schedule=FORM526_SUBMIT,
    lease_seconds=lease_seconds,
    call_seconds=lambda config: config.form526_total_seconds,
    load=load_pending,
    act=submit,
    look_up=look_up_form,
    confirm_after_seconds=lambda config: config.form526_confirm_seconds,
    check=service.check_accepted,
    record=service.record_accepted,
    give_up=service.record_form_failed,
    ids=lambda claim_id: {"claim": str(claim_id), "digest": vault().digest("form526", str(claim_id))},
    from_ids=lambda kept: int(kept["claim"]),
)


identify_person = Job(IDENTIFY_PERSON)
submit_form = Job(SUBMIT)
