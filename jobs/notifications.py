"""Sending a notice through VANotify under one reference for all attempts, and asking what became of it."""

from __future__ import annotations

import uuid
from typing import Any

from flaskapp.config import Config
from flaskapp.db import DbSession
from flaskapp.notifications import service
from flaskapp.notifications.service import OutgoingNotification
from flaskapp.notifications.states import DELIVERED, PENDING, SENT
from flaskapp.queues import NOTIFICATIONS
from flaskapp.upstreams.errors import Rejected
from flaskapp.upstreams.va_notify import Delivery
from jobs.engine.retry import NOTIFICATION_SUBJECT
from jobs.engine.runner import run
from jobs.engine.spec import Call, EarlierWrites, Finding, Found, JobSpec, NotFound, Obsolete, TooEarly

LEASE_MARGIN_SECONDS = 30.0


def load_pending(session: DbSession, notification_id: str) -> OutgoingNotification | None:
    """A notice VANotify has not taken yet, as far as we know; an early callback may have told us otherwise.

    Raises TooEarly while an older one could reach the person after it.
    """
    notification = service.load_notification(session, notification_id)
    if notification.state != PENDING:
        return None
    if service.must_wait(session, notification):
        raise TooEarly("an older notice of this submission may still be on its way")
    return notification


def address(config: Config, notification: OutgoingNotification) -> dict[str, str]:
    """By ICN as a rule, so that VANotify finds today's number; by phone where the setting says so and we have one."""
    if config.sms_recipient == "phone" and notification.channel == "sms" and notification.recipient["phone"]:
        return {"phone": notification.recipient["phone"]}
    if not notification.recipient["icn"]:
        raise Rejected("va_notify", "nobody knows this person's ICN", code="NO_RECIPIENT", from_upstream=False)
    return {"icn": notification.recipient["icn"]}


def send(call: Call, notification: OutgoingNotification) -> str:
    """Ask VANotify for the text or e-mail (contract: 6.2); returns its id. Raises the six upstream errors, and
    Obsolete for what is not so any more."""
    if notification.superseded_why is not None:
        raise Obsolete
    config = call.config
    template = config.vanotify_templates.get(f"{notification.sender}.{notification.kind}")
    if template is None:
        raise Rejected(
            "va_notify", "no template is configured for this notice", code="NO_TEMPLATE", from_upstream=False
        )
    shared: dict[str, Any] = {
        "reference": str(notification.id),
        "template_id": template,
        "personalisation": notification.personalisation,
        "before_write": call.before_write,
        **address(config, notification),
    }
    client = call.upstreams.va_notify
    if notification.channel == "email":
        return client.send_email(**shared).notification_id
    oracle_health = notification.sender == "oh"
    sender_id = config.vanotify_sms_sender_id_oh if oracle_health else config.vanotify_sms_sender_id
    return client.send_sms(sender_id=sender_id, **shared).notification_id


def find_sent(call: Call, notification: OutgoingNotification, earlier: EarlierWrites) -> Finding:
    """Every send carries the notice's id as reference, so one that was taken can be found (contract: 6.4)."""
    deliveries = call.upstreams.va_notify.find_by_reference(str(notification.id))
    return Found(deliveries[0]) if deliveries else NotFound()


def record_sent(session: DbSession, notification_id: str, answer: str | Delivery) -> None:
    """An answer to the send is an id; a look-up's also says how far it got, folded in like a callback."""
    service.record_sent(session, notification_id, answer if isinstance(answer, str) else answer.id)
    if isinstance(answer, Delivery):
        fold_in(session, notification_id, answer)


def fold_in(session: DbSession, notification_id: str, delivery: Delivery) -> None:
    service.record_delivery(
        session, uuid.UUID(notification_id), delivery.status, delivery.completed_at, actor="VANotify look-up"
    )


def give_up(session: DbSession, notification_id: str, kind: str, details: dict[str, Any]) -> None:
    service.record_given_up(session, notification_id, kind)


def load_silent(session: DbSession, notification_id: str) -> OutgoingNotification | None:
    """Also one given up as undeliverable: an operator who requeues the question wants it answered."""
    notification = service.load_notification(session, notification_id)
    return notification if notification.va_notify_id and notification.state not in (PENDING, DELIVERED) else None


def ask(call: Call, notification: OutgoingNotification) -> Delivery | None:
    assert notification.va_notify_id is not None
    return call.upstreams.va_notify.get(notification.va_notify_id)


def record_answer_of_status(session: DbSession, notification_id: str, delivery: Delivery | None) -> None:
    """Still on its way after three days, or unknown to VANotify: nobody can say the person was reached."""
    status = delivery.status if delivery is not None else "failed"
    if service.STATE_OF_STATUS.get(status) == SENT or status not in service.STATE_OF_STATUS:
        status = "failed"
    at = delivery.completed_at if delivery is not None else None
    service.record_delivery(session, uuid.UUID(notification_id), status, at, actor="VANotify look-up")


def give_up_asking(session: DbSession, notification_id: str, kind: str, details: dict[str, Any]) -> None:
    service.record_delivery(session, uuid.UUID(notification_id), "failed", None, actor="worker")


SEND = JobSpec(
    path="jobs.notifications.send_notification",
    queue=NOTIFICATIONS,
    writes=True,
    schedule=NOTIFICATION_SUBJECT,
    lease_seconds=lambda config: config.vanotify_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.vanotify_total_seconds,
    load=load_pending,
    act=send,
    look_up=find_sent,
    confirm_after_seconds=lambda config: config.vanotify_confirm_seconds,
    record=record_sent,
    give_up=give_up,
    ids=lambda answer: (
        {"notification": answer, "digest": answer}
        if isinstance(answer, str)
        else {"notification": answer.id, "digest": answer.id}
    ),
    from_ids=lambda kept: kept["notification"],
    let_go=service.let_go,
)

ASK = JobSpec(
    path="jobs.notifications.ask_delivery",
    queue=NOTIFICATIONS,
    writes=False,
    schedule=NOTIFICATION_SUBJECT,
    lease_seconds=lambda config: config.vanotify_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.vanotify_total_seconds,
    load=load_silent,
    act=ask,
    record=record_answer_of_status,
    give_up=give_up_asking,
)


def send_notification(message_id: int, fence: int) -> None:
    run(SEND, message_id, fence)


def ask_delivery(message_id: int, fence: int) -> None:
    run(ASK, message_id, fence)
