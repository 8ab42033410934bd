"""Travel pay claims of signed-in people: finds or creates one, loads what a step needs, and records what it did."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from flask import url_for
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from flaskapp import subjects
from flaskapp.accounts.models import Account
from flaskapp.accounts.service import (
    ACCOUNTS,
    Identity,
    ensure_account,
    icn_of,
    identity_of,
    remember_person,
)
from flaskapp.cases.service import close_ended, open_case
from flaskapp.clock import DAY_SECONDS, HOUR_SECONDS
from flaskapp.crypto import id_from, vault
from flaskapp.current import database_now
from flaskapp.db import DbSession
from flaskapp.flows import Content, Repair, Rule, States, Subject, Work
from flaskapp.keys.digests import stored_digests
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.states import (
    APPOINTMENT,
    BEGUN,
    CLAIM,
    DUPLICATE,
    EXPENSE,
    FAILED,
    PENDING,
    STEPS,
    SUBMIT,
    SUBMITTED,
    TRAVEL_PAY_CLAIM,
    words_of,
)
from outbox import NOW, QueueSpec, attempts, restores, sql

# Short calls, four to a claim; people read from the same upstream.
TRAVEL_PAY = QueueSpec("travel_pay", upstream="travel_pay", threads=64, depth=200, concurrency=100)
SUBJECT = "travel_pay_claim"
DEADLINE_SECONDS, GIVE_UP_SECONDS = 25 * HOUR_SECONDS, 5 * DAY_SECONDS
IDENTIFY = Work("jobs.travel_pay.identify_traveler", ACCOUNTS, SUBJECT, DEADLINE_SECONDS, GIVE_UP_SECONDS)
STEP_JOBS = {
    APPOINTMENT: "jobs.travel_pay.find_appointment",
    CLAIM: "jobs.travel_pay.begin_claim",
    EXPENSE: "jobs.travel_pay.add_mileage",
    SUBMIT: "jobs.travel_pay.submit_travel_pay_claim",
}
STEP_WORKS = {
    step: Work(path, TRAVEL_PAY, SUBJECT, DEADLINE_SECONDS, GIVE_UP_SECONDS, look_first=True)
    for step, path in STEP_JOBS.items()
}
# However late a step begins, it is tried for this long at least.
LEAST_SECONDS = HOUR_SECONDS

UNKNOWN_NUMBER = "unknown"
# The sender under which VANotify's templates for these claims are configured.
SENDER = "travel_pay"


class SetBack(Exception):
    """The claim stands before the step whose work is outstanding: something outside Surefile put it there."""


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
    """What BTSSS holds; a `claim_id` of None is of a claim that it has and did not name. `how` we know: answered, found
    (there before us), continued (somebody else goes on with it), presumed (ours, by its time) or late."""

    claim_id: str | None
    how: str
    claim_number: str | None = None
    claim_status: str | None = None

    @property
    def last_four(self) -> str:
        return self.claim_number[-4:] if self.claim_number else UNKNOWN_NUMBER


def request_travel_pay_claim(
    session: DbSession, account_id: uuid.UUID, requested: RequestedAppointment
) -> TravelPayClaim | None:
    """Find or create this account's claim for this appointment, with the message of its first step. None instead of a
    new one for somebody who is nobody in VA's records.

    Insert and re-read are statements of their own, so however often and at once it is posted, it is one claim.
    Raises TooManyOpen for a new claim of an account of which too many are being filed.
    """
    ensure_account(session, account_id)
    digests = stored_digests(session)
    nobody = subjects.is_promised_in_vain(session, TRAVEL_PAY_SUBJECT, account_id)
    claim = find_for(session, account_id, requested) if nobody or digests.look_first else None
    if claim is None and nobody:
        return None
    created = None
    if claim is None:
        station = digests.of(requested.station)
        statement = (
            insert(TravelPayClaim)
            .values(
                id=id_from(SUBJECT, account_id, requested.starts_at, station),
                account_id=account_id,
                starts_at=requested.starts_at,
                station_digest=station,
                requested=requested.kept(),
                state=PENDING,
                step=APPOINTMENT,
            )
            .on_conflict_do_nothing()
            .returning(TravelPayClaim.id)
        )
        created = session.execute(statement).scalar_one_or_none()
        claim = find_for(session, account_id, requested)
        assert claim is not None
    if created is not None:
        if not subjects.is_within_limit(session, TRAVEL_PAY_SUBJECT, claim):
            raise subjects.TooManyOpen
        subjects.begin(session, TRAVEL_PAY_SUBJECT, claim)
        enqueue_step(session, claim)
    elif claim.state == FAILED:
        subjects.note_requested_again(session, TRAVEL_PAY_SUBJECT, claim)
    return claim


def find_for(session: DbSession, account_id: uuid.UUID, requested: RequestedAppointment) -> TravelPayClaim | None:
    """This account's claim for this appointment."""
    statement = select(TravelPayClaim).where(
        TravelPayClaim.account_id == account_id,
        TravelPayClaim.starts_at == requested.starts_at,
        TravelPayClaim.station_digest.in_(vault().digests(requested.station)),
    )
    return session.execute(statement.order_by(TravelPayClaim.requested_at).limit(1)).scalar_one_or_none()


def enqueue_step(session: DbSession, claim: TravelPayClaim) -> None:
    """Enqueue the first step not done or, while we do not know the person and their e-mail, that look-up first."""
    identity = identity_of(session, claim.account_id)
    known = identity is not None and identity.email is not None
    work = STEP_WORKS[claim.step] if known else IDENTIFY
    passed = (database_now(session) - claim.requested_at).total_seconds()
    work.enqueue(
        session,
        str(claim.id),
        deadline_seconds=max(LEAST_SECONDS, DEADLINE_SECONDS - passed),
        give_up_seconds=max(LEAST_SECONDS, GIVE_UP_SECONDS - passed),
    )


def find_own(session: DbSession, account_id: uuid.UUID, claim_id: uuid.UUID) -> TravelPayClaim | None:
    """A person's own claim by its id; somebody else's claim does not exist for them."""
    return session.execute(select(TravelPayClaim).filter_by(account_id=account_id, id=claim_id)).scalar_one_or_none()


def unfinished(session: DbSession, account_id: uuid.UUID) -> list[TravelPayClaim]:
    """The person's claims that BTSSS does not have yet, or not completely; oldest first."""
    statement = select(TravelPayClaim).where(
        TravelPayClaim.account_id == account_id, TravelPayClaim.state.in_((PENDING, FAILED))
    )
    return list(session.execute(statement.order_by(TravelPayClaim.requested_at)).scalars())


def last_change(session: DbSession, account_id: uuid.UUID) -> datetime | None:
    """When any of the person's claims last moved here, or whom we took them for turned out to be wrong: what was read
    from BTSSS before that is out of date, or somebody else's."""
    moved = select(func.max(TravelPayClaim.moved_at)).filter_by(account_id=account_id).scalar_subquery()
    corrected = select(Account.nobody_at).filter_by(id=account_id).scalar_subquery()
    return session.execute(select(func.greatest(moved, corrected))).scalar_one()


# -- working ------------------------------------------------------------------


def requested_of(row: TravelPayClaim) -> RequestedAppointment:
    """What the person's form said; of a claim that ended long ago only the time is left."""
    return RequestedAppointment(starts_at=row.starts_at, **(row.requested or {"station": ""}))


def load_claim(session: DbSession, claim_id: str) -> ClaimWork:
    row = session.get_one(TravelPayClaim, uuid.UUID(claim_id))
    return ClaimWork(
        row.id,
        row.account_id,
        row.state,
        row.step,
        identity_of(session, row.account_id),
        requested_of(row),
        row.appointment_id,
        row.claim_id,
    )


def lock_at(session: DbSession, claim_id: str, step: str) -> TravelPayClaim | None:
    """The claim, locked; None when this step is done already, or nothing is left to do.

    If something outside Surefile set it back before this step, what was done cannot be recorded: a case is opened.
    """
    row = subjects.lock(session, TRAVEL_PAY_SUBJECT, claim_id)
    if row.state == PENDING and STEPS.index(row.step) < STEPS.index(step):
        open_case(session, "contradiction", SUBJECT, claim_id, {"rule": "step_and_work_differ", "done": step})
    return row if row.state == PENDING and row.step == step else None


def record_identified(session: DbSession, claim_id: str, identity: Identity) -> None:
    row = lock_at(session, claim_id, APPOINTMENT)
    if row is not None:
        remember_person(session, row.account_id, identity)
        enqueue_step(session, row)


def advance(session: DbSession, row: TravelPayClaim, step: str) -> None:
    """A step is done: note it in the history and enqueue the next."""
    row.step, row.moved_at = step, database_now(session)
    subjects.note(session, TRAVEL_PAY_SUBJECT, row.id, "advanced", "worker", next=step)
    enqueue_step(session, row)


def record_appointment(session: DbSession, claim_id: str, appointment_id: str, already: Filed | None) -> None:
    """The appointment is found. A claim that is there before we began one is somebody else's; after a restore from a
    backup the next step finds out whose."""
    row = lock_at(session, claim_id, APPOINTMENT)
    if row is None:
        return
    row.appointment_id = appointment_id
    if already is not None and not restores.is_passed_on(session):
        record_filed(session, row, DUPLICATE, already)
    else:
        advance(session, row, CLAIM)


def record_begun(session: DbSession, claim_id: str, filed: Filed, ours: bool) -> None:
    row = lock_at(session, claim_id, CLAIM)
    if row is None:
        return
    if not ours:
        record_filed(session, row, DUPLICATE, filed)
        return
    row.claim_id = filed.claim_id
    advance(session, row, EXPENSE)


def reconsider_begun(session: DbSession, claim_id: str, accepted: Filed | None) -> None:
    """Beginning a claim was answered late. If the claim that we took for somebody else's is ours, and nobody went on
    with it, we do; if each try was refused, we went on with somebody else's, and a human has to know."""
    row = subjects.lock(session, TRAVEL_PAY_SUBJECT, claim_id)
    if accepted is None:
        begins = attempts.count_writes(session, SUBJECT, claim_id, STEP_WORKS[CLAIM].path)
        if row.claim_id is not None and begins.all_refused:
            details = {"begun": "refused", "went_on_with": row.claim_id}
            open_case(session, "conflicting_answers", SUBJECT, claim_id, details)
    elif row.state == DUPLICATE:
        known = Filed(**row.filed)
        if (known.claim_id, known.how) == (accepted.claim_id, "found"):
            why = "the claim that was there is ours"
            subjects.resume(session, TRAVEL_PAY_SUBJECT, row, "worker", why)
            row.claim_id, row.filed, row.step, row.moved_at = accepted.claim_id, None, EXPENSE, NOW
            enqueue_step(session, row)


def record_mileage(session: DbSession, claim_id: str, expense_id: str) -> None:
    row = lock_at(session, claim_id, EXPENSE)
    if row is not None:
        row.expense_id = expense_id
        advance(session, row, SUBMIT)


def record_submitted(session: DbSession, claim_id: str, filed: Filed) -> None:
    row = lock_at(session, claim_id, SUBMIT)
    if row is not None:
        record_filed(session, row, SUBMITTED, filed)


def record_filed(session: DbSession, row: TravelPayClaim, target: str, filed: Filed) -> None:
    """BTSSS has it completely: ours, or one from before. That closes its open cases."""
    row.filed, row.unconfirmed = asdict(filed), False
    row.moved_at = NOW
    subjects.end(session, TRAVEL_PAY_SUBJECT, row, target, target, how=filed.how)
    close_ended(session, SUBJECT, str(row.id), f"filed after all ({target})")


def record_travel_pay_failed(session: DbSession, claim_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up, or were refused: the state, the case and the notification, together.

    A claim that is begun in BTSSS has a case of its own kind: somebody has to finish it or have it withdrawn.
    """
    row = subjects.lock(session, TRAVEL_PAY_SUBJECT, claim_id)
    if row.state != PENDING:
        return
    row.unconfirmed = kind == "may_exist_upstream"
    begun = row.step in BEGUN
    notification = "unconfirmed" if row.unconfirmed else "unfinished" if begun else FAILED
    row.moved_at = NOW
    subjects.end(session, TRAVEL_PAY_SUBJECT, row, FAILED, notification, case=kind, step=row.step)
    held_as = "half_filed" if begun and not row.unconfirmed else kind
    open_case(
        session, held_as, SUBJECT, claim_id, {**details, "step": row.step, "ended": kind, **subjects.not_informed(row)}
    )


def compose_about_claim(session: DbSession, row: TravelPayClaim) -> Content:
    """The e-mail that says what became of the claim."""
    filed = Filed(**row.filed) if row.filed else None
    return Content(
        SENDER,
        {"icn": icn_of(session, row.account_id) or "", "phone": ""},
        {
            "appt_date": f"{row.starts_at:%b %-d, %Y}",
            "claim_number": filed.last_four if filed else UNKNOWN_NUMBER,
        },
    )


STEP_JOB = " ".join(f"WHEN '{step}' THEN '{work.path}'" for step, work in STEP_WORKS.items())
STEP_RULE = Rule(
    "step_and_work_differ",
    "its step is not the one whose work is outstanding",
    f"""s.state = 'pending' AND EXISTS (
                SELECT 1 FROM travel_pay_claims p
                  JOIN (SELECT m.job {sql.messages(subject_type=":subject", subject_id="s.id")}) m ON true
                 WHERE p.id = CAST(s.id AS uuid) AND m.job <> CASE p.step {STEP_JOB} END
                   AND (m.job, p.step) <> ('{IDENTIFY.path}', '{APPOINTMENT}'))""",
    Repair.STOP_WORK,
)


def note_move(session: DbSession, row: TravelPayClaim) -> None:
    """Reopened: what was read from BTSSS before is out of date."""
    row.moved_at = NOW


TRAVEL_PAY_SUBJECT = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_travel_pay,
    states=States(TRAVEL_PAY_CLAIM, TravelPayClaim, account="account_id"),
    event="travel_pay",
    enqueue=enqueue_step,
    compose=compose_about_claim,
    sentence=lambda session, row: words_of(row.state, row.step, row.unconfirmed),
    status_url=lambda row: url_for("travel_pay.show_claim", claim_id=row.id),
    reset=note_move,
    known_as=("claim_id",),
    content=("requested",),
    rules=(STEP_RULE,),
)
