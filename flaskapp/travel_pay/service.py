"""Asking for a travel pay claim while signed in: find it or make it, owe its first step, and load what a step needs."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.service import Identity, ensure_account, identity_of
from flaskapp.cases.service import note_cases
from flaskapp.crypto import vault
from flaskapp.current import database_now
from flaskapp.db import DbSession
from flaskapp.queues import ACCOUNTS, TRAVEL_PAY
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.states import (
    APPOINTMENT,
    CLAIM,
    EXPENSE,
    FAILED,
    PENDING,
    SUBMIT,
)
from outbox.write import add, write_history

SUBJECT = "travel_pay_claim"
IDENTIFY_JOB = "jobs.travel_pay.identify_traveler"
STEP_JOBS = {
    APPOINTMENT: "jobs.travel_pay.find_appointment",
    CLAIM: "jobs.travel_pay.begin_claim",
    EXPENSE: "jobs.travel_pay.add_mileage",
    SUBMIT: "jobs.travel_pay.submit_claim",
}
DEADLINE_SECONDS = 25 * 3600.0
GIVE_UP_SECONDS = 5 * 24 * 3600.0
# However late a step begins, it is tried for this long at least.
LEAST_SECONDS = 3600.0

UNKNOWN_NUMBER = "unknown"


class SetBack(Exception):
    """The claim stands before the step whose work is owed: something outside us put it there."""


@dataclass(frozen=True)
class RequestedAppointment:
    """What a person's form says of the appointment. `starts_at` is naive: the wall clock at the facility."""

    starts_at: datetime
    station: str
    facility_name: str | None = None
    appointment_type: str | None = None
    appointment_name: str | None = None
    is_complete: bool | None = None

    def kept(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "starts_at"}


@dataclass(frozen=True)
class ClaimWork:
    """What any step needs, copied out of the row."""

    id: uuid.UUID
    account_id: uuid.UUID
    state: str
    step: str
    identity: Identity | None
    requested: RequestedAppointment
    appointment_id: str | None
    claim_id: str | None


@dataclass(frozen=True)
class Filed:
    """What BTSSS holds. `how` we know: answered, found (there before us), presumed (ours, by its time) or late."""

    claim_id: str
    how: str
    claim_number: str | None = None
    claim_status: str | None = None

    @property
    def last_four(self) -> str:
        return self.claim_number[-4:] if self.claim_number else UNKNOWN_NUMBER


def request_claim(session: DbSession, account_id: uuid.UUID, requested: RequestedAppointment) -> TravelPayClaim:
    """Find or create this account's claim for this appointment, with the message of its first step.

    Insert and re-read are statements of their own, so however often and at once it is posted, it is one claim.
    """
    ensure_account(session, account_id)
    key = {
        "account_id": account_id,
        "starts_at": requested.starts_at,
        "station_digest": vault().digest(requested.station),
    }
    statement = (
        insert(TravelPayClaim)
        .values(id=uuid.uuid4(), requested=requested.kept(), state=PENDING, step=APPOINTMENT, **key)
        .on_conflict_do_nothing()
        .returning(TravelPayClaim.id)
    )
    created = session.execute(statement).scalar_one_or_none()
    claim = session.execute(select(TravelPayClaim).filter_by(**key)).scalar_one()
    if created is not None:
        write_history(session, SUBJECT, str(claim.id), "travel_pay.requested", moved_to=PENDING, actor="person")
        enqueue_step(session, claim)
    elif claim.state == FAILED:
        note_asked_again(session, claim)
    return claim


def note_asked_again(session: DbSession, claim: TravelPayClaim) -> None:
    """The person came back after a failure: whoever holds the case should know."""
    claim.asked_again = TravelPayClaim.asked_again + 1
    write_history(session, SUBJECT, str(claim.id), "travel_pay.asked_again", actor="person")
    note_cases(session, SUBJECT, str(claim.id), "the person asked again", "person")


def enqueue_step(session: DbSession, claim: TravelPayClaim) -> None:
    """Enqueue the first step not done; while we don't know who asks, and by which e-mail, owe that question first."""
    identity = identity_of(session, claim.account_id)
    known = identity is not None and identity.email is not None
    queue = TRAVEL_PAY if known else ACCOUNTS
    passed = (database_now(session) - claim.requested_at).total_seconds()
    add(
        session,
        job=STEP_JOBS[claim.step] if known else IDENTIFY_JOB,
        queue=queue.name,
        upstream=queue.upstream,
        subject_type=SUBJECT,
        subject_id=str(claim.id),
        deadline_seconds=max(LEAST_SECONDS, DEADLINE_SECONDS - passed),
        give_up_seconds=max(LEAST_SECONDS, GIVE_UP_SECONDS - passed),
    )


def find_own(session: DbSession, account_id: uuid.UUID, claim_id: uuid.UUID) -> TravelPayClaim | None:
    """A person's own claim by its id; somebody else's claim does not exist for them."""
    return session.execute(select(TravelPayClaim).filter_by(account_id=account_id, id=claim_id)).scalar_one_or_none()


def unfinished(session: DbSession, account_id: uuid.UUID) -> list[TravelPayClaim]:
    """The person's claims that BTSSS does not hold yet, or not whole; oldest first."""
    statement = select(TravelPayClaim).where(
        TravelPayClaim.account_id == account_id, TravelPayClaim.state.in_((PENDING, FAILED))
    )
    return list(session.execute(statement.order_by(TravelPayClaim.requested_at)).scalars())


def last_change(session: DbSession, account_id: uuid.UUID) -> datetime | None:
    """When anything of the person's claims last moved here: what was read from BTSSS before it is out of date."""
    statement = select(func.max(TravelPayClaim.moved_at)).filter_by(account_id=account_id)
    return session.execute(statement).scalar_one()


# -- working ------------------------------------------------------------------


def load_claim(session: DbSession, claim_id: str) -> ClaimWork:
    row = session.get_one(TravelPayClaim, uuid.UUID(claim_id))
    return ClaimWork(
        row.id,
        row.account_id,
        row.state,
        row.step,
        identity_of(session, row.account_id),
        RequestedAppointment(starts_at=row.starts_at, **row.requested),
        row.appointment_id,
        row.claim_id,
    )
