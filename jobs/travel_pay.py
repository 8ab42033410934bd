"""Filing a travel pay claim for somebody signed in: four steps, each a message of its own.

    find appointment ─► begin claim ─► add mileage ─► submit

What a step did is recorded before the next is owed, so whoever dies anywhere leaves the first step not done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from flaskapp.accounts.identify import identify
from flaskapp.accounts.service import Identity
from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.queues import ACCOUNTS, TRAVEL_PAY
from flaskapp.travel_pay import service
from flaskapp.travel_pay.service import ClaimWork, Filed
from flaskapp.travel_pay.states import APPOINTMENT, CLAIM, EXPENSE, PENDING, SUBMIT
from flaskapp.upstreams.errors import Rejected, UpstreamError
from flaskapp.upstreams.timestamps import parse_timestamp
from flaskapp.upstreams.travel_pay_auth import Traveler
from flaskapp.upstreams.travel_pay_values import ClaimDetail, UpstreamAppointment
from jobs.retry import IDENTIFY, TRAVEL_PAY_STEP
from jobs.runner import run
from jobs.spec import Call, Finding, Found, JobSpec, NotFound, Trail, Unclear

LEASE_MARGIN_SECONDS = 30.0
# Words of BTSSS for a claim that is begun and not submitted (contract: Travel Pay 5.4).
UNSUBMITTED = frozenset({"Saved", "Incomplete"})
MILEAGE = "mileage"


@dataclass(frozen=True)
class Begun:
    """A claim for the appointment: the one we began, or (`ours` false) one from before."""

    filed: Filed
    ours: bool


def load(session: DbSession, claim_id: str, step: str) -> ClaimWork | None:
    work = service.load_claim(session, claim_id)
    return work if work.state == PENDING and work.step == step else None


def traveler_of(work: ClaimWork) -> Traveler:
    if work.identity is None or work.identity.email is None:
        raise Rejected("travel_pay", "nobody we could ask for", code="NO_EMAIL")
    return Traveler(str(work.account_id), work.identity.icn, work.identity.email)


# -- who asked ----------------------------------------------------------------


def identify_asker(call: Call, work: ClaimWork) -> Identity:
    """Travel Pay's tokens are asked for by e-mail: without one there is nothing to ask with."""
    found = identify(call.upstreams.accounts, str(work.account_id))
    if found.email is None:
        raise Rejected("accounts", "no e-mail for this account", code="NO_EMAIL")
    return found


# -- the appointment ----------------------------------------------------------


def appointment_of(call: Call, work: ClaimWork) -> UpstreamAppointment:
    """Found or added: however often it is asked, it is one appointment (contract: Travel Pay 5.3)."""
    asked = work.asked
    return call.upstreams.travel_pay_filing.find_or_add_appointment(
        traveler_of(work),
        asked.starts_at.isoformat(timespec="seconds"),
        asked.station,
        asked.appointment_type,
        asked.appointment_name,
        asked.is_complete,
    )


def record_appointment(session: DbSession, claim_id: str, found: UpstreamAppointment) -> None:
    service.record_appointment(session, claim_id, found.id, already_on(found))


def already_on(appointment: UpstreamAppointment) -> Filed | None:
    if appointment.associated_claim_id is None:
        return None
    return Filed(appointment.associated_claim_id, "found", appointment.associated_claim_number)


# -- the claim ----------------------------------------------------------------


def begin(call: Call, work: ClaimWork) -> Begun:
    assert work.appointment_id is not None
    name = f"Travel reimbursement for {work.asked.starts_at:%B %-d, %Y}"
    claim_id = call.upstreams.travel_pay_filing.create_claim(
        traveler_of(work), work.appointment_id, name, call.before_write
    )
    return Begun(Filed(claim_id, "answered"), ours=True)


def look_for_claim(call: Call, work: ClaimWork, trail: Trail) -> Finding:
    """The appointment names its claim. One begun before our first try was there already; a later one is ours by
    presumption, unless no reply of ours was ever lost: then a *duplicate* answer can only mean somebody else's."""
    already = already_on(appointment_of(call, work))
    if already is None:
        return Unclear("no claim on the appointment after a duplicate answer") if was_refused(trail) else NotFound()
    if trail.why == "duplicate" and not trail.ever_unknown:
        return Found(Begun(already, ours=False))
    detail = detail_of(call, work, already.claim_id)
    if detail is None or detail.created_on is None:
        return Unclear("the appointment's claim cannot be read")
    skew = timedelta(seconds=call.config.btsss_clock_skew_seconds)
    theirs = trail.first_write_at is None or parse_timestamp(detail.created_on) < trail.first_write_at - skew
    found = Filed(already.claim_id, "found" if theirs else "presumed", detail.claim_number, detail.claim_status)
    return Found(Begun(found, ours=not theirs))


def was_refused(trail: Trail) -> bool:
    return trail.why == "duplicate"


def detail_of(call: Call, work: ClaimWork, claim_id: str) -> ClaimDetail | None:
    return call.upstreams.travel_pay.claim(
        traveler_of(work), claim_id, total_seconds=call.config.travel_pay_total_seconds
    )


def record_begun(session: DbSession, claim_id: str, begun: Begun) -> None:
    service.record_begun(session, claim_id, begun.filed, begun.ours)


# -- the mileage --------------------------------------------------------------


def add_mileage_to(call: Call, work: ClaimWork) -> str:
    assert work.claim_id is not None
    starts_at = work.asked.starts_at.isoformat(timespec="seconds")
    return call.upstreams.travel_pay_filing.add_mileage(traveler_of(work), work.claim_id, starts_at, call.before_write)


def look_for_mileage(call: Call, work: ClaimWork, trail: Trail) -> Finding:
    """The claim lists its expenses: one of mileage is ours, nobody else adds to this claim."""
    assert work.claim_id is not None
    detail = detail_of(call, work, work.claim_id)
    if detail is None:
        return Unclear("the claim cannot be read")
    found = [each.id for each in detail.expenses if MILEAGE in f"{each.expense_type} {each.name}".lower()]
    return Found(found[0]) if found else NotFound()


# -- submitting ---------------------------------------------------------------


def submit(call: Call, work: ClaimWork) -> Filed:
    assert work.claim_id is not None
    status = call.upstreams.travel_pay_filing.submit_claim(traveler_of(work), work.claim_id, call.before_write)
    return Filed(work.claim_id, "answered", number_of(call, work), status)


def number_of(call: Call, work: ClaimWork) -> str | None:
    """The number is in no answer to a write; not to know it must not undo what is done."""
    assert work.claim_id is not None
    try:
        detail = detail_of(call, work, work.claim_id)
    except UpstreamError:
        return None
    return detail.claim_number if detail is not None else None


def look_for_submit(call: Call, work: ClaimWork, trail: Trail) -> Finding:
    assert work.claim_id is not None
    detail = detail_of(call, work, work.claim_id)
    if detail is None or not detail.claim_status:
        return Unclear("the claim cannot be read")
    if detail.claim_status in UNSUBMITTED:
        return Unclear("not submitted after a duplicate answer") if was_refused(trail) else NotFound()
    return Found(Filed(work.claim_id, "presumed", detail.claim_number, detail.claim_status))


# -- what attempts keep -------------------------------------------------------


def kept(answer: Any, *identity: str) -> dict[str, str]:
    """An answer, encrypted, and a digest of what another answer may not differ in."""
    return {"answer": vault().encrypt(json.dumps(answer)).decode(), "digest": vault().digest(*identity)}


def opened(ids: dict[str, str]) -> Any:
    return json.loads(vault().decrypt(ids["answer"].encode()))


def begun_from(ids: dict[str, str]) -> Begun:
    values = opened(ids)
    return Begun(Filed(**{**values["filed"], "how": "late"}), values["ours"])


def lease_seconds(config: Config) -> float:
    """The chain of tokens, a call and the read after it, and all once more after a refused token."""
    tokens = config.veis_total_seconds + config.sts_total_seconds + config.travel_pay_total_seconds
    return 2 * (tokens + 2 * config.travel_pay_total_seconds) + LEASE_MARGIN_SECONDS


def call_seconds(config: Config) -> float:
    return config.travel_pay_total_seconds


def settle_seconds(config: Config) -> float:
    return config.travel_pay_settle_seconds


IDENTIFY_TRAVELER = JobSpec(
    path=service.IDENTIFY_JOB,
    queue=ACCOUNTS,
    writes=False,
    schedule=IDENTIFY,
    lease_seconds=lambda config: config.accounts_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.accounts_total_seconds,
    load=lambda session, claim_id: load(session, claim_id, APPOINTMENT),
    act=identify_asker,
    record=service.record_identified,
    give_up=service.record_failed,
)

FIND_APPOINTMENT = JobSpec(
    path=service.STEP_JOBS[APPOINTMENT],
    queue=TRAVEL_PAY,
    writes=False,
    schedule=TRAVEL_PAY_STEP,
    lease_seconds=lease_seconds,
    call_seconds=call_seconds,
    load=lambda session, claim_id: load(session, claim_id, APPOINTMENT),
    act=appointment_of,
    record=record_appointment,
    give_up=service.record_failed,
)

BEGIN = JobSpec(
    path=service.STEP_JOBS[CLAIM],
    queue=TRAVEL_PAY,
    writes=True,
    schedule=TRAVEL_PAY_STEP,
    lease_seconds=lease_seconds,
    call_seconds=call_seconds,
    load=lambda session, claim_id: load(session, claim_id, CLAIM),
    act=begin,
    look_up=look_for_claim,
    settle_seconds=settle_seconds,
    record=record_begun,
    give_up=service.record_failed,
    ids=lambda begun: kept(asdict(begun), "travel_pay_claim", begun.filed.claim_id),
    from_ids=begun_from,
)

ADD_MILEAGE = JobSpec(
    path=service.STEP_JOBS[EXPENSE],
    queue=TRAVEL_PAY,
    writes=True,
    schedule=TRAVEL_PAY_STEP,
    lease_seconds=lease_seconds,
    call_seconds=call_seconds,
    load=lambda session, claim_id: load(session, claim_id, EXPENSE),
    act=add_mileage_to,
    look_up=look_for_mileage,
    settle_seconds=settle_seconds,
    record=service.record_mileage,
    give_up=service.record_failed,
    ids=lambda expense_id: kept(expense_id, "travel_pay_expense", expense_id),
    from_ids=opened,
)

SUBMIT_CLAIM = JobSpec(
    path=service.STEP_JOBS[SUBMIT],
    queue=TRAVEL_PAY,
    writes=True,
    schedule=TRAVEL_PAY_STEP,
    lease_seconds=lease_seconds,
    call_seconds=call_seconds,
    load=lambda session, claim_id: load(session, claim_id, SUBMIT),
    act=submit,
    look_up=look_for_submit,
    settle_seconds=settle_seconds,
    record=service.record_submitted,
    give_up=service.record_failed,
    ids=lambda filed: kept(asdict(filed), "travel_pay_claim", filed.claim_id),
    from_ids=lambda ids: Filed(**{**opened(ids), "how": "late"}),
)


def identify_traveler(message_id: int, fence: int) -> None:
    run(IDENTIFY_TRAVELER, message_id, fence)


def find_appointment(message_id: int, fence: int) -> None:
    run(FIND_APPOINTMENT, message_id, fence)


def begin_claim(message_id: int, fence: int) -> None:
    run(BEGIN, message_id, fence)


def add_mileage(message_id: int, fence: int) -> None:
    run(ADD_MILEAGE, message_id, fence)


def submit_claim(message_id: int, fence: int) -> None:
    run(SUBMIT_CLAIM, message_id, fence)
