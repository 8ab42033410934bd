"""Working on an ITF: what its jobs load and record. Each state it can reach is reached here or in `upkeep`."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from flaskapp.accounts.service import Identity, icn_of, remember_person
from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.clock import legal_date
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import SUBJECT, enqueue_creation
from flaskapp.intent_to_file.states import CONFIRMED, FAILED, INTENT_TO_FILE, PENDING
from flaskapp.notifications.service import enqueue_notification, supersede_notifications
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from outbox.write import write_history

# Under whose name VANotify's templates for ITFs are configured.
SENDER = "itf"


@dataclass(frozen=True)
class ITFWork:
    """What creating an ITF upstream needs, copied out of its row."""

    id: uuid.UUID
    state: str
    type: str
    account_id: uuid.UUID
    icn: str | None


@dataclass(frozen=True)
class Confirmation:
    """What the upstream holds, and `how` we know: created, found (it was there when we looked) or late."""

    upstream: UpstreamITF
    how: str


def load_itf(session: DbSession, itf_id: str) -> ITFWork:
    row = session.get_one(IntentToFile, uuid.UUID(itf_id))
    return ITFWork(row.id, row.state, row.type, row.account_id, icn_of(session, row.account_id))


def lock(session: DbSession, itf_id: str) -> IntentToFile:
    statement = select(IntentToFile).where(IntentToFile.id == uuid.UUID(itf_id)).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one()


def record_identified(session: DbSession, itf_id: str, identity: Identity) -> None:
    """Now we know who it is: the creation is owed."""
    itf = lock(session, itf_id)
    remember_person(session, itf.account_id, identity)
    if itf.state == PENDING:
        write_history(session, SUBJECT, itf_id, "intent_to_file.identified", actor="worker")
        enqueue_creation(session, itf)


def record_confirmed(session: DbSession, itf_id: str, confirmation: Confirmation) -> None:
    """The upstream holds it: the state, its dates, the e-mail and, where its date is too late, the case, together."""
    itf = lock(session, itf_id)
    if itf.state != PENDING:
        return
    adopt_upstream(itf, confirmation.upstream)
    now = database_now(session)
    itf.how, itf.unconfirmed, itf.last_synced_at = confirmation.how, False, now
    late = is_dated_late(itf)
    finish(session, itf, CONFIRMED, now, "confirmed_late" if late else "confirmed", how=confirmation.how)
    itf.refresh_due_at = first_refresh(now)
    close_ended(session, SUBJECT, itf_id, f"confirmed ({confirmation.how})")
    if late:
        open_case(session, "dated_late", SUBJECT, itf_id, dates_of(itf))


def adopt_upstream(itf: IntentToFile, upstream: UpstreamITF) -> None:
    """Keep what upstream holds. The effective date only ever moves earlier, and then upstream's end is the end.

    Dated by upstream after the person asked, its end is the earlier of both: nobody is told of a day too many.
    """
    itf.upstream_id, itf.upstream_status = upstream.id, upstream.status
    itf.upstream_created_at, itf.upstream_expires_at = upstream.created_at, upstream.expires_at
    if upstream.created_at < itf.effective_date:
        itf.effective_date, itf.expires_at = upstream.created_at, upstream.expires_at
    else:
        itf.expires_at = min(itf.expires_at, upstream.expires_at)


def is_dated_late(itf: IntentToFile) -> bool:
    """Whether upstream dates it a later calendar day than the person asked on."""
    assert itf.upstream_created_at is not None
    zone = settings().legal_time_zone
    return legal_date(itf.upstream_created_at, zone) > legal_date(itf.asked_at, zone)


def dates_of(itf: IntentToFile) -> dict[str, str | None]:
    """The dates in question, as a case's details hold them."""
    zone = settings().legal_time_zone
    created = itf.upstream_created_at
    return {
        "asked_on": legal_date(itf.asked_at, zone).isoformat(),
        "upstream_dates_it": legal_date(created, zone).isoformat() if created else None,
        "evidence": f"flask itf evidence {itf.id}",
    }


def first_refresh(now: datetime) -> datetime:
    """Some time within the first cycle: what an outage confirmed all at once is not to be compared all at once."""
    return now + timedelta(days=random.uniform(0, settings().itf_refresh_days))


def finish(session: DbSession, itf: IntentToFile, target: str, now: datetime, notification: str, **detail: Any) -> None:
    """Move an ITF to a state the person is told of, and owe the e-mail that says so, in the caller's transaction."""
    INTENT_TO_FILE.check(itf.state, target)
    moved_from, itf.state, itf.finished_at, itf.notification = itf.state, target, now, notification
    write_history(
        session,
        SUBJECT,
        str(itf.id),
        "intent_to_file.moved",
        moved_from=moved_from,
        moved_to=target,
        actor="worker",
        detail={**detail, "notification": notification},
    )
    enqueue_itf_notification(session, itf)


def enqueue_itf_notification(session: DbSession, itf: IntentToFile, notification_id: uuid.UUID | None = None) -> None:
    """Enqueue the e-mail that says what became of the ITF; `notice` names it."""
    assert itf.notification is not None
    enqueue_notification(
        session,
        SUBJECT,
        str(itf.id),
        itf.notification,
        notification_id=notification_id,
        cycle=itf.cycle,
        sender=SENDER,
        # Without an ICN the send is refused, and a human has to reach the person.
        recipient={"icn": icn_of(session, itf.account_id) or "", "phone": ""},
        personalisation=words_of(itf),
        channel="email",
    )


def words_of(itf: IntentToFile) -> dict[str, str]:
    """The dates the e-mails speak of, as calendar days of the law."""
    zone = settings().legal_time_zone
    recorded = itf.upstream_created_at or itf.asked_at
    timestamps = {
        "asked_date": itf.asked_at,
        "effective_date": itf.effective_date,
        "expiration_date": itf.expires_at,
        "recorded_date": recorded,
    }
    return {name: f"{legal_date(timestamp, zone):%B %-d, %Y}" for name, timestamp in timestamps.items()}


def record_failed(session: DbSession, itf_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up: the state, the case and the honest notice, together. The date asked on stays on record."""
    itf = lock(session, itf_id)
    if itf.state != PENDING:
        return
    itf.unconfirmed = kind == "may_exist_upstream"
    notification = "unconfirmed" if itf.unconfirmed else "failed"
    finish(session, itf, FAILED, database_now(session), notification, case=kind)
    open_case(session, kind, SUBJECT, itf_id, {**details, **dates_of(itf)})


def reopen_itf(session: DbSession, itf_id: str, actor: str) -> None:
    """An operator's move: failed → pending, a new cycle of notices, the case still open until it is confirmed.

    Postgres refuses it while a newer valid one exists.
    """
    itf = lock(session, itf_id)
    if itf.state != FAILED:
        return
    INTENT_TO_FILE.check(itf.state, PENDING)
    itf.state, itf.finished_at, itf.notification = PENDING, None, None
    itf.cycle += 1
    write_history(session, SUBJECT, itf_id, "intent_to_file.moved", moved_from=FAILED, moved_to=PENDING, actor=actor)
    note_cases(session, SUBJECT, itf_id, "requeued", actor)
    supersede_notifications(session, SUBJECT, itf_id, "it is taken up again", actor)
