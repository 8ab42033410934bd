"""Jobs that file a travel pay claim for a signed-in person, in four steps, each a message of its own.

    find appointment ─► begin claim ─► add mileage ─► submit

What a step did is recorded in the transaction that enqueues the next, so a crash anywhere leaves exactly the first
step that is not done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.travel_pay import service
from flaskapp.travel_pay.reads import is_short
from flaskapp.travel_pay.service import ClaimWork, Filed, SetBack
from flaskapp.travel_pay.states import APPOINTMENT, CLAIM, EXPENSE, PENDING, STEPS, SUBMIT
from flaskapp.upstreams.errors import NO_EMAIL, Duplicate, Rejected, UpstreamError
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.http import within
from flaskapp.upstreams.transport.timestamps import parse_timestamp
from flaskapp.upstreams.travel_pay.filing import listed_at
from flaskapp.upstreams.travel_pay.reads import LARGEST_PAGE, Page
from flaskapp.upstreams.travel_pay.values import ClaimDetail, UpstreamAppointment
from jobs.engine.retry import TRAVEL_PAY_STEP
from jobs.engine.runner import Job
from jobs.engine.spec import (
    LEASE_MARGIN_SECONDS,
    Call,
    EarlierWrites,
    Finding,
    Found,
    JobSpec,
    NotFound,
    Unclear,
)
from jobs.identify import identify_spec
from outbox import restores

# The status words of a claim that was begun and not submitted (contract: travel 5.4).
UNSUBMITTED = frozenset({"Saved", "Incomplete"})
MILEAGE = "mileage"
# The id of an expense that BTSSS has and does not show.
UNNAMED = "unnamed"
# How much of the person's list is read for one appointment, in the time of one call.
MOST_PAGES = 10


def load(session: DbSession, claim_id: str, step: str) -> ClaimWork | None:
    """The claim, or None when this step is done already. Raises SetBack when an earlier step is not: that must not end
    quietly."""
    work = service.load_claim(session, claim_id)
    if work.state == PENDING and STEPS.index(work.step) < STEPS.index(step):
        raise SetBack(f"{work.step}, and {step} is enqueued")
    return work if work.state == PENDING and work.step == step else None


@dataclass(frozen=True)
class Begun:
    """A claim for the appointment: the one we began, or (`ours` false) one from before."""

    filed: Filed
    ours: bool


def traveler_of(work: ClaimWork) -> Traveler:
    if work.identity is None or work.identity.email is None:
        raise Rejected("travel_pay", "no e-mail to get a token for", code=NO_EMAIL, from_upstream=False)
    return Traveler(str(work.account_id), work.identity.icn, work.identity.email)


# -- the appointment ----------------------------------------------------------


def appointment_of(call: Call, work: ClaimWork) -> UpstreamAppointment:
    """Find or add the appointment: however often this is sent, it is one appointment (contract: travel 5.3)."""
    requested = work.requested
    try:
        return call.upstreams.travel_pay_filing.find_or_add_appointment(
            traveler_of(work),
            requested.starts_at.isoformat(timespec="seconds"),
            requested.station,
            requested.appointment_type,
            requested.appointment_name,
            requested.is_complete,
        )
    except Duplicate:
        listed = find_listed(call, work)
        if listed is None:
            raise
        return listed


def find_listed(call: Call, work: ClaimWork) -> UpstreamAppointment | None:
    """The appointment in the person's own list, as far as that is read here."""
    seconds, starts_at = call.config.travel_pay_total_seconds, work.requested.starts_at.isoformat(timespec="seconds")
    client, pages = call.upstreams.travel_pay, list[Page[UpstreamAppointment]]()
    with within(seconds):
        while len(pages) < MOST_PAGES and (not pages or (is_short(pages) and pages[-1].items)):
            page = client.appointments(traveler_of(work), len(pages) + 1, LARGEST_PAGE, total_seconds=seconds)
            found = listed_at(page.items, starts_at, work.requested.station)
            if found is not None:
                return found
            pages.append(page)
    return None


def already_on(appointment: UpstreamAppointment) -> Filed | None:
    if appointment.associated_claim_id is None:
        return None
    return Filed(appointment.associated_claim_id, "found", appointment.associated_claim_number)


# -- the claim ----------------------------------------------------------------


def begin_claim_upstream(call: Call, work: ClaimWork) -> Begun:
    assert work.appointment_id is not None
    name = f"Travel reimbursement for {work.requested.starts_at:%B %-d, %Y}"
    claim_id = call.upstreams.travel_pay_filing.create_claim(
        traveler_of(work), work.appointment_id, name, call.before_write
    )
    return Begun(Filed(claim_id, "answered"), ours=True)


def look_for_claim(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    """Look up the appointment's claim. One begun before our first try was there already; a later one is presumed to be
    ours. If no reply to us was ever lost, a *duplicate* answer can only mean somebody else's, whether or not the
    appointment names it."""
    appointment = appointment_of(call, work)
    already = already_on(appointment)
    if already is None and is_answered(earlier):
        return Found(Begun(Filed(None, "answered"), ours=False))
    if already is None:
        return Unclear("no claim on the appointment after a duplicate answer") if was_refused(earlier) else NotFound()
    assert already.claim_id is not None
    if not earlier.ever_unknown:
        return Found(Begun(already, ours=False))
    detail = detail_of(call, work, already.claim_id)
    begun_at = begun_at_of(detail)
    if detail is None or begun_at is None:
        return Unclear("the appointment's claim cannot be read")
    if not is_for(detail, appointment, work.requested.starts_at):
        return Unclear("the claim is another appointment's")
    skew = timedelta(seconds=call.config.btsss_clock_skew_seconds)
    was_there = earlier.first_write_at is None or begun_at < earlier.first_write_at - skew
    # Ours has no expense until its next step: if this one has, or is submitted, somebody else has continued it. Where a
    # restore from a backup lost what we did, that was we.
    continued = earlier.why != restores.RESTORED and (bool(detail.expenses) or detail.claim_status not in UNSUBMITTED)
    how = "continued" if continued else "found" if was_there else "presumed"
    found = Filed(already.claim_id, how, detail.claim_number, detail.claim_status)
    return Found(Begun(found, ours=how == "presumed"))


def is_for(detail: ClaimDetail, appointment: UpstreamAppointment, starts_at: datetime) -> bool:
    """Whether the claim can be for that appointment, which says that it is: nothing in it may say otherwise. Its date
    is a wall clock or UTC, so the day before or after may be meant."""
    if detail.appointment is not None and detail.appointment.id.lower() != appointment.id.lower():
        return False
    at = detail.appointment_date
    return at is None or abs(datetime.fromisoformat(at).date() - starts_at.date()) <= timedelta(days=1)


def begun_at_of(detail: ClaimDetail | None) -> datetime | None:
    """When the claim was begun; None when it does not say so, or without a UTC offset: here hours matter."""
    try:
        return parse_timestamp(detail.created_on) if detail is not None else None
    except ValueError:
        return None


def was_refused(earlier: EarlierWrites) -> bool:
    return earlier.why == "duplicate"


def is_answered(earlier: EarlierWrites) -> bool:
    """Whether *duplicate* is upstream's answer: no reply to us was lost, so what is there is not ours."""
    return was_refused(earlier) and not earlier.ever_unknown


def detail_of(call: Call, work: ClaimWork, claim_id: str) -> ClaimDetail | None:
    return call.upstreams.travel_pay.claim(
        traveler_of(work), claim_id, total_seconds=call.config.travel_pay_total_seconds
    )


# -- the mileage --------------------------------------------------------------


def add_mileage_to(call: Call, work: ClaimWork) -> str:
    assert work.claim_id is not None
    starts_at = work.requested.starts_at.isoformat(timespec="seconds")
    return call.upstreams.travel_pay_filing.add_mileage(traveler_of(work), work.claim_id, starts_at, call.before_write)


def look_for_mileage(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    """Look for the mileage among the claim's expenses. It is ours: nobody else adds to this claim.

    After a *duplicate* answer it is there, or the claim was submitted, whether or not the list shows it: it is never
    added again. A claim that was submitted without it is a human's.
    """
    assert work.claim_id is not None
    detail = detail_of(call, work, work.claim_id)
    if detail is None:
        return Unclear("the claim cannot be read")
    found = [each.id for each in detail.expenses if MILEAGE in f"{each.expense_type} {each.name}".lower()]
    if found:
        return Found(found[0])
    if not was_refused(earlier):
        return NotFound()
    is_submitted = detail.claim_status and detail.claim_status not in UNSUBMITTED
    return Unclear("submitted without a mileage") if is_submitted else Found(UNNAMED)


# -- submitting ---------------------------------------------------------------


def submit(call: Call, work: ClaimWork) -> Filed:
    assert work.claim_id is not None
    status = call.upstreams.travel_pay_filing.submit_begun_claim(traveler_of(work), work.claim_id, call.before_write)
    return Filed(work.claim_id, "answered", number_of(call, work), status)


def number_of(call: Call, work: ClaimWork) -> str | None:
    """The claim number, which no answer to a write contains. If it cannot be read, the submit is still done."""
    assert work.claim_id is not None
    try:
        detail = detail_of(call, work, work.claim_id)
    except UpstreamError:
        return None
    return detail.claim_number if detail is not None else None


def look_for_submit(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    """Look whether the claim is submitted. If no reply to us was ever lost, a *duplicate* answer is enough: somebody
    submitted what we began, whatever its status still says."""
    assert work.claim_id is not None
    detail = detail_of(call, work, work.claim_id)
    if is_answered(earlier):
        known = detail.claim_number if detail is not None else None
        return Found(Filed(work.claim_id, "found", known, detail.claim_status if detail is not None else None))
    if detail is None or not detail.claim_status:
        return Unclear("the claim cannot be read")
    if detail.claim_status in UNSUBMITTED:
        return Unclear("not submitted after a duplicate answer") if was_refused(earlier) else NotFound()
    return Found(Filed(work.claim_id, "presumed", detail.claim_number, detail.claim_status))


# -- what was found -----------------------------------------------------------


def record_appointment(session: DbSession, claim_id: str, found: UpstreamAppointment) -> None:
    service.record_appointment(session, claim_id, found.id, already_on(found))


def record_begun(session: DbSession, claim_id: str, begun: Begun) -> None:
    service.record_begun(session, claim_id, begun.filed, begun.ours)


def reconsider_begun(session: DbSession, claim_id: str, accepted: Begun | None) -> None:
    service.reconsider_begun(session, claim_id, accepted.filed if accepted is not None else None)


# -- what attempts keep -------------------------------------------------------


def kept(answer: Any, *identity: str) -> dict[str, str]:
    """An answer, encrypted, and a digest of the ids in which no other answer may differ."""
    return {"answer": vault().encrypt(json.dumps(answer)).decode(), "digest": vault().digest(*identity)}


def opened(ids: dict[str, str]) -> Any:
    return json.loads(vault().decrypt(ids["answer"].encode()))


def ids_of_begun(begun: Begun) -> dict[str, str]:
    return kept_of(asdict(begun), begun.filed)


def ids_of_filed(filed: Filed) -> dict[str, str]:
    return kept_of(asdict(filed), filed)


def ids_of_expense(expense_id: str) -> dict[str, str]:
    found = kept(expense_id, "travel_pay_expense", expense_id)
    return found if expense_id != UNNAMED else {"answer": found["answer"]}


def kept_of(answer: Any, filed: Filed) -> dict[str, str]:
    """As `kept`; a claim that was not named contradicts no other, so it has no digest."""
    found = kept(answer, "travel_pay_claim", filed.claim_id or "")
    return found if filed.claim_id is not None else {"answer": found["answer"]}


def begun_from(ids: dict[str, str]) -> Begun:
    values = opened(ids)
    return Begun(Filed(**{**values["filed"], "how": "late"}), values["ours"])


def lease_seconds(config: Config) -> float:
    """Time for the chain of tokens, a call and the read after it, and for all once more after a refused token."""
    tokens = config.veis_total_seconds + config.sts_total_seconds + config.travel_pay_total_seconds
    return 2 * (tokens + 2 * config.travel_pay_total_seconds) + LEASE_MARGIN_SECONDS


def call_seconds(config: Config) -> float:
    return config.travel_pay_total_seconds


def confirm_after_seconds(config: Config) -> float:
    return config.travel_pay_confirm_seconds


# Travel Pay's tokens are requested by e-mail address.
IDENTIFY_TRAVELER = identify_spec(
    service.IDENTIFY,
    needs_email=True,
    load=lambda session, claim_id: load(session, claim_id, APPOINTMENT),
    record=service.record_identified,
    give_up=service.record_travel_pay_failed,
)


def step_spec(step: str, **parts: Any) -> JobSpec:
    """A step's job. `parts` are what differs between the four."""
    return JobSpec(
        work=service.STEP_WORKS[step],
        schedule=TRAVEL_PAY_STEP,
        lease_seconds=lease_seconds,
        call_seconds=call_seconds,
        confirm_after_seconds=confirm_after_seconds,
        load=lambda session, claim_id: load(session, claim_id, step),
        give_up=service.record_travel_pay_failed,
        **parts,
    )


FIND_APPOINTMENT = step_spec(
    APPOINTMENT,
    writes=False,
    act=appointment_of,
    record=record_appointment,
)

BEGIN = step_spec(
    CLAIM,
    writes=True,
    act=begin_claim_upstream,
    look_up=look_for_claim,
    record=record_begun,
    reconsider=reconsider_begun,
    ids=ids_of_begun,
    from_ids=begun_from,
)

ADD_MILEAGE = step_spec(
    EXPENSE,
    writes=True,
    act=add_mileage_to,
    look_up=look_for_mileage,
    record=service.record_mileage,
    ids=ids_of_expense,
    from_ids=opened,
)

SUBMIT_CLAIM = step_spec(
    SUBMIT,
    writes=True,
    act=submit,
    look_up=look_for_submit,
    record=service.record_submitted,
    ids=ids_of_filed,
    from_ids=lambda ids: Filed(**{**opened(ids), "how": "late"}),
)


identify_traveler = Job(IDENTIFY_TRAVELER)
find_appointment = Job(FIND_APPOINTMENT)
begin_claim = Job(BEGIN)
add_mileage = Job(ADD_MILEAGE)
submit_travel_pay_claim = Job(SUBMIT_CLAIM)
