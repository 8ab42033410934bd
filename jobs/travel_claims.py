"""Job that files a travel claim with BTSSS: submit it, or look up what became of an earlier submit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial

from flaskapp.config import Config
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.travel_claims import service
from flaskapp.travel_claims.service import ClaimWork, Filed, Filing
from flaskapp.travel_claims.states import DUPLICATE, PENDING, SUBMITTED
from flaskapp.travel_pay.places import zone_of
from flaskapp.upstreams.btsss import CLAIM_APPROVED, CLAIM_NOT_APPROVED, FiledClaim
from flaskapp.upstreams.transport.ids import same_facility, station_of
from jobs.engine.retry import TRAVEL_CLAIM
from jobs.engine.runner import Job
from jobs.engine.spec import (
    LEASE_MARGIN_SECONDS,
    Call,
    EarlierWrites,
    Finding,
    Found,
    JobSpec,
    Loaded,
    NotFound,
    Unclear,
)


def load(session: DbSession, claim_id: str) -> ClaimWork | None:
    return still_pending(service.load_claim(session, claim_id))


def load_all(session: DbSession, claim_ids: Sequence[str]) -> dict[str, Loaded]:
    found = service.load_claims(session, claim_ids)
    return {claim_id: partial(open_pending, opens) for claim_id, opens in found.items()}


def open_pending(opens: Callable[[], ClaimWork | None]) -> ClaimWork | None:
    return still_pending(opens())


def still_pending(work: ClaimWork | None) -> ClaimWork | None:
    return work if work is not None and work.state == PENDING else None


def act(call: Call, work: ClaimWork) -> Filing:
    """Submit the claim (contract: travel 4.1); its number may stay unknown. Raises the six upstream errors."""
    submitted = call.upstreams.btsss.submit_claim(
        work.identity.icn, work.starts_at or work.appointment_date, work.identity.facility_type, call.before_write
    )
    return Filing(SUBMITTED, "created", Filed(submitted.claim_number, "answered"))


def look_up_claim(call: Call, work: ClaimWork, earlier: EarlierWrites) -> Finding:
    """Look up whose claim it is that BTSSS holds for this person, date and station (contract: travel 4.2).

    One modified before our first try was there already, and so was any if each of our tries was refused. A later one is
    presumed to be ours, and recorded as such. If no reply to us was ever lost, and no other claim of that day can be on
    file by us, a *duplicate* is the answer, whatever the list shows or hides.
    """
    found = call.upstreams.btsss.claims_on(work.identity.icn, work.appointment_date, work.identity.facility_type)
    on_date = [claim for claim in found if is_of_day(claim, work.appointment_date) is not False]
    here = at_station(on_date, work.identity.station)
    is_answered = earlier.why == "duplicate" and not earlier.ever_unknown and work.none_filed
    if len(here) != 1 and is_answered:
        return Found(Filing(DUPLICATE, "duplicate", Filed(None, "answered")))
    if not on_date:
        return Unclear("none on file after a duplicate answer") if earlier.why == "duplicate" else NotFound()
    if len(here) != 1:
        return Unclear("several on file here" if here else "on file for another station")
    if not is_of_day(here[0], work.appointment_date):
        return Unclear("perhaps for another day")
    skew = timedelta(seconds=call.config.btsss_clock_skew_seconds)
    first = earlier.first_write_at
    if first is None or not earlier.ever_unknown or here[0].last_modified_at < first - skew:
        return Found(Filing(DUPLICATE, "duplicate", Filed(here[0].claim_number, "found", here[0].claim_status)))
    return presumed_ours(here[0])


def at_station(claims: list[FiledClaim], station: str) -> list[FiledClaim]:
    """Those at the station; where there is none, those of the same facility, of which check-in names the main number
    (500) where BTSSS names the place (500GC)."""
    exactly = [claim for claim in claims if claim.station == station]
    return exactly or [claim for claim in claims if same_facility(claim.station, station)]


def is_of_day(claim: FiledClaim, day: date) -> bool | None:
    """Whether it is for an appointment of that day; None where nobody knows the station's zone.

    BTSSS's `Z` may mean UTC or nothing (contract: travel 4.2), so that day counts in either reading.
    """
    at = claim.appointment_at
    if at is None or at.date() == day:
        return True
    zone = zone_of(station_of(claim.station))
    return at.astimezone(zone).date() == day if zone is not None else None


def presumed_ours(claim: FiledClaim) -> Finding:
    """How a claim that is presumed ours ended, by its status (contract: travel 2.3). An unknown status word leaves the
    question open."""
    filed = Filed(claim.claim_number, "presumed", claim.claim_status)
    if claim.claim_status in CLAIM_APPROVED:
        return Found(Filing(SUBMITTED, "created", filed))
    if claim.claim_status in CLAIM_NOT_APPROVED:
        return Found(Filing(SUBMITTED, "denied", filed))
    return Unclear("unknown claim status")


def already_there(work: ClaimWork) -> Filing | None:
    """BTSSS's word is enough, whatever its list shows or hides; it does not say the number (contract: travel 4.1).

    But of two claims for one day, at two stations, the one that is there may be the other.
    """
    return Filing(DUPLICATE, "duplicate", Filed(None, "answered")) if work.only_one else None


def reconsider(session: DbSession, claim_id: str, accepted: Filing | None) -> None:
    service.reconsider(session, claim_id, accepted.filed if accepted is not None else None)


def ids(filing: Filing) -> dict[str, str]:
    """What the attempt keeps of an answer: encrypted, so that a late one can still be recorded, and a digest to
    compare. An unknown number contradicts no other, so it has no digest."""
    kept = {"answer": vault().encrypt(json.dumps(asdict(filing))).decode()}
    number = filing.filed.claim_number
    return kept if number is None else {**kept, "digest": vault().digest("claim", number)}


def from_ids(kept: dict[str, str]) -> Filing:
    values = json.loads(vault().decrypt(kept["answer"].encode()))
    return Filing(values["target"], values["notification"], Filed(**{**values["filed"], "how": "late"}))


def lease_seconds(config: Config) -> float:
    """Time for a token and a submit, and for both once more after a refused token."""
    return 2 * (config.veis_total_seconds + config.btsss_total_seconds) + LEASE_MARGIN_SECONDS


SUBMIT = JobSpec(
    work=service.SUBMIT,
    writes=True,
    schedule=TRAVEL_CLAIM,
    lease_seconds=lease_seconds,
    call_seconds=lambda config: config.btsss_total_seconds,
    load=load,
    load_all=load_all,
    act=act,
    look_up=look_up_claim,
    already_there=already_there,
    confirm_after_seconds=lambda config: config.btsss_confirm_seconds,
    record=service.record_filed,
    record_all=service.record_all_filed,
    reconsider=reconsider,
    give_up=service.record_claim_failed,
    ids=ids,
    from_ids=from_ids,
)


file_check_in_claim = Job(SUBMIT)
