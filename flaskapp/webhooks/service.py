"""Webhooks and their only writer: who is told, what each is owed, and what became of it.

What happened is read from the ledger's feed in the background, so no submission waits for it or pays for it. Whatever a
receiver is owed waits in `webhook_deliveries`; one message per receiver gets it delivered. So that message is the
receiver's circuit breaker, too: while nobody answers there, it waits, and it alone is the probe.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from flaskapp.cases.service import close_cases, open_case
from flaskapp.clock import DAY_SECONDS
from flaskapp.crypto import id_from
from flaskapp.current import database_now, flows, settings
from flaskapp.db import DbSession
from flaskapp.flows import Subject, Work
from flaskapp.webhooks import events
from flaskapp.webhooks.models import DELIVERED, PENDING, REFUSED, WITHDRAWN, Webhook, WebhookDelivery
from outbox import NOW, Database, QueueSpec, audit, feed, hasten, sql, take_back, write_history

SUBJECT = "webhook"
# Every receiver has a breaker of its own, so the queue has none.
WEBHOOKS = QueueSpec("webhooks", upstream=None, threads=8, depth=50, concurrency=50)
DELIVER = Work(
    "jobs.webhooks.deliver",
    WEBHOOKS,
    SUBJECT,
    deadline_seconds=3 * DAY_SECONDS,
    give_up_seconds=4 * DAY_SECONDS,
    keeps_promise=False,
)
WEBHOOK_SUBJECT = Subject(SUBJECT, case_owner=lambda config: config.case_owner_notification, overdue=False)

FAILING, REFUSED_CASE = "webhook_failing", "webhook_refused"
SECRET_PREFIX, SECRET_BYTES = "whsec_", 32
# For how long after a rotation deliveries are signed with both secrets.
BOTH_SECRETS = timedelta(days=1)
BATCH = 50
# A delivery that is refused while others are taken is tried again after so many seconds, and six times as many each
# time, up to the last; after three days it is refused for good.
FIRST_DELAY, LAST_DELAY, REFUSED_FOR = 5.0, 7_200.0, timedelta(days=3)

WAITS = f"""
    EXISTS (SELECT FROM webhook_deliveries d
             WHERE d.webhook_id = w.id AND d.state = '{PENDING}' AND d.due_at <= outbox_now() {{for_long}})
"""
HAS_WORK = "EXISTS (SELECT 1 " + sql.messages(subject_type=f"'{SUBJECT}'", subject_id="w.id::text") + ")"
IS_TOLD = "w.removed_at IS NULL AND w.paused_at IS NULL"
OWED = text(f"SELECT w.id FROM webhooks w WHERE {IS_TOLD} AND {WAITS.format(for_long='')} AND NOT {HAS_WORK}")
FORGOTTEN = f"""
    SELECT w.id::text FROM webhooks w WHERE {IS_TOLD} AND NOT {HAS_WORK}
       AND {WAITS.format(for_long="AND d.due_at < outbox_now() - interval '2 minutes'")}"""
REFUSE = text(f"""
    UPDATE webhook_deliveries d
       SET refusals = refusals + 1, refused_with = each.status,
           due_at = outbox_now() + make_interval(secs => :scale * LEAST(:last, :first * power(6, LEAST(refusals, 6)))),
           state = CASE WHEN created_at < outbox_now() - CAST(:refused_for AS interval)
                        THEN '{REFUSED}' ELSE '{PENDING}' END,
           finished_at = CASE WHEN created_at < outbox_now() - CAST(:refused_for AS interval) THEN outbox_now() END
      FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS int[])) AS each (id, status)
     WHERE d.id = each.id AND d.state = '{PENDING}'
    RETURNING d.id, d.state
""")


class NoSuchWebhook(LookupError):
    """Nobody is told by this id, or not any more."""


@dataclass(frozen=True)
class Owed:
    """One delivery as it is sent, whenever that is."""

    id: uuid.UUID
    body: bytes


@dataclass(frozen=True)
class Batch:
    """What one receiver is owed, oldest first, and what to sign it with."""

    url: str
    secrets: tuple[str, ...]
    owed: tuple[Owed, ...]


# -- who is told ----------------------------------------------------------------


def lock_table(session: DbSession) -> None:
    """Nobody else adds or removes one meanwhile: the feed is on exactly while there is one. The feed comes first, as
    where it is read."""
    feed.lock(session)
    session.execute(text("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE"))


def draw_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def add(session: DbSession, url: str, kinds: Sequence[str], actor: str) -> Webhook:
    """Tell this address from now on what happens of these kinds. Its secret stands in the row."""
    lock_table(session)
    webhook = Webhook(url=url, kinds=sorted(set(kinds)), secret=draw_secret(), made_by=actor)
    session.add(webhook)
    session.flush()
    feed.start(session)
    note(session, webhook.id, "added", actor, kinds=webhook.kinds)
    return webhook


def note(session: DbSession, webhook_id: uuid.UUID, what: str, actor: str, reason: str = "", **detail: Any) -> None:
    detail |= {"reason": reason} if reason else {}
    write_history(session, SUBJECT, str(webhook_id), f"webhook.{what}", actor=actor, detail=detail)


def lock(session: DbSession, webhook_id: uuid.UUID) -> Webhook:
    """The row, locked until the transaction ends. Raises NoSuchWebhook."""
    webhook = session.get(Webhook, webhook_id, with_for_update=True, populate_existing=True)
    if webhook is None or webhook.removed_at is not None:
        raise NoSuchWebhook(f"nobody is told by {webhook_id}, or not any more")
    return webhook


def rotate(session: DbSession, webhook_id: uuid.UUID, actor: str, reason: str = "") -> Webhook:
    """Sign with a new secret and, for a day, with the one before as well. Raises NoSuchWebhook."""
    webhook = lock(session, webhook_id)
    webhook.earlier_secret, webhook.secret, webhook.rotated_at = webhook.secret, draw_secret(), database_now(session)
    note(session, webhook_id, "rotated", actor, reason=reason)
    return webhook


def pause(session: DbSession, webhook_id: uuid.UUID, actor: str, reason: str) -> bool:
    """Send it nothing until it is resumed; what it is owed waits. False where it is paused already. What is being sent
    this moment still arrives. Raises NoSuchWebhook."""
    webhook = lock(session, webhook_id)
    if webhook.paused_at is not None:
        return False
    webhook.paused_at, webhook.paused_by, webhook.paused_reason = database_now(session), actor, reason
    session.flush()
    take_back(session, SUBJECT, str(webhook_id))
    note(session, webhook_id, "paused", actor, reason=reason)
    return True


def resume(session: DbSession, webhook_id: uuid.UUID, actor: str, reason: str) -> bool:
    """Deliver again, what waits first. False where it is not paused. Raises NoSuchWebhook."""
    webhook = lock(session, webhook_id)
    if webhook.paused_at is None:
        return False
    webhook.paused_at = webhook.paused_by = webhook.paused_reason = None
    session.flush()
    enqueue_owed(session, webhook_id)
    note(session, webhook_id, "resumed", actor, reason=reason)
    return True


def remove(session: DbSession, webhook_id: uuid.UUID, actor: str, reason: str = "") -> int:
    """Tell this receiver nothing more, and forget its secrets. Returns how many deliveries were withdrawn; one that is
    being sent this moment may still arrive. Raises NoSuchWebhook."""
    lock_table(session)
    webhook = lock(session, webhook_id)
    webhook.removed_at, webhook.removed_by = database_now(session), actor
    webhook.secret = webhook.earlier_secret = webhook.rotated_at = None
    webhook.paused_at = webhook.paused_by = webhook.paused_reason = None
    session.flush()
    open_ones = update(WebhookDelivery).where(
        WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.state == PENDING
    )
    withdrawn: Any = session.execute(open_ones.values(state=WITHDRAWN, finished_at=NOW))
    take_back(session, SUBJECT, str(webhook_id))
    close_cases(session, SUBJECT, str(webhook_id), "it is not told any more", actor=actor)
    if not session.execute(select(func.count()).where(Webhook.removed_at.is_(None))).scalar_one():
        feed.stop(session)
    note(session, webhook_id, "removed", actor, withdrawn=withdrawn.rowcount, reason=reason)
    return int(withdrawn.rowcount)


# -- what they are owed ---------------------------------------------------------


def fan_out(session: DbSession) -> None:
    """Turn what happened since the last time into deliveries, and see to it that each receiver that is owed any has
    work. While nobody is told anything, that is one statement."""
    happened = feed.take(session)
    if happened is None:
        return
    told = [(event, found) for event in happened if (found := events.read(event)) is not None]
    synthetic = {tuple(row) for row in session.execute(text(flows().synthetic))} if told else set()
    told = [each for each in told if each[0].moved_to is None or about(each[0]) not in synthetic]
    # A receiver that is being removed waits for us, or has its row no more.
    receivers = select(Webhook.id, Webhook.kinds, Webhook.made_at).where(Webhook.removed_at.is_(None))
    rows = [
        owed(webhook.id, event, *found)
        for webhook in session.execute(receivers.with_for_update(read=True)).all()
        for event, found in told
        if found[0] in webhook.kinds and event.at >= webhook.made_at
    ]
    if rows:
        session.execute(insert(WebhookDelivery).values(rows).on_conflict_do_nothing())
    for webhook_id in session.execute(OWED).scalars().all():
        DELIVER.enqueue(session, str(webhook_id))


def about(event: feed.Event) -> tuple[str, str]:
    return event.subject_type, event.subject_id


def owed(webhook_id: uuid.UUID, event: feed.Event, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": id_from("webhook_delivery", webhook_id, event.key, event.at.isoformat()),
        "webhook_id": webhook_id,
        "event": event.key,
        "kind": kind,
        "data": data,
        "occurred_at": event.at,
    }


def once_more(webhook_id: uuid.UUID, since: datetime | None, deliveries: Sequence[uuid.UUID]) -> list[Any]:
    """Conditions for what a redelivery sends again: what was delivered or refused since then, or these deliveries, or
    without either what was refused."""
    of = [WebhookDelivery.webhook_id == webhook_id]
    if deliveries:
        of.append(WebhookDelivery.id.in_(deliveries))
    elif since is not None:
        of.append(WebhookDelivery.occurred_at >= since)
    over = (DELIVERED, REFUSED) if deliveries or since is not None else (REFUSED,)
    return [*of, WebhookDelivery.state.in_(over)]


def redeliver(
    session: DbSession,
    webhook_id: uuid.UUID,
    actor: str,
    since: datetime | None = None,
    deliveries: Sequence[uuid.UUID] = (),
    reason: str = "",
) -> int:
    """Send once more, under the same ids, what `once_more` says, and at once what waits. Returns how many are sent once
    more. To a receiver that is paused they go when it is resumed. Raises NoSuchWebhook."""
    paused = lock(session, webhook_id).paused_at is not None
    values = {"state": PENDING, "finished_at": None, "refusals": 0, "refused_with": None, "due_at": NOW}
    again = update(WebhookDelivery).where(*once_more(webhook_id, since, deliveries))
    found: Any = session.execute(again.values(**values))
    waits = update(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.state == PENDING)
    session.execute(waits.values(due_at=NOW))
    if not paused:
        DELIVER.enqueue(session, str(webhook_id))
        hasten(session, SUBJECT, str(webhook_id))
    note(session, webhook_id, "redelivered", actor, deliveries=found.rowcount, reason=reason)
    return int(found.rowcount)


# -- the job's ------------------------------------------------------------------


def load(session: DbSession, webhook_id: str) -> Batch | None:
    """The oldest deliveries that are due; None where there are none, or nobody is told any more or for now."""
    webhook = session.get(Webhook, uuid.UUID(webhook_id))
    if webhook is None or webhook.secret is None or webhook.paused_at is not None:
        return None
    due = select(WebhookDelivery).where(
        WebhookDelivery.webhook_id == webhook.id, WebhookDelivery.state == PENDING, WebhookDelivery.due_at <= NOW
    )
    rows = session.execute(due.order_by(WebhookDelivery.sequence).limit(BATCH)).scalars().all()
    if not rows:
        return None
    owed = tuple(Owed(row.id, events.body(row.kind, row.occurred_at, row.sequence, row.data)) for row in rows)
    return Batch(webhook.url, secrets_of(webhook, database_now(session)), owed)


def secrets_of(webhook: Webhook, now: datetime) -> tuple[str, ...]:
    """What a delivery is signed with now, the newest first."""
    both = webhook.rotated_at is not None and webhook.rotated_at > now - BOTH_SECRETS
    return tuple(each for each in (webhook.secret, webhook.earlier_secret if both else None) if each is not None)


def record(
    session: DbSession,
    webhook_id: str,
    taken: Sequence[uuid.UUID],
    refused: Mapping[uuid.UUID, int],
    wait_seconds: float = 0.0,
) -> None:
    """What one attempt came to: what was taken, and what was refused with which HTTP status. If more is due, it is
    enqueued at once, or after `wait_seconds` where the receiver said in the midst of it that it takes no more."""
    if taken:
        pending = update(WebhookDelivery).where(WebhookDelivery.id.in_(taken), WebhookDelivery.state == PENDING)
        session.execute(pending.values(state=DELIVERED, finished_at=NOW, refused_with=None))
        close_cases(session, SUBJECT, webhook_id, "it takes deliveries again", kinds=[FAILING])
    if refused:
        record_refused(session, webhook_id, refused)
    enqueue_owed(session, uuid.UUID(webhook_id), wait_seconds)


def enqueue_owed(session: DbSession, webhook_id: uuid.UUID, delay_seconds: float = 0.0) -> None:
    """Have the receiver told what is due, if there is any and nothing does that yet."""
    if session.execute(text(OWED.text + " AND w.id = :webhook_id"), {"webhook_id": webhook_id}).first() is not None:
        DELIVER.enqueue(session, str(webhook_id), delay_seconds=delay_seconds)


def record_refused(session: DbSession, webhook_id: str, refused: Mapping[uuid.UUID, int]) -> None:
    values = {"scale": settings().retry_scale, "first": FIRST_DELAY, "last": LAST_DELAY, "refused_for": REFUSED_FOR}
    values |= {"ids": list(refused), "statuses": list(refused.values())}
    for row in session.execute(REFUSE, values).all():
        if row.state == REFUSED:
            open_case(session, REFUSED_CASE, SUBJECT, webhook_id, {"delivery": str(row.id)})


def give_up(session: DbSession, webhook_id: str, kind: str, details: dict[str, Any]) -> None:
    """Nobody answered there for days, or it is gone: its message is parked, and what it is owed waits."""
    open_case(session, FAILING, SUBJECT, webhook_id, {**details, "why": kind})


# -- the audit's ----------------------------------------------------------------


def enqueue_again(db: Database, webhook_id: Any, known: audit.Known) -> bool:
    return DELIVER.enqueue(db, str(webhook_id)) is not None  # type: ignore[arg-type]


WITHOUT_WORK = audit.LedgerRule(
    "webhook_without_work",
    "a receiver of webhooks is owed deliveries, and nothing delivers them",
    FORGOTTEN,
    then="The work that delivers them is enqueued again.",
    repair=enqueue_again,
)
