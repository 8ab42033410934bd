"""The only writer of travel pay claims made while signed in: find or create, and record each step as it is done."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.service import Identity, ensure_account, icn_of, identity_of, remember_person
from flaskapp.cases.service import close_cases, note_cases, open_case
from flaskapp.crypto import vault
from flaskapp.current import moment_now
from flaskapp.db import DbSession
from flaskapp.notifications.service import owe_notice
from flaskapp.queues import ACCOUNTS, TRAVEL_PAY
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.states import (
    APPOINTMENT,
    BEGUN,
    CLAIM,
    DUPLICATE,
    EXPENSE,
    FAILED,
    PENDING,
    SUBMIT,
    SUBMITTED,
    TRAVEL_PAY_CLAIM,
)
from outbox.write import add, write_history

SUBJECT = "travel_pay_claim"
# Under whose name VANotify's templates for these claims are configured.
SENDER = "travel_pay"
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
ENDED_BY_FILING = [
    "refused",
    "exhausted",
    "half_filed",
    "may_exist_upstream",
    "answered_late",
    "overdue",
    "parked_by_hand",
    "unaccounted",
]


@dataclass(frozen=True)
class Asked:
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
    asked: Asked
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


def request_claim(session: DbSession, account_id: uuid.UUID, asked: Asked) -> TravelPayClaim:
    """Find or create this account's claim for this appointment, with the message of its first step.

    Insert and re-read are statements of their own, so however often and at once it is posted, it is one claim.
    """
    ensure_account(session, account_id)
    key = {"account_id": account_id, "starts_at": asked.starts_at, "station_digest": vault().digest(asked.station)}
    statement = (
        insert(TravelPayClaim)
        .values(id=uuid.uuid4(), asked=asked.kept(), state=PENDING, step=APPOINTMENT, **key)
        .on_conflict_do_nothing()
        .returning(TravelPayClaim.id)
    )
    created = session.execute(statement).scalar_one_or_none()
    claim = session.execute(select(TravelPayClaim).filter_by(**key)).scalar_one()
    if created is not None:
        write_history(session, SUBJECT, str(claim.id), "travel_pay.requested", moved_to=PENDING, actor="person")
        owe_step(session, claim)
    elif claim.state == FAILED:
        note_asked_again(session, claim)
    return claim


def note_asked_again(session: DbSession, claim: TravelPayClaim) -> None:
    """The person came back after a failure: whoever holds the case should know."""
    claim.asked_again = TravelPayClaim.asked_again + 1
    write_history(session, SUBJECT, str(claim.id), "travel_pay.asked_again", actor="person")
    note_cases(session, SUBJECT, str(claim.id), "the person asked again", "person")


def owe_step(session: DbSession, claim: TravelPayClaim) -> None:
    """Owe the first step not done; while we don't know who asks, and by which e-mail, owe that question first."""
    identity = identity_of(session, claim.account_id)
    known = identity is not None and identity.email is not None
    queue = TRAVEL_PAY if known else ACCOUNTS
    passed = (moment_now(session) - claim.requested_at).total_seconds()
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
        Asked(starts_at=row.starts_at, **row.asked),
        row.appointment_id,
        row.claim_id,
    )


def lock(session: DbSession, claim_id: str, step: str) -> TravelPayClaim | None:
    """The claim, locked; None when this step is done already, or nothing is left to do."""
    statement = select(TravelPayClaim).where(TravelPayClaim.id == uuid.UUID(claim_id)).with_for_update()
    row = session.execute(statement.execution_options(populate_existing=True)).scalar_one()
    return row if row.state == PENDING and row.step == step else None


def record_identified(session: DbSession, claim_id: str, identity: Identity) -> None:
    row = lock(session, claim_id, APPOINTMENT)
    if row is not None:
        remember_person(session, row.account_id, identity)
        owe_step(session, row)


def advance(session: DbSession, row: TravelPayClaim, step: str) -> None:
    """A step is done: say so in the history and owe the next."""
    row.step, row.moved_at = step, moment_now(session)
    write_history(session, SUBJECT, str(row.id), "travel_pay.advanced", actor="worker", detail={"next": step})
    owe_step(session, row)


def record_appointment(session: DbSession, claim_id: str, appointment_id: str, already: Filed | None) -> None:
    """The appointment is found. A claim that is there before we began one is somebody else's doing."""
    row = lock(session, claim_id, APPOINTMENT)
    if row is None:
        return
    row.appointment_id = appointment_id
    if already is not None:
        record_filed(session, row, DUPLICATE, already)
    else:
        advance(session, row, CLAIM)


def record_begun(session: DbSession, claim_id: str, filed: Filed, ours: bool) -> None:
    row = lock(session, claim_id, CLAIM)
    if row is None:
        return
    if not ours:
        record_filed(session, row, DUPLICATE, filed)
        return
    row.claim_id = filed.claim_id
    advance(session, row, EXPENSE)


def record_mileage(session: DbSession, claim_id: str, expense_id: str) -> None:
    row = lock(session, claim_id, EXPENSE)
    if row is not None:
        row.expense_id = expense_id
        advance(session, row, SUBMIT)


def record_submitted(session: DbSession, claim_id: str, filed: Filed) -> None:
    row = lock(session, claim_id, SUBMIT)
    if row is not None:
        record_filed(session, row, SUBMITTED, filed)


def record_filed(session: DbSession, row: TravelPayClaim, target: str, filed: Filed) -> None:
    """BTSSS holds it whole: ours, or one from before. Any open case is answered by it."""
    row.filed, row.unconfirmed = asdict(filed), False
    finish(session, row, target, target, how=filed.how)
    close_cases(session, SUBJECT, str(row.id), f"filed after all ({target})", kinds=ENDED_BY_FILING)


def record_failed(session: DbSession, claim_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up, or were refused: the state, the case and the honest notice, together.

    What BTSSS holds half made has a case of its own kind: somebody has to finish it or take it back.
    """
    statement = select(TravelPayClaim).where(TravelPayClaim.id == uuid.UUID(claim_id)).with_for_update()
    row = session.execute(statement.execution_options(populate_existing=True)).scalar_one()
    if row.state != PENDING:
        return
    row.unconfirmed = kind == "may_exist_upstream"
    begun = row.step in BEGUN
    notice = "unconfirmed" if row.unconfirmed else "unfinished" if begun else FAILED
    finish(session, row, FAILED, notice, case=kind, step=row.step)
    held_as = "half_filed" if begun and not row.unconfirmed else kind
    open_case(session, held_as, SUBJECT, claim_id, {**details, "step": row.step, "ended": kind})


def finish(session: DbSession, row: TravelPayClaim, target: str, notice: str, **detail: Any) -> None:
    """Move a claim to a final state and owe the person the e-mail that says so, in the caller's transaction."""
    TRAVEL_PAY_CLAIM.check(row.state, target)
    now = moment_now(session)
    moved_from, row.state, row.finished_at, row.moved_at, row.notice = row.state, target, now, now, notice
    write_history(
        session,
        SUBJECT,
        str(row.id),
        "travel_pay.moved",
        moved_from=moved_from,
        moved_to=target,
        actor="worker",
        detail={**detail, "notice": notice},
    )
    filed = Filed(**row.filed) if row.filed else None
    owe_notice(
        session,
        SUBJECT,
        str(row.id),
        notice,
        cycle=row.cycle,
        facility=SENDER,
        recipient={"icn": icn_of(session, row.account_id) or "", "phone": ""},
        personalisation={
            "appt_date": f"{row.starts_at:%b %-d, %Y}",
            "claim_number": filed.last_four if filed else UNKNOWN_NUMBER,
        },
        channel="email",
    )


def reopen_claim(session: DbSession, claim_id: str, actor: str) -> None:
    """An operator's move: failed → pending at the step it stood at, a new cycle of notices, the case still open."""
    statement = select(TravelPayClaim).where(TravelPayClaim.id == uuid.UUID(claim_id)).with_for_update()
    row = session.execute(statement.execution_options(populate_existing=True)).scalar_one()
    if row.state != FAILED:
        return
    TRAVEL_PAY_CLAIM.check(row.state, PENDING)
    row.state, row.finished_at, row.notice, row.moved_at = PENDING, None, None, moment_now(session)
    row.cycle += 1
    write_history(session, SUBJECT, claim_id, "travel_pay.moved", moved_from=FAILED, moved_to=PENDING, actor=actor)
    note_cases(session, SUBJECT, claim_id, "requeued", actor)
