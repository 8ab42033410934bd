"""Cases that close themselves: those of work put aside close with the work, those of a late answer with the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.service import close_ended, open_case
from flaskapp.db import db, transaction
from jobs import housekeeping
from jobs.engine import runner
from outbox import grants
from tests.integration import form526_steps as form526
from tests.integration import travel_pay_filing
from tests.integration.itf_refresh_steps import DUE
from tests.integration.itf_steps import pass_time, sign_in
from tests.integration.steps import (
    SEND,
    call,
    command,
    file_claim,
    filed_and_not_notified_yet,
    lose,
    publish,
    sends,
    sweep,
)
from tests.integration.test_notifications import THREE_DAYS, delivered_text
from tests.integration.test_notifications_callbacks import DELIVERED, body, post
from tests.product import Product


def a_comparison(product: Product) -> None:
    sign_in(product).ask()
    product.work()
    pass_time(product, days=7)
    while product.value(DUE):
        pass_time(product, minutes=1)
        housekeeping.refresh_itfs()


def a_poll(product: Product) -> None:
    form526.filer(product).file()
    product.work()
    pass_time(product, hours=1)
    housekeeping.poll_documents()


def a_question_about_a_text(product: Product) -> None:
    delivered_text(product)
    product.move_clock(THREE_DAYS)
    sweep(product)


def a_text(product: Product) -> None:
    filed_and_not_notified_yet(product)


def a_text_that_came_back_delivered_meanwhile(product: Product) -> None:
    """Nothing is left to send, so its message is dropped."""
    filed_and_not_notified_yet(product)
    reference = product.value("SELECT id FROM notifications")
    assert post(product, body(reference, DELIVERED)).status_code == 200


def a_step_of_several(product: Product) -> None:
    travel_pay_filing.file(product)


STAYING = {
    "conflicting_answers",
    "dated_late",
    "broken",
    "notification_undeliverable",
    "parked_by_hand",
    "synthetic_late",
    "webhook_refused",
    "contradiction",
}


def test_success_closes_the_same_cases_in_every_flow(product: Product) -> None:
    """All cases close but those about something that a good end does not settle."""
    with transaction() as session:
        for kind in KINDS:
            open_case(session, kind, "form526_document", "1")
        close_ended(session, "form526_document", "1", "it arrived")
    assert set(product.cases()) == STAYING


WORK = [
    a_comparison,
    a_poll,
    a_question_about_a_text,
    a_text,
    a_text_that_came_back_delivered_meanwhile,
    a_step_of_several,
]


@pytest.mark.parametrize("add_work", WORK, ids=lambda each: each.__name__)
def test_the_case_of_work_put_aside_closes_when_that_work_is_done(
    product: Product, add_work: Callable[[Product], None]
) -> None:
    add_work(product)
    (message,) = product.messages()
    number = str(message["id"])
    assert command(product, "outbox", "park", number, "--reason", "let us see").exit_code == 0
    assert command(product, "outbox", "requeue", number).exit_code == 0
    assert product.cases() == ["parked_by_hand"]
    product.work(until=lambda: number not in [str(each["id"]) for each in product.messages()])
    assert product.cases() == []
    closed = product.rows("SELECT detail ->> 'kind' FROM outbox_history WHERE what = 'case.closed'")
    assert [row[0] for row in closed] == ["parked_by_hand"]


def test_work_put_aside_keeps_its_case_whatever_happens_to_its_subject(product: Product) -> None:
    """The text arrived, but its message is still parked: it stays with a human until it is requeued and dropped."""
    filed_and_not_notified_yet(product)
    (message,) = product.messages()
    assert command(product, "outbox", "park", str(message["id"]), "--reason", "let us see").exit_code == 0
    assert post(product, body(product.value("SELECT id FROM notifications"), DELIVERED)).status_code == 200
    assert product.cases() == ["parked_by_hand"]


def test_a_case_about_another_message_stays_open_after_a_requeue(product: Product) -> None:
    claim = file_claim(product)
    number = str(claim.message["id"])
    assert command(product, "outbox", "park", number, "--reason", "let us see").exit_code == 0
    product.rows("UPDATE cases SET details = '{\"message\": 999999}' RETURNING 1")
    assert command(product, "outbox", "requeue", number).exit_code == 0
    product.work()
    assert product.cases() == ["parked_by_hand"]


def test_a_text_found_sent_after_it_was_given_up_closes_the_case_of_its_late_answer(product: Product) -> None:
    filed_and_not_notified_yet(product)
    publish(product)
    (message,) = product.messages()
    worker_id = product.app.extensions["process"].worker_id
    grant = grants.grant(db.engine, message["id"], message["fence"], worker_id=worker_id, lease_seconds=60, writes=True)
    assert grant is not None
    product.redis.flushall()
    outcome = call(product, grant, SEND)
    lose(product, grant)
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    runner.finish(SEND, grant, outcome)
    assert {"notification_not_sent", "answered_late"} <= set(product.cases())
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    product.work()
    assert (product.cases(), len(sends(product))) == ([], 1)
