"""The calls of a travel pay claim's four steps, and how each is found out whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flaskapp.accounts.identify import identify
from flaskapp.accounts.service import Identity
from flaskapp.db import DbSession
from flaskapp.travel_pay import record
from flaskapp.travel_pay.service import ClaimWork, Filed
from flaskapp.upstreams.errors import Rejected, UpstreamError
from flaskapp.upstreams.transport.timestamps import parse_timestamp
from flaskapp.upstreams.travel_pay.auth import Traveler
from flaskapp.upstreams.travel_pay.values import ClaimDetail, UpstreamAppointment
from jobs.engine.spec import Call, EarlierWrites, Finding, Found, NotFound, Unclear

# Words of BTSSS for a claim that is begun and not submitted (contract: Travel Pay 5.4).
UNSUBMITTED = frozenset({"Saved", "Incomplete"})
MILEAGE = "mileage"


@dataclass(frozen=True)
class Begun:
    """A claim for the appointment: the one we began, or (`ours` false) one from before."""

    filed: Filed
    ours: bool


def traveler_of(work: ClaimWork) -> Traveler:
    if work.identity is None or work.identity.email is None:
        raise Rejected("travel_pay", "nobody we could ask for", code="NO_EMAIL", from_upstream=False)
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
    requested = work.requested
    return call.upstreams.travel_pay_filing.find_or_add_appointment(
        traveler_of(work),
        requested.starts_at.isoformat(timespec="seconds"),
        requested.station,
        requested.appointment_type,
        requested.appointment_name,
        requested.is_complete,
    )


def record_appointment(session: DbSession, claim_id: str, found: UpstreamAppointment) -> None:
    record.record_appointment(session, claim_id, found.id, already_on(found))


def already_on(appointment: UpstreamAppointment) -> Filed | None:
    if appointment.associated_claim_id is None:
        return None
    return Filed(appointment.associated_claim_id, "found", appointment.associated_claim_number)


# -- the claim ----------------------------------------------------------------


def begin(call: Call, work: ClaimWork) -> Begun:
    assert work.appointment_id is not None
    name = f"Travel reimbursement for {work.requested.starts_at:%B %-d, %Y}"
    claim_id = call.upstreams.travel_pay_filing.create_claim(
        traveler_of(work), work.appointment_id, name, call.before_write
    )
    return Begun(Filed(claim_id, "answered"), ours=True)


def look_for_claim(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    """The appointment names its claim. One begun before our first try was there already; a later one is ours by
    presumption, unless no reply of ours was ever lost: then a *duplicate* answer can only mean somebody else's."""
    already = already_on(appointment_of(call, work))
    if already is None:
        return Unclear("no claim on the appointment after a duplicate answer") if was_refused(earlier) else NotFound()
    if earlier.why == "duplicate" and not earlier.ever_unknown:
        return Found(Begun(already, ours=False))
    detail = detail_of(call, work, already.claim_id)
    begun_at = begun_at_of(detail)
    if detail is None or begun_at is None:
        return Unclear("the appointment's claim cannot be read")
    skew = timedelta(seconds=call.config.btsss_clock_skew_seconds)
    was_there = earlier.first_write_at is None or begun_at < earlier.first_write_at - skew
    # Ours is bare until its next step: somebody has filed this one since.
    theirs = was_there or bool(detail.expenses) or detail.claim_status not in UNSUBMITTED
    found = Filed(already.claim_id, "found" if theirs else "presumed", detail.claim_number, detail.claim_status)
    return Found(Begun(found, ours=not theirs))


def begun_at_of(detail: ClaimDetail | None) -> datetime | None:
    """When the claim was begun; None when it does not say, or says it without an offset: hours decide here."""
    try:
        return parse_timestamp(detail.created_on) if detail is not None else None
    except ValueError:
        return None


def was_refused(earlier: EarlierWrites) -> bool:
    return earlier.why == "duplicate"


def detail_of(call: Call, work: ClaimWork, claim_id: str) -> ClaimDetail | None:
    return call.upstreams.travel_pay.claim(
        traveler_of(work), claim_id, total_seconds=call.config.travel_pay_total_seconds
    )


def record_begun(session: DbSession, claim_id: str, begun: Begun) -> None:
    record.record_begun(session, claim_id, begun.filed, begun.ours)


# -- the mileage --------------------------------------------------------------


def add_mileage_to(call: Call, work: ClaimWork) -> str:
    assert work.claim_id is not None
    starts_at = work.requested.starts_at.isoformat(timespec="seconds")
    return call.upstreams.travel_pay_filing.add_mileage(traveler_of(work), work.claim_id, starts_at, call.before_write)


def look_for_mileage(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
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


def look_for_submit(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    assert work.claim_id is not None
    detail = detail_of(call, work, work.claim_id)
    if detail is None or not detail.claim_status:
        return Unclear("the claim cannot be read")
    if detail.claim_status in UNSUBMITTED:
        return Unclear("not submitted after a duplicate answer") if was_refused(earlier) else NotFound()
    return Found(Filed(work.claim_id, "presumed", detail.claim_number, detail.claim_status))
