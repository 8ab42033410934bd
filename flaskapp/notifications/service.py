"""Notifications and their only writer: what is to be sent, what VANotify took, and what became of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import NoResultFound

from flaskapp.cases.service import close_all_ended, close_ended, note_cases, open_case
from flaskapp.clock import DAY_SECONDS
from flaskapp.crypto import closed, id_from, opened
from flaskapp.current import settings
from flaskapp.db import DbSession
from flaskapp.flows import Content, States, Subject, Work
from flaskapp.notifications.models import Notification
from flaskapp.notifications.states import (
    DELIVERED,
    NOTIFICATION,
    PENDING,
    SENT,
    STATE_OF_STATUS,
    UNDELIVERABLE,
    WITHDRAWN,
)
from flaskapp.statemachine import IllegalMove
from flaskapp.upstreams.transport.redaction import redact
from outbox import NOW, QueueSpec, prepared, sql, take_back, write_histories, write_history

NOTIFICATIONS = QueueSpec("notifications", upstream="va_notify", threads=64, depth=300, concurrency=100)
SUBJECT = "notification"
SEND = Work("jobs.notifications.send_notification", NOTIFICATIONS, SUBJECT, DAY_SECONDS, 3 * DAY_SECONDS)
CHECK_DELIVERY = Work("jobs.notifications.check_delivery", NOTIFICATIONS, SUBJECT, DAY_SECONDS, 3 * DAY_SECONDS)
TAKEN = (SENT, DELIVERED)
CHECK_AFTER = timedelta(days=3)
# Notifications that nobody got, as far as we know.
UNSENT = (PENDING, UNDELIVERABLE)
# An older notification of the same submission that VANotify may still be taking.
OLDER_ON_ITS_WAY = text(f"""
    SELECT EXISTS (
        SELECT 1 FROM notifications mine
          JOIN notifications older ON older.subject_type = mine.subject_type AND older.subject_id = mine.subject_id
           AND older.cycle < mine.cycle AND older.state IN ('pending', 'undeliverable')
          JOIN (SELECT a.* {sql.attempts(subject_type="'notification'")}) a ON a.subject_id = older.id::text
           AND a.purpose = 'write' AND a.status IN ('try', 'unknown')
           AND a.started_at > outbox_now() - make_interval(secs => :seconds)
         WHERE mine.id = :id)
""")

LOAD_FIRST = prepared("""
    SELECT id, state, kind, channel, sender, recipient, personalisation, va_notify_id, cycle, superseded_why, emptied_at
      FROM notifications WHERE id = ANY(CAST(:ids AS uuid[])) AND cycle <= 1
""")
INSERT_ALL = prepared("""
    INSERT INTO notifications
        (id, subject_type, subject_id, kind, cycle, channel, sender, recipient, personalisation, synthetic_on, state)
    SELECT id, :subject_type, subject_id, kind, cycle, channel, sender, recipient, personalisation, synthetic_on,
           'pending'
      FROM unnest(CAST(:ids AS uuid[]), CAST(:subject_ids AS text[]), CAST(:kinds AS text[]), CAST(:cycles AS int[]),
                  CAST(:channels AS text[]), CAST(:senders AS text[]), CAST(:recipients AS bytea[]),
                  CAST(:personalisations AS bytea[]), CAST(:synthetic_on AS date[]))
           AS due (id, subject_id, kind, cycle, channel, sender, recipient, personalisation, synthetic_on)
    ON CONFLICT DO NOTHING
    RETURNING id::text, subject_id, kind
""")
# What VANotify took. A callback may have said more already, and that stays.
RECORD_SENT = prepared("""
    WITH locked AS (
        SELECT n.id, n.state, sent.known_as
          FROM unnest(CAST(:ids AS uuid[]), CAST(:known_as AS text[])) WITH ORDINALITY AS sent (id, known_as, place)
          JOIN notifications n ON n.id = sent.id
         ORDER BY sent.place FOR UPDATE OF n
    )
    UPDATE notifications n
       SET va_notify_id = l.known_as,
           state = CASE WHEN l.state = 'pending' THEN 'sent' ELSE n.state END,
           sent_at = CASE WHEN l.state = 'pending' THEN COALESCE(n.sent_at, outbox_now()) ELSE n.sent_at END
      FROM locked l WHERE n.id = l.id
    RETURNING n.id::text, l.state AS moved_from, l.known_as
""")


@dataclass(frozen=True)
class Due:
    """A notification of this kind that a subject's end makes due."""

    kind: str
    cycle: int
    content: Content
    synthetic_on: date | None


@dataclass(frozen=True)
class OutgoingNotification:
    """What a send needs, copied out of the row so that no connection is held while VANotify works."""

    id: uuid.UUID
    state: str
    kind: str
    channel: str
    sender: str
    recipient: dict[str, str]
    personalisation: dict[str, str]
    va_notify_id: str | None
    cycle: int
    superseded_why: str | None


def enqueue_notification(
    session: DbSession,
    subject_type: str,
    subject_id: str,
    kind: str,
    cycle: int,
    content: Content,
    notification_id: uuid.UUID | None = None,
    synthetic_on: date | None = None,
) -> uuid.UUID | None:
    """Add one notification of this kind in this cycle, with the message that sends it; None if there is one already.

    Its id follows from these: after a restore from a backup that lost the row, VANotify knows it by the same reference.
    A given `notification_id` is that of a notification whose row was lost: VANotify may know it. `synthetic_on` is the
    mark of the subject.
    """
    values = {
        "id": notification_id or id_from(SUBJECT, subject_type, subject_id, kind, cycle),
        "subject_type": subject_type,
        "subject_id": subject_id,
        "kind": kind,
        "cycle": cycle,
        **asdict(content),
        "state": PENDING,
        "synthetic_on": synthetic_on,
    }
    statement = insert(Notification).values(**values).on_conflict_do_nothing().returning(Notification.id)
    created = session.execute(statement).scalar_one_or_none()
    if created is None:
        return None
    write_history(
        session,
        subject_type,
        subject_id,
        "notification.enqueued",
        detail={"notification": str(created), "kind": kind},
    )
    SEND.enqueue(session, str(created), about=(subject_type, subject_id))
    return uuid.UUID(str(created))


def enqueue_notifications(session: DbSession, subject_type: str, due: Mapping[str, Due]) -> None:
    """As `enqueue_notification`, for many subjects by their ids, in as many statements as for one."""
    contents = [each.content for each in due.values()]
    values = {
        "ids": [str(id_from(SUBJECT, subject_type, about, each.kind, each.cycle)) for about, each in due.items()],
        "subject_type": subject_type,
        "subject_ids": list(due),
        "kinds": [each.kind for each in due.values()],
        "cycles": [each.cycle for each in due.values()],
        "channels": [content.channel for content in contents],
        "senders": [content.sender for content in contents],
        "recipients": [closed(content.recipient) for content in contents],
        "personalisations": [closed(content.personalisation) for content in contents],
        "synthetic_on": [each.synthetic_on for each in due.values()],
    }
    created = session.execute(INSERT_ALL, values).all()
    if not created:
        return
    details = {row.subject_id: {"notification": row.id, "kind": row.kind} for row in created}
    write_histories(session, subject_type, details, "notification.enqueued")
    SEND.enqueue_all(session, {row.id: row.subject_id for row in created}, subject_type)


def is_addressed(content: Content) -> bool:
    """Whether there is anybody to send it to: an ICN or, for texts where the setting says so, a phone number."""
    by_phone = settings().sms_recipient == "phone" and content.channel == "sms" and content.recipient["phone"]
    return bool(content.recipient["icn"] or by_phone)


def enqueue_sending(session: DbSession, notification: Notification) -> None:
    """Enqueue the sending of a notification whose message was lost."""
    SEND.enqueue(session, str(notification.id))


def load_notification(session: DbSession, notification_id: str) -> OutgoingNotification:
    row = session.get_one(Notification, uuid.UUID(notification_id))
    return outgoing(row, row.emptied_at is not None, row.recipient, row.personalisation)


def load_first(session: DbSession, notification_ids: Sequence[str]) -> dict[str, Callable[[], OutgoingNotification]]:
    """As `load_notification`, for those of the first cycle among many, in one statement; what was read is opened by
    whoever needs it."""
    rows = session.execute(LOAD_FIRST, {"ids": list(notification_ids)}).all()
    return {str(row.id): partial(open_outgoing, row) for row in rows}


def open_outgoing(row: Any) -> OutgoingNotification:
    return outgoing(row, row.emptied_at is not None, opened(row.recipient), opened(row.personalisation))


def outgoing(row: Any, is_emptied: bool, recipient: Any, personalisation: Any) -> OutgoingNotification:
    fields = {name: getattr(row, name) for name in OutgoingNotification.__dataclass_fields__}
    fields |= {"recipient": recipient, "personalisation": personalisation}
    if is_emptied:
        fields |= {"recipient": {"icn": "", "phone": ""}, "personalisation": {}}
    return OutgoingNotification(**fields)


def must_wait(session: DbSession, notification: OutgoingNotification) -> bool:
    """Whether an older one could still reach the person after this one: for as long as VANotify needs to take one."""
    values = {"id": notification.id, "seconds": settings().vanotify_confirm_seconds}
    return notification.cycle > 1 and bool(session.execute(OLDER_ON_ITS_WAY, values).scalar_one())


def about(session: DbSession, subject_type: str, subject_id: str) -> tuple[str, str]:
    """The submission that a notification is about; for any other subject, that subject."""
    if subject_type != SUBJECT:
        return subject_type, subject_id
    notified_of = select(Notification.subject_type, Notification.subject_id).filter_by(id=uuid.UUID(subject_id))
    row = session.execute(notified_of).one_or_none()
    return (row.subject_type, row.subject_id) if row is not None else (subject_type, subject_id)


def lock_notification(session: DbSession, notification_id: uuid.UUID) -> Notification | None:
    statement = select(Notification).where(Notification.id == notification_id).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one_or_none()


def move_notification(session: DbSession, row: Notification, target: str, actor: str, **detail: Any) -> None:
    NOTIFICATION.check(row.state, target)
    moved_from, row.state, row.finished_at = row.state, target, NOW if target in NOTIFICATION.final else None
    if target in TAKEN:
        row.sent_at = row.sent_at or NOW
    write_history(
        session,
        SUBJECT,
        str(row.id),
        "notification.moved",
        moved_from=moved_from,
        moved_to=target,
        actor=actor,
        detail=detail,
    )


def record_sent(session: DbSession, notification_id: str, va_notify_id: str) -> None:
    """VANotify took it: the person counts as informed. If a callback has already said more, that stays."""
    row = lock_notification(session, uuid.UUID(notification_id))
    if row is None:
        return
    row.va_notify_id = va_notify_id
    if row.state == PENDING:
        move_notification(session, row, SENT, "worker", va_notify_id=va_notify_id)
    close_ended(session, SUBJECT, notification_id, "sent after all")


def record_all_sent(session: DbSession, sent: Sequence[tuple[str, str]]) -> None:
    """As `record_sent`, for many pairs of our id and VANotify's, in as many statements as for one."""
    ids, known_as = [ours for ours, _ in sent], [theirs for _, theirs in sent]
    rows = session.execute(RECORD_SENT, {"ids": ids, "known_as": known_as}).all()
    details = {row.id: {"va_notify_id": row.known_as} for row in rows if row.moved_from == PENDING}
    if details:
        moved = {"moved_from": PENDING, "moved_to": SENT, "actor": "worker"}
        write_histories(session, SUBJECT, details, "notification.moved", **moved)
    close_all_ended(session, SUBJECT, ids, "sent after all")


def record_delivery(
    session: DbSession,
    notification_id: uuid.UUID,
    status: str,
    at: datetime | None,
    *,
    actor: str,
    va_notify_id: str | None = None,
    why: str | None = None,
) -> bool:
    """Record one delivery status, from any source and in any order; False when the notification is not ours.

    `at` is VANotify's time of this status (UTC); a status older than the one we know changes nothing. `why` is its
    `status_reason`, which the human needs: somebody who cannot be reached, who wants no texts, or who has died.
    """
    row = lock_notification(session, notification_id)
    if row is None:
        return False
    row.va_notify_id = row.va_notify_id or va_notify_id
    target = STATE_OF_STATUS.get(status)
    # Only final states compete, by their times. That it was sent contradicts none of them, whatever its time is.
    timestamp = at if target in NOTIFICATION.final else None
    outdated = timestamp is not None and row.status_at is not None and timestamp < row.status_at
    if target == row.state and not outdated:
        row.status_at = timestamp or row.status_at
    if target is None or outdated or target == row.state or not NOTIFICATION.allows(row.state, target):
        return True
    row.upstream_status, row.status_at = status, timestamp or row.status_at
    reason = {"why": redact(why)} if why else {}
    move_notification(session, row, target, actor, status=status, **reason)
    follow_ending(session, row, reason)
    return True


def follow_ending(session: DbSession, row: Notification, reason: dict[str, str]) -> None:
    """A text that cannot arrive needs a human, who is told VANotify's reason; one that arrived after all needs none any
    more."""
    if row.state == UNDELIVERABLE:
        open_case(session, "notification_undeliverable", SUBJECT, str(row.id), what_it_said(row) | reason)
    elif row.state == DELIVERED:
        close_ended(session, SUBJECT, str(row.id), "delivered after all", and_also=("notification_undeliverable",))


def record_given_up(session: DbSession, notification_id: str, reason: str) -> None:
    """VANotify did not take it: the person was not informed, so a human has to do it."""
    row = lock_notification(session, uuid.UUID(notification_id))
    if row is None or row.state != PENDING:
        return
    move_notification(session, row, UNDELIVERABLE, "worker", reason=reason)
    open_case(session, "notification_not_sent", SUBJECT, notification_id, what_it_said(row) | {"reason": reason})


def what_it_said(row: Notification) -> dict[str, Any]:
    """Details for the human who informs the person instead; also whether it is still true."""
    details = {"about": row.subject_type, "subject": row.subject_id, "notification": row.kind}
    return details if row.superseded_why is None else details | {"superseded": row.superseded_why}


def reopen_notification(session: DbSession, notification_id: str, actor: str) -> None:
    """An operator wants it sent or looked up again. What VANotify once took is never sent again."""
    row = lock_notification(session, uuid.UUID(notification_id))
    if row is None:
        raise NoResultFound
    if row.emptied_at is not None:
        raise IllegalMove("whom it was for and what it said was removed long after its end")
    if row.state == UNDELIVERABLE and row.va_notify_id is None:
        move_notification(session, row, PENDING, actor)
        note_cases(session, SUBJECT, notification_id, "requeued", actor)


def supersede_notifications(session: DbSession, subject_type: str, subject_id: str, why: str, actor: str) -> None:
    """Stop the notifications about this submission that are no longer true: nobody must read them after newer ones.

    What certainly was not sent is withdrawn at once. What may have been sent is looked up to its end, and not sent
    again.
    """
    unsent = (
        select(Notification.id)
        .filter_by(subject_type=subject_type, subject_id=subject_id, va_notify_id=None, superseded_why=None)
        .where(Notification.state.in_(UNSENT))
    )
    for notification_id in session.execute(unsent).scalars().all():
        certainly = take_back(session, SUBJECT, str(notification_id))
        row = lock_notification(session, notification_id)
        if row is None or row.state not in UNSENT or row.va_notify_id is not None:
            continue
        row.superseded_why = why
        if certainly:
            withdraw(session, row, actor)
        else:
            write_history(session, SUBJECT, str(row.id), "notification.superseded", actor=actor, detail={"why": why})


def unknown_of(session: DbSession, references: list[str]) -> set[str]:
    """Those of these references at VANotify that no notification here has."""
    known = select(Notification.id).where(Notification.id.in_([uuid.UUID(each) for each in references]))
    return set(references) - {str(found) for found in session.execute(known).scalars()}


def may_have_been_read(session: DbSession, subject_type: str, subject_id: str) -> bool:
    """Whether a notification about this submission reached its person, or may reach them yet."""
    kept = select(Notification.id).filter_by(subject_type=subject_type, subject_id=subject_id)
    return session.execute(kept.where(Notification.state != WITHDRAWN).limit(1)).first() is not None


def withdraw(session: DbSession, row: Notification, actor: str) -> None:
    move_notification(session, row, WITHDRAWN, actor, why=row.superseded_why)
    moot = ("notification_undeliverable", "parked_by_hand")
    close_ended(session, SUBJECT, str(row.id), f"withdrawn: {row.superseded_why}", and_also=moot)


def let_go(session: DbSession, notification_id: str) -> None:
    """Nothing is left to send: a superseded notification that VANotify turned out not to have is withdrawn."""
    row = lock_notification(session, uuid.UUID(notification_id))
    if row is not None and row.state == PENDING and row.superseded_why is not None:
        withdraw(session, row, "worker")


def enqueue_delivery_checks(session: DbSession, batch: int = 500) -> int:
    """Enqueue one look-up at VANotify for each notification without a delivery status for three days, once."""
    # Only ids: one that cannot be decrypted any more must not keep the others from being looked up.
    statement = (
        select(Notification.id)
        .where(Notification.state == SENT, Notification.asked_at.is_(None))
        .where(Notification.sent_at < NOW - CHECK_AFTER)
        .order_by(Notification.sent_at)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    ids = session.execute(statement).scalars().all()
    if not ids:
        return 0
    noted = update(Notification).where(Notification.id.in_(ids)).values(asked_at=NOW)
    session.execute(noted.execution_options(synchronize_session=False))
    for notification_id in ids:
        CHECK_DELIVERY.enqueue(session, str(notification_id))
    return len(ids)


NOTIFICATION_SUBJECT = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_notification,
    states=States(
        NOTIFICATION,
        Notification,
        notification="CAST(NULL AS text)",
        began="created_at",
        ended="COALESCE(finished_at, sent_at)",
        about_another=True,
    ),
    event="notification",
    enqueue=enqueue_sending,
    reopen=reopen_notification,
    known_as=("va_notify_id",),
    content=("recipient", "personalisation"),
    is_submission=False,
    first_state=PENDING,
)
