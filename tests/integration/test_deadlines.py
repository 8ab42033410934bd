"""Deadlines of messages: each comes from its flow's own rule."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from flaskapp import REGISTERED
from flaskapp.accounts.service import Identity, remember_person
from flaskapp.cases.service import raise_alert
from flaskapp.clock import next_midnight
from flaskapp.current import database_now
from flaskapp.db import DbSession, transaction
from flaskapp.flows import Content
from flaskapp.form526 import documents, polling
from flaskapp.form526 import service as form526
from flaskapp.form526.models import DocumentSubmission, Submission
from flaskapp.intent_to_file import first_look
from flaskapp.intent_to_file import service as intent_to_file
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.service import REFRESH
from flaskapp.notifications.service import enqueue_delivery_checks, enqueue_notification
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.service import enqueue_filing
from flaskapp.travel_pay import service as travel_pay
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.webhooks import service as webhooks
from tests.integration.steps import reconfigure
from tests.product import Product

HOUR = timedelta(hours=1)
# Hours from when it was enqueued. An ITF has the end of the legal day of its request instead.
RULES = {
    "jobs.travel_claims.file_check_in_claim": 25 * HOUR,
    "jobs.travel_pay.identify_traveler": 25 * HOUR,
    "jobs.travel_pay.find_appointment": 25 * HOUR,
    "jobs.travel_pay.begin_claim": 25 * HOUR,
    "jobs.travel_pay.add_mileage": 25 * HOUR,
    "jobs.travel_pay.submit_travel_pay_claim": 25 * HOUR,
    "jobs.form526.identify_person": 24 * HOUR,
    "jobs.form526.submit_form": 24 * HOUR,
    "jobs.documents.upload_document": 24 * HOUR,
    "jobs.documents.poll_statuses": 2 * HOUR,
    "jobs.notifications.send_notification": 24 * HOUR,
    "jobs.notifications.check_delivery": 24 * HOUR,
    "jobs.alerts.send_alert": HOUR,
    "jobs.first_look.identify_visitor": timedelta(minutes=1),
    "jobs.first_look.look_for_itf": timedelta(minutes=1),
    "jobs.intent_to_file.refresh_itf": timedelta(),
    "jobs.webhooks.deliver": 72 * HOUR,
}
BY_LEGAL_DAY = {"jobs.intent_to_file.identify_person", "jobs.intent_to_file.create_itf"}


@contextmanager
def enqueuing(product: Product) -> Iterator[DbSession]:
    """A transaction in which a flow enqueues its work."""
    with product.app.test_request_context(), transaction() as session:
        yield session


def deadlines(product: Product) -> dict[str, list[tuple[timedelta, datetime]]]:
    """How long each job has from when it was enqueued, and its deadline itself."""
    rows = product.rows("SELECT job, deadline_at - created_at AS span, deadline_at FROM outbox_messages ORDER BY id")
    found: dict[str, list[tuple[timedelta, datetime]]] = {}
    for row in rows:
        found.setdefault(row.job, []).append((row.span, row.deadline_at))
    return found


def spans(product: Product) -> dict[str, timedelta]:
    return {job: span for job, ((span, _),) in deadlines(product).items()}


def people(session: DbSession) -> tuple[uuid.UUID, uuid.UUID]:
    """The accounts of a stranger and of somebody we know."""
    stranger, known = uuid.uuid4(), uuid.uuid4()
    remember_person(session, known, Identity("1012667145V762142", email="ada@example.com"))
    return stranger, known


def enqueue_itf(session: DbSession, midnight: datetime) -> None:
    for account_id in people(session):
        itf = IntentToFile(id=uuid.uuid4(), account_id=account_id, legal_midnight_at=midnight)
        intent_to_file.enqueue_creation(session, itf)


def enqueue_form(session: DbSession) -> None:
    for account_id in people(session):
        form526.enqueue_submission(session, Submission(id=uuid.uuid4(), account_id=account_id))
    documents.enqueue_upload(session, DocumentSubmission(id=uuid.uuid4()))
    polling.POLL_WORK.enqueue(session, str(uuid.uuid4()))


def enqueue_travel_pay(session: DbSession, requested_at: datetime) -> None:
    """The first step of a stranger, who must be identified, then each step of somebody we know."""
    stranger, known = people(session)
    values: dict[str, Any] = {"requested_at": requested_at}
    travel_pay.enqueue_step(session, TravelPayClaim(id=uuid.uuid4(), account_id=stranger, step="appointment", **values))
    for step in travel_pay.STEP_WORKS:
        travel_pay.enqueue_step(session, TravelPayClaim(id=uuid.uuid4(), account_id=known, step=step, **values))


def enqueue_notifying(session: DbSession) -> None:
    """A notification, the question whether it was delivered, and an alert."""
    enqueue_notification(session, "toy", "1", "created", 0, Content("oh", {"phone": "x"}, {}, "sms"))
    sent = "UPDATE notifications SET state = 'sent', sent_at = outbox_now() - interval '4 days'"
    session.execute(text(sent))
    assert enqueue_delivery_checks(session) == 1
    raise_alert(session, uuid.uuid4(), "refused", "toy", "1", "somebody")


def test_every_job_has_a_rule() -> None:
    assert {*RULES, *BY_LEGAL_DAY} == set(REGISTERED.works)


def test_each_flows_work_is_due_when_its_rule_says(product: Product) -> None:
    reconfigure(product, alert_webhook_url="http://127.0.0.1:9")
    with enqueuing(product) as session:
        now = database_now(session)
        enqueue_filing(session, TravelClaim(id=uuid.uuid4()))
        enqueue_travel_pay(session, now)
        enqueue_form(session)
        enqueue_notifying(session)
        REFRESH.enqueue(session, str(uuid.uuid4()), delay_seconds=30.0)
        for work in (first_look.IDENTIFY, first_look.LOOK, webhooks.DELIVER):
            work.enqueue(session, str(uuid.uuid4()))
        enqueue_itf(session, now + 7 * HOUR)
    assert spans(product) == {**RULES, **dict.fromkeys(BY_LEGAL_DAY, 7 * HOUR)}


def test_an_itf_is_due_at_the_end_of_its_legal_day_however_late_a_step_is_enqueued(
    product: Product,
) -> None:
    with enqueuing(product) as session:
        requested_at = database_now(session) - 30 * HOUR
        midnight = next_midnight(requested_at, product.app.extensions["config"].legal_time_zone)
        enqueue_itf(session, midnight)
    assert {timestamp for steps in deadlines(product).values() for _, timestamp in steps} == {midnight}


def test_all_steps_of_a_travel_pay_claim_share_its_deadline(product: Product) -> None:
    with enqueuing(product) as session:
        enqueue_travel_pay(session, database_now(session) - 10 * HOUR)
    assert set(spans(product).values()) == {15 * HOUR}


def test_a_step_after_the_deadline_still_gets_an_hour(product: Product) -> None:
    with enqueuing(product) as session:
        enqueue_travel_pay(session, database_now(session) - 40 * HOUR)
    assert set(spans(product).values()) == {HOUR}
