"""Jobs that send a notification through VANotify, with one reference for all attempts, and check its delivery."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.current import flows
from flaskapp.db import DbSession
from flaskapp.notifications import service
from flaskapp.notifications.service import OutgoingNotification
from flaskapp.notifications.states import DELIVERED, PENDING, SENT, UNDELIVERABLE
from flaskapp.upstreams.errors import Rejected, Unavailable
from flaskapp.upstreams.va_notify import Delivery
from jobs.engine.retry import NOTIFICATION
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
    Obsolete,
    TooEarly,
    Unclear,
)

# Of several sends under one reference the one that reached the person counts, and one on its way before a failed one.
BEST_FIRST = (DELIVERED, SENT, UNDELIVERABLE)


def load_pending(session: DbSession, notification_id: str) -> OutgoingNotification | None:
    """A notification that VANotify has not accepted yet, as far as we know: an early callback may have said otherwise.

    Raises TooEarly while an older notification could reach the person after it.
    """
    notification = service.load_notification(session, notification_id)
    if notification.state != PENDING:
        return None
    if service.must_wait(session, notification):
        raise TooEarly("an older notification of this submission may still be on its way")
    return notification


def load_all_pending(session: DbSession, notification_ids: Sequence[str]) -> dict[str, Loaded]:
    """The same for many. One that may have to wait for an older one is left out."""
    found = service.load_first(session, notification_ids)
    return {each: partial(open_pending, opens) for each, opens in found.items()}


def open_pending(opens: Callable[[], OutgoingNotification]) -> OutgoingNotification | None:
    notification = opens()
    return notification if notification.state == PENDING else None


def address(config: Config, notification: OutgoingNotification) -> dict[str, str]:
    """The recipient: by ICN as a rule, so that VANotify finds today's number; by phone number if the setting says so
    and we have one."""
    if config.sms_recipient == "phone" and notification.channel == "sms" and notification.recipient["phone"]:
        return {"phone": notification.recipient["phone"]}
    if not notification.recipient["icn"]:
        raise Rejected("va_notify", "nobody knows this person's ICN", code="NO_RECIPIENT", from_upstream=False)
    return {"icn": notification.recipient["icn"]}


def not_set(detail: str, code: str) -> Unavailable:
    """A setting of ours is missing: nobody's notification is given up for that, it waits until the setting is there."""
    return Unavailable("va_notify", detail, code=code, from_upstream=False)


def send(call: Call, notification: OutgoingNotification) -> str:
    """Post the text or e-mail to VANotify (contract: travel 6.2); returns its id. Raises the six upstream errors, and
    Obsolete for one that is no longer true."""
    if notification.superseded_why is not None:
        raise Obsolete
    config = call.config
    template = config.vanotify_templates.get(f"{notification.sender}.{notification.kind}")
    if template is None:
        raise not_set("no template is configured for this notification", "NO_TEMPLATE")
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
    sms_sender = flows().sms_senders.get(notification.sender)
    if sms_sender is None:
        raise not_set("no SMS sender id for this sender", "NO_SENDER")
    shared["sender_id"] = sms_sender(config)
    try:
        return client.send_sms(**shared).notification_id
    except Rejected:
        # Check-in's phone numbers are what a clerk once typed; VANotify may find a better one by ICN.
        if shared.pop("phone", None) is None or not notification.recipient["icn"]:
            raise
    return client.send_sms(icn=notification.recipient["icn"], **shared).notification_id


def find_sent(call: Call, notification: OutgoingNotification, earlier: EarlierWrites) -> Finding:
    """Look up an earlier send. Each carries the notification's id as reference (contract: travel 6.4).

    VANotify forgets what it took after some days, and then its *not found* says nothing about a send from before.
    """
    deliveries = call.upstreams.va_notify.find_by_reference(str(notification.id))
    if deliveries:
        return Found(min(deliveries, key=lambda each: BEST_FIRST.index(service.STATE_OF_STATUS.get(each.status, SENT))))
    kept = timedelta(days=call.config.vanotify_kept_days)
    if earlier.first_write_at is not None and earlier.first_write_at < clock.now() - kept:
        return Unclear("sent longer ago than VANotify keeps it")
    return NotFound()


def record_sent(session: DbSession, notification_id: str, answer: str | Delivery) -> None:
    """Record an answer. A send's is an id; a look-up's also has a delivery status, recorded like that of a callback."""
    service.record_sent(session, notification_id, answer if isinstance(answer, str) else answer.id)
    if isinstance(answer, Delivery):
        fold_in(session, notification_id, answer)


def fold_in(session: DbSession, notification_id: str, delivery: Delivery) -> None:
    service.record_delivery(
        session,
        uuid.UUID(notification_id),
        delivery.status,
        delivery.completed_at,
        actor="VANotify look-up",
        why=delivery.status_reason,
    )


def give_up(session: DbSession, notification_id: str, kind: str, details: dict[str, Any]) -> None:
    service.record_given_up(session, notification_id, kind)


def load_silent(session: DbSession, notification_id: str) -> OutgoingNotification | None:
    """A notification whose delivery is unknown, or was given up: an operator who requeues the check wants an answer."""
    notification = service.load_notification(session, notification_id)
    return notification if notification.va_notify_id and notification.state not in (PENDING, DELIVERED) else None


def fetch_delivery(call: Call, notification: OutgoingNotification) -> Delivery | None:
    assert notification.va_notify_id is not None
    return call.upstreams.va_notify.get(notification.va_notify_id, str(notification.id))


def record_answer_of_status(session: DbSession, notification_id: str, delivery: Delivery | None) -> None:
    """Record a checked delivery. Still on its way after three days, or unknown to VANotify, counts as failed: nobody
    can say that the person was reached."""
    status = delivery.status if delivery is not None else "failed"
    if service.STATE_OF_STATUS.get(status) == SENT or status not in service.STATE_OF_STATUS:
        status = "failed"
    at, why = (delivery.completed_at, delivery.status_reason) if delivery is not None else (None, None)
    service.record_delivery(session, uuid.UUID(notification_id), status, at, actor="VANotify look-up", why=why)


def give_up_asking(session: DbSession, notification_id: str, kind: str, details: dict[str, Any]) -> None:
    service.record_delivery(session, uuid.UUID(notification_id), "failed", None, actor="worker")


SEND = JobSpec(
    work=service.SEND,
    writes=True,
    schedule=NOTIFICATION,
    lease_seconds=lambda config: config.vanotify_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.vanotify_total_seconds,
    load=load_pending,
    load_all=load_all_pending,
    act=send,
    look_up=find_sent,
    confirm_after_seconds=lambda config: config.vanotify_confirm_seconds,
    record=record_sent,
    record_all=service.record_all_sent,
    give_up=give_up,
    ids=lambda answer: (
        {"notification": answer, "digest": answer}
        if isinstance(answer, str)
        else {"notification": answer.id, "digest": answer.id}
    ),
    from_ids=lambda kept: kept["notification"],
    let_go=service.let_go,
)

CHECK = JobSpec(
    work=service.CHECK_DELIVERY,
    writes=False,
    schedule=NOTIFICATION,
    lease_seconds=lambda config: config.vanotify_total_seconds + LEASE_MARGIN_SECONDS,
    call_seconds=lambda config: config.vanotify_total_seconds,
    load=load_silent,
    act=fetch_delivery,
    record=record_answer_of_status,
    give_up=give_up_asking,
)


send_notification = Job(SEND)
check_delivery = Job(CHECK)
