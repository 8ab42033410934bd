"""Travel claims and their only writer, for requests and jobs alike: find or create, load, record."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Any

from flask import url_for
from sqlalchemy import exists, select
from sqlalchemy.orm import aliased

from flaskapp import subjects
from flaskapp.cases.service import close_all_ended, close_ended
from flaskapp.check_in.service import Identity
from flaskapp.clock import DAY_SECONDS, HOUR_SECONDS
from flaskapp.crypto import closed, id_from, opened, vault
from flaskapp.db import DbSession, db
from flaskapp.flows import Content, States, Subject, Work
from flaskapp.keys.digests import WITH_THIS_KEY, StoredDigests, only_digests, stored_digests
from flaskapp.notifications.service import Due, enqueue_notifications, is_addressed
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.states import DUPLICATE, FAILED, PENDING, SUBMITTED, TRAVEL_CLAIM, words_of
from outbox import Database, QueueSpec, attempts, connect_plainly, prepared, write_histories

TRAVEL_CLAIMS = QueueSpec("travel_claims", upstream="btsss", threads=200, depth=200, concurrency=200)
SUBJECT = "travel_claim"
SUBMIT = Work(
    "jobs.travel_claims.file_check_in_claim",
    TRAVEL_CLAIMS,
    SUBJECT,
    deadline_seconds=25 * HOUR_SECONDS,
    give_up_seconds=5 * DAY_SECONDS,
    look_first=True,
)

INSERT = f"""
    subject AS (
        INSERT INTO travel_claims (id, person_digest, station_digest, appointment_date, identity, state, starts_at)
        SELECT :id, :person, :station, :day, :identity, '{PENDING}', :starts_at WHERE {WITH_THIS_KEY}
        ON CONFLICT DO NOTHING RETURNING id, requested_at)
"""
LOAD_ALL = prepared("""
    SELECT c.id, c.state, c.identity, c.appointment_date, c.starts_at FROM travel_claims c
     WHERE c.id = ANY(CAST(:ids AS uuid[])) AND NOT EXISTS (
               SELECT 1 FROM travel_claims other
                WHERE other.person_digest = c.person_digest AND other.appointment_date = c.appointment_date
                  AND other.id <> c.id)
""")
LOCK_ALL = prepared("""
    SELECT c.id::text, c.state, c.cycle, c.appointment_date, c.identity, c.synthetic_on
      FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS each (id, place) JOIN travel_claims c ON c.id = each.id
     ORDER BY each.place FOR UPDATE OF c
""")
END_ALL = prepared("""
    UPDATE travel_claims c
       SET state = :target, notification = :notification, filed = each.filed, unconfirmed = false,
           finished_at = outbox_now()
      FROM unnest(CAST(:ids AS uuid[]), CAST(:filed AS bytea[])) AS each (id, filed) WHERE c.id = each.id
""")

UNKNOWN_NUMBER = "unknown"
# Whom to write to when the identity was removed.
NOBODY = Identity(icn="", phone=None, station="", facility_type="")


@dataclass(frozen=True)
class ClaimWork:
    """What filing a claim needs, copied out of its row. `only_one` says that no other claim of this person for this day
    was requested here: BTSSS's submit names no station. `none_filed`: if there are others, none of them can be on file
    by us."""

    id: uuid.UUID
    state: str
    identity: Identity
    appointment_date: date
    only_one: bool = True
    starts_at: datetime | None = None
    none_filed: bool = True


@dataclass(frozen=True)
class Filed:
    """What BTSSS holds for a claim; a number of None is one that nobody told us.

    `how` we know: answered, found, presumed (ours, by its time) or late.
    """

    claim_number: str | None
    how: str
    claim_status: str | None = None

    @property
    def last_four(self) -> str:
        return self.claim_number[-4:] if self.claim_number else UNKNOWN_NUMBER


@dataclass(frozen=True)
class Filing:
    """How a claim ended: its new state, the notification for the person, and what BTSSS holds."""

    target: str
    notification: str
    filed: Filed


def request_check_in_claim(
    session: DbSession, identity: Identity, appointment_date: date, starts_at: datetime | None = None
) -> TravelClaim:
    """Find or create the claim of this person, date and station, with the message that files it. `starts_at` is naive:
    the facility's clock; None where it is not known.

    The insert comes first and, where nothing was inserted, the re-read second, each its own statement: under any
    number of simultaneous requests one of them inserts and all of them answer with the same claim. Only while the
    digest key changes, what was stored under the earlier one is looked for before.
    """
    digests = stored_digests(session)
    claim = find_of_day(session, identity, appointment_date) if digests.look_first else None
    if claim is None:
        created = insert_claim(session, digests, identity, appointment_date, starts_at)
        if created is not None:
            return created
        claim = find_of_day(session, identity, appointment_date)
        assert claim is not None
    if claim.state == FAILED:
        subjects.note_requested_again(session, CLAIM, claim)
    return claim


def request_at_once(
    identity: Identity, appointment_date: date, starts_at: datetime | None = None
) -> TravelClaim | None:
    """Create the claim with the message that files it, in a transaction of one statement. None, with nothing written,
    where that is not enough: there is one already, or the digest key changes."""
    digests = only_digests()
    if digests is None:
        return None
    with connect_plainly(db.engine) as connection:
        return insert_claim(connection, digests, identity, appointment_date, starts_at)


def insert_claim(
    db: Database, digests: StoredDigests, identity: Identity, appointment_date: date, starts_at: datetime | None
) -> TravelClaim | None:
    """The new claim, which is not attached to a session; None if there is one already."""
    person, station = digests.of(identity.icn), digests.of(identity.station)
    values = {
        "id": id_from(SUBJECT, person, appointment_date, station),
        "person": person,
        "station": station,
        "day": appointment_date,
        # The facility's number is for CHIP only.
        "identity": closed(vars(replace(identity, patient_dfn=None))),
        "starts_at": starts_at,
        "digest_key": digests.fingerprint,
    }
    row = SUBMIT.begin(db, CLAIM, INSERT, values, PENDING)
    if row is None:
        return None
    return TravelClaim(
        id=row.id, state=PENDING, unconfirmed=False, appointment_date=appointment_date, requested_at=row.requested_at
    )


def find_of_day(session: DbSession, identity: Identity, appointment_date: date) -> TravelClaim | None:
    """The claim of this person for this day at this station."""
    statement = select(TravelClaim).where(
        TravelClaim.person_digest.in_(vault().digests(identity.icn)),
        TravelClaim.station_digest.in_(vault().digests(identity.station)),
        TravelClaim.appointment_date == appointment_date,
    )
    return session.execute(statement.order_by(TravelClaim.requested_at).limit(1)).scalar_one_or_none()


def find_claim(session: DbSession, claim_id: str, icn: str) -> TravelClaim | None:
    """A person's own claim by its id; somebody else's claim does not exist for them."""
    own = TravelClaim.person_digest.in_(vault().digests(icn))
    return session.execute(select(TravelClaim).where(TravelClaim.id == uuid.UUID(claim_id), own)).scalar_one_or_none()


def load_claim(session: DbSession, claim_id: str) -> ClaimWork | None:
    """What filing it needs; None once its identity was removed."""
    other = aliased(TravelClaim)
    others_that_day = exists().where(
        other.person_digest == TravelClaim.person_digest,
        other.appointment_date == TravelClaim.appointment_date,
        other.id != TravelClaim.id,
    )
    statement = select(TravelClaim, others_that_day).where(TravelClaim.id == uuid.UUID(claim_id))
    row, others = session.execute(statement).one()
    if row.identity is None:
        return None
    identity = Identity(**row.identity)
    under_another_key = others_under_another_key(session, row, identity)
    none_filed = not under_another_key and (not others or none_is_ours(session, row))
    only_one = not others and not under_another_key
    return ClaimWork(row.id, row.state, identity, row.appointment_date, only_one, row.starts_at, none_filed)


def load_claims(session: DbSession, claim_ids: Sequence[str]) -> dict[str, Callable[[], ClaimWork | None]]:
    """As `load_claim`, for many by their ids, in one statement; what was read is opened by whoever needs it. Without
    those that have others of their day, and empty where others may be found under another key."""
    if len(vault().digest_keys) > 1:
        return {}
    rows = session.execute(LOAD_ALL, {"ids": list(claim_ids)}).all()
    return {str(row.id): partial(claim_work_of, row) for row in rows}


def claim_work_of(row: Any) -> ClaimWork | None:
    identity = opened(row.identity)
    if identity is None:
        return None
    return ClaimWork(row.id, row.state, Identity(**identity), row.appointment_date, starts_at=row.starts_at)


def none_is_ours(session: DbSession, claim: TravelClaim) -> bool:
    """Whether no submit for another claim of this person and day can be what BTSSS holds: none was accepted, is under
    way or went unanswered. That of a duplicate was answered, and not accepted."""
    others = select(TravelClaim.id, TravelClaim.state).where(
        TravelClaim.person_digest == claim.person_digest,
        TravelClaim.appointment_date == claim.appointment_date,
        TravelClaim.id != claim.id,
    )
    return not any(
        writes.lost or writes.at_hand or (writes.accepted and other.state != DUPLICATE)
        for other in session.execute(others).all()
        for writes in [attempts.count_writes(session, SUBJECT, str(other.id), SUBMIT.path)]
    )


def others_under_another_key(session: DbSession, claim: TravelClaim, identity: Identity) -> bool:
    """Whether the person has another claim for this day whose digest was made with another key than this one's."""
    under_other_keys = set(vault().digests(identity.icn)) - {claim.person_digest}
    if not under_other_keys:
        return False
    others = exists().where(
        TravelClaim.person_digest.in_(under_other_keys), TravelClaim.appointment_date == claim.appointment_date
    )
    return bool(session.execute(select(others)).scalar_one())


def compose_about_claim(session: DbSession, claim: TravelClaim) -> Content:
    """The text that says what became of the claim."""
    filed = Filed(**claim.filed) if claim.filed else Filed(None, "none")
    return content_about(claim.identity, claim.appointment_date, filed)


def content_about(kept: dict[str, Any] | None, appointment_date: date, filed: Filed) -> Content:
    identity = Identity(**kept) if kept is not None else NOBODY
    return Content(
        identity.facility,
        {"icn": identity.icn, "phone": identity.phone or ""},
        {"claim_number": filed.last_four, "appt_date": f"{appointment_date:%b %d}"},
        channel="sms",
    )


def enqueue_filing(session: DbSession, claim: TravelClaim) -> None:
    SUBMIT.enqueue(session, str(claim.id))


CLAIM = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_travel_claim,
    states=States(TRAVEL_CLAIM, TravelClaim, digest="person_digest"),
    event="travel_claim",
    enqueue=enqueue_filing,
    compose=compose_about_claim,
    sentence=lambda session, row: words_of(row.state, row.unconfirmed),
    status_url=lambda row: url_for("travel_claims.show_claim", claim_id=row.id),
    content=("identity",),
)


def record_filed(session: DbSession, claim_id: str, filing: Filing) -> None:
    """BTSSS holds a claim: ours (`submitted`) or one from before (`duplicate`). That closes its open cases."""
    claim: TravelClaim = subjects.lock(session, CLAIM, claim_id)
    if claim.state != PENDING:
        return
    claim.filed, claim.unconfirmed = vars(filing.filed), False
    subjects.end(session, CLAIM, claim, filing.target, filing.notification, how=filing.filed.how)
    close_ended(session, SUBJECT, claim_id, resolution_of(filing.target))


def resolution_of(target: str) -> str:
    return f"filed after all ({target})"


def record_all_filed(session: DbSession, filings: Sequence[tuple[str, Filing]]) -> None:
    """As `record_filed`, for many claims by their ids, in as many statements as for one."""
    rows = {row.id: row for row in session.execute(LOCK_ALL, {"ids": [claim_id for claim_id, _ in filings]})}
    alike: dict[tuple[str, str], dict[str, tuple[Filing, Due]]] = {}
    for claim_id, filing in filings:
        row = rows[claim_id]
        content = content_about(opened(row.identity), row.appointment_date, filing.filed)
        if row.state == PENDING and is_addressed(content):
            due = Due(filing.notification, row.cycle, content, row.synthetic_on)
            alike.setdefault((filing.target, filing.notification), {})[claim_id] = filing, due
        else:
            record_filed(session, claim_id, filing)
    for (target, notification), claims in alike.items():
        end_all(session, target, notification, claims)


def end_all(session: DbSession, target: str, notification: str, claims: Mapping[str, tuple[Filing, Due]]) -> None:
    """End pending claims, locked, in one way: their rows and history, their notifications, and their cases."""
    TRAVEL_CLAIM.check(PENDING, target)
    filed = {claim_id: filing.filed for claim_id, (filing, _) in claims.items()}
    sealed = [closed(vars(each)) for each in filed.values()]
    values = {"ids": list(filed), "filed": sealed, "target": target, "notification": notification}
    session.execute(END_ALL, values)
    details = {claim_id: {"how": each.how, "notification": notification} for claim_id, each in filed.items()}
    moved = {"moved_from": PENDING, "moved_to": target, "actor": "worker"}
    write_histories(session, SUBJECT, details, f"{CLAIM.event}.moved", **moved)
    enqueue_notifications(session, SUBJECT, {claim_id: due for claim_id, (_, due) in claims.items()})
    close_all_ended(session, SUBJECT, list(claims), resolution_of(target))


def reconsider(session: DbSession, claim_id: str, accepted: Filed | None) -> None:
    """A submit was answered late. An accepted one is ours, whatever a look-up made of it; if each was refused, what was
    presumed ours is somebody else's."""
    claim: TravelClaim = subjects.lock(session, CLAIM, claim_id)
    if claim.state not in (SUBMITTED, DUPLICATE) or claim.filed is None:
        return
    known = Filed(**claim.filed)
    if accepted is not None and (claim.state == DUPLICATE or known.how == "presumed"):
        same = accepted.claim_number in (None, known.claim_number)
        claim.filed = vars(replace(known, how="late") if same else replace(accepted, how="late"))
        if claim.state == DUPLICATE:
            subjects.correct(session, CLAIM, claim, SUBMITTED, "created", "our submit was accepted after all")
        else:
            subjects.note(session, CLAIM, claim_id, "reconsidered", "worker", how="late")
    elif accepted is None and known.how == "presumed":
        if not attempts.count_writes(session, SUBJECT, claim_id, SUBMIT.path).all_refused:
            return
        claim.filed = vars(replace(known, how="found"))
        subjects.correct(session, CLAIM, claim, DUPLICATE, DUPLICATE, "each of our submits was refused")


def record_claim_failed(session: DbSession, claim_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up, or BTSSS refused: the state, the case and the notification, together."""
    claim: TravelClaim = subjects.lock(session, CLAIM, claim_id)
    if claim.state != PENDING:
        return
    claim.unconfirmed = kind == "may_exist_upstream"
    notification = "unconfirmed" if claim.unconfirmed else "error"
    subjects.fail(session, CLAIM, claim, notification, kind, details)
