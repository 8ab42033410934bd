"""What a step or the end of a travel pay claim changes in its row, what it owes next, and what the person is told."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

from sqlalchemy import select

from flaskapp.accounts.service import Identity, icn_of, remember_person
from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.current import database_now
from flaskapp.db import DbSession
from flaskapp.notifications.service import enqueue_notification, supersede_notifications
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.service import SUBJECT, UNKNOWN_NUMBER, Filed, enqueue_step
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
)
from outbox.write import write_history

# Under whose name VANotify's templates for these claims are configured.
SENDER = "travel_pay"


def lock(session: DbSession, claim_id: str) -> TravelPayClaim:
    found = select(TravelPayClaim).where(TravelPayClaim.id == uuid.UUID(claim_id)).with_for_update()
    return session.execute(found.execution_options(populate_existing=True)).scalar_one()


def lock_at(session: DbSession, claim_id: str, step: str) -> TravelPayClaim | None:
    """The claim, locked; None when this step is done already, or nothing is left to do.

    Where something outside us set it back before this step, what is done cannot be recorded: a human is told.
    """
    row = lock(session, claim_id)
    if row.state == PENDING and STEPS.index(row.step) < STEPS.index(step):
        open_case(session, "contradiction", SUBJECT, claim_id, {"rule": "step_and_work_differ", "done": step})
    return row if row.state == PENDING and row.step == step else None


def record_identified(session: DbSession, claim_id: str, identity: Identity) -> None:
    row = lock_at(session, claim_id, APPOINTMENT)
    if row is not None:
        remember_person(session, row.account_id, identity)
        enqueue_step(session, row)


def advance(session: DbSession, row: TravelPayClaim, step: str) -> None:
    """A step is done: say so in the history and owe the next."""
    row.step, row.moved_at = step, database_now(session)
    write_history(session, SUBJECT, str(row.id), "travel_pay.advanced", actor="worker", detail={"next": step})
    enqueue_step(session, row)


def record_appointment(session: DbSession, claim_id: str, appointment_id: str, already: Filed | None) -> None:
    """The appointment is found. A claim that is there before we began one is somebody else's doing."""
    row = lock_at(session, claim_id, APPOINTMENT)
    if row is None:
        return
    row.appointment_id = appointment_id
    if already is not None:
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
    """BTSSS holds it whole: ours, or one from before. Any open case is answered by it."""
    row.filed, row.unconfirmed = asdict(filed), False
    finish(session, row, target, target, how=filed.how)
    close_ended(session, SUBJECT, str(row.id), f"filed after all ({target})")


def record_failed(session: DbSession, claim_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up, or were refused: the state, the case and the honest notice, together.

    What BTSSS holds half made has a case of its own kind: somebody has to finish it or take it back.
    """
    row = lock(session, claim_id)
    if row.state != PENDING:
        return
    row.unconfirmed = kind == "may_exist_upstream"
    begun = row.step in BEGUN
    notification = "unconfirmed" if row.unconfirmed else "unfinished" if begun else FAILED
    finish(session, row, FAILED, notification, case=kind, step=row.step)
    held_as = "half_filed" if begun and not row.unconfirmed else kind
    open_case(session, held_as, SUBJECT, claim_id, {**details, "step": row.step, "ended": kind})


def finish(session: DbSession, row: TravelPayClaim, target: str, notification: str, **detail: Any) -> None:
    """Move a claim to a final state and owe the person the e-mail that says so, in the caller's transaction."""
    TRAVEL_PAY_CLAIM.check(row.state, target)
    now = database_now(session)
    moved_from, row.state, row.finished_at, row.moved_at, row.notification = row.state, target, now, now, notification
    write_history(
        session,
        SUBJECT,
        str(row.id),
        "travel_pay.moved",
        moved_from=moved_from,
        moved_to=target,
        actor="worker",
        detail={**detail, "notification": notification},
    )
    enqueue_claim_notification(session, row)


def enqueue_claim_notification(
    session: DbSession, row: TravelPayClaim, notification_id: uuid.UUID | None = None
) -> None:
    """Enqueue the e-mail that says what became of the claim; `notice` names it."""
    assert row.notification is not None
    filed = Filed(**row.filed) if row.filed else None
    enqueue_notification(
        session,
        SUBJECT,
        str(row.id),
        row.notification,
        notification_id=notification_id,
        cycle=row.cycle,
        sender=SENDER,
        recipient={"icn": icn_of(session, row.account_id) or "", "phone": ""},
        personalisation={
            "appt_date": f"{row.starts_at:%b %-d, %Y}",
            "claim_number": filed.last_four if filed else UNKNOWN_NUMBER,
        },
        channel="email",
    )


def reopen_claim(session: DbSession, claim_id: str, actor: str) -> None:
    """An operator's move: failed → pending at the step it stood at, a new cycle of notices, the case still open."""
    row = lock(session, claim_id)
    if row.state != FAILED:
        return
    TRAVEL_PAY_CLAIM.check(row.state, PENDING)
    row.state, row.finished_at, row.notification, row.moved_at = PENDING, None, None, database_now(session)
    row.cycle += 1
    write_history(session, SUBJECT, claim_id, "travel_pay.moved", moved_from=FAILED, moved_to=PENDING, actor=actor)
    note_cases(session, SUBJECT, claim_id, "requeued", actor)
    supersede_notifications(session, SUBJECT, claim_id, "it is taken up again", actor)
