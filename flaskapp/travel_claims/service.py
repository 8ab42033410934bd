"""The only writer of travel claims, for requests and jobs alike: find or create, load, record."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.check_in.service import Identity
from flaskapp.crypto import vault
from flaskapp.db import DbSession
from flaskapp.notifications.service import enqueue_notification, supersede_notifications
from flaskapp.queues import TRAVEL_CLAIMS
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.states import FAILED, PENDING, TRAVEL_CLAIM
from outbox.tables import NOW
from outbox.write import add, write_history

SUBJECT = "travel_claim"
SUBMIT_JOB = "jobs.travel_claims.submit_claim"
DEADLINE_SECONDS = 25 * 3600.0
GIVE_UP_SECONDS = 5 * 24 * 3600.0

UNKNOWN_NUMBER = "unknown"


@dataclass(frozen=True)
class ClaimWork:
    """What filing a claim needs, copied out of its row."""

    id: uuid.UUID
    state: str
    identity: Identity
    appointment_date: date


@dataclass(frozen=True)
class Filed:
    """What BTSSS holds for a claim. `how` we know: answered, found, presumed (ours, by its time) or late."""

    claim_number: str | None
    how: str
    claim_status: str | None = None

    @property
    def last_four(self) -> str:
        return self.claim_number[-4:] if self.claim_number else UNKNOWN_NUMBER


def request_claim(session: DbSession, identity: Identity, appointment_date: date) -> TravelClaim:
    """Find or create the claim of this person, date and station, with the message that files it.

    The insert comes first and, where nothing was inserted, the re-read second, each its own statement: under any
    number of simultaneous requests one of them inserts and all of them answer with the same claim.
    """
    person, station = vault().digest(identity.icn), vault().digest(identity.station)
    statement = (
        insert(TravelClaim)
        .values(
            id=uuid.uuid4(),
            person_digest=person,
            station_digest=station,
            appointment_date=appointment_date,
            identity=vars(identity),
            state=PENDING,
        )
        .on_conflict_do_nothing()
        .returning(TravelClaim)
    )
    created: TravelClaim | None = session.execute(statement).scalar_one_or_none()
    if created is not None:
        write_history(session, SUBJECT, str(created.id), "travel_claim.requested", moved_to=PENDING, actor="person")
        enqueue_filing(session, created)
        return created
    found = select(TravelClaim).filter_by(
        person_digest=person, station_digest=station, appointment_date=appointment_date
    )
    claim = session.execute(found).scalar_one()
    if claim.state == FAILED:
        note_asked_again(session, claim)
    return claim


def enqueue_filing(session: DbSession, claim: TravelClaim) -> None:
    add(
        session,
        job=SUBMIT_JOB,
        queue=TRAVEL_CLAIMS.name,
        upstream=TRAVEL_CLAIMS.upstream,
        subject_type=SUBJECT,
        subject_id=str(claim.id),
        deadline_seconds=DEADLINE_SECONDS,
        give_up_seconds=GIVE_UP_SECONDS,
    )


def note_asked_again(session: DbSession, claim: TravelClaim) -> None:
    """The person came back after a failure: whoever holds the case should know."""
    claim.asked_again = TravelClaim.asked_again + 1
    write_history(session, SUBJECT, str(claim.id), "travel_claim.asked_again", actor="person")
    note_cases(session, SUBJECT, str(claim.id), "the person asked again", "person")


def find_claim(session: DbSession, claim_id: str, icn: str) -> TravelClaim | None:
    """A person's own claim by its id; somebody else's claim does not exist for them."""
    statement = select(TravelClaim).filter_by(id=uuid.UUID(claim_id), person_digest=vault().digest(icn))
    return session.execute(statement).scalar_one_or_none()


def load_claim(session: DbSession, claim_id: str) -> ClaimWork:
    row = session.get_one(TravelClaim, uuid.UUID(claim_id))
    return ClaimWork(row.id, row.state, Identity(**row.identity), row.appointment_date)


def lock(session: DbSession, claim_id: str) -> TravelClaim:
    statement = select(TravelClaim).where(TravelClaim.id == uuid.UUID(claim_id)).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one()


def finish(session: DbSession, claim: TravelClaim, target: str, notification: str, actor: str, **detail: Any) -> None:
    """Move a claim to a final state and owe the person the notice that says so, in the caller's transaction."""
    TRAVEL_CLAIM.check(claim.state, target)
    moved_from, claim.state, claim.finished_at, claim.notification = claim.state, target, NOW, notification
    write_history(
        session,
        SUBJECT,
        str(claim.id),
        "travel_claim.moved",
        moved_from=moved_from,
        moved_to=target,
        actor=actor,
        detail={**detail, "notification": notification},
    )
    enqueue_claim_notification(session, claim)


def enqueue_claim_notification(
    session: DbSession, claim: TravelClaim, notification_id: uuid.UUID | None = None
) -> None:
    """Enqueue the text that says what became of the claim; `notice` names it."""
    assert claim.notification is not None
    identity = Identity(**claim.identity)
    filed = Filed(**claim.filed) if claim.filed else Filed(None, "none")
    enqueue_notification(
        session,
        SUBJECT,
        str(claim.id),
        claim.notification,
        notification_id=notification_id,
        cycle=claim.cycle,
        sender=identity.facility,
        recipient={"icn": identity.icn, "phone": identity.phone or ""},
        personalisation={"claim_number": filed.last_four, "appt_date": f"{claim.appointment_date:%b %d}"},
    )


def record_filed(session: DbSession, claim_id: str, target: str, notification: str, filed: Filed) -> None:
    """BTSSS holds a claim: ours (`submitted`) or one from before (`duplicate`). Any open case is answered by it."""
    claim = lock(session, claim_id)
    if claim.state != PENDING:
        return
    claim.filed, claim.unconfirmed = vars(filed), False
    finish(session, claim, target, notification, "worker", how=filed.how)
    close_ended(session, SUBJECT, claim_id, f"filed after all ({target})")


def record_failed(session: DbSession, claim_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up, or BTSSS refused: the state, the case and the honest notice, together."""
    claim = lock(session, claim_id)
    if claim.state != PENDING:
        return
    claim.unconfirmed = kind == "may_exist_upstream"
    finish(session, claim, FAILED, "unconfirmed" if claim.unconfirmed else "error", "worker", case=kind)
    open_case(session, kind, SUBJECT, claim_id, details)


def reopen_claim(session: DbSession, claim_id: str, actor: str) -> None:
    """An operator's move: failed → pending, a new cycle of notices, the case still open until it succeeds."""
    claim = lock(session, claim_id)
    if claim.state != FAILED:
        return
    TRAVEL_CLAIM.check(claim.state, PENDING)
    claim.state, claim.finished_at, claim.notification = PENDING, None, None
    claim.cycle += 1
    write_history(session, SUBJECT, claim_id, "travel_claim.moved", moved_from=FAILED, moved_to=PENDING, actor=actor)
    note_cases(session, SUBJECT, claim_id, "requeued", actor)
    supersede_notifications(session, SUBJECT, claim_id, "it is taken up again", actor)
