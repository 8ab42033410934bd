"""The trace of notifications: it finds illegal steps in their histories too, such as a text sent twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flaskapp.audit.trace import Step, trace
from flaskapp.db import transaction
from sandbox.upstreams.scenarios import with_habit
from tests.integration.steps import command, file_claim, filed_and_not_notified_yet, filed_and_notified, sweep, undone
from tests.integration.test_notifications import THREE_DAYS, ended_at_va_notify
from tests.integration.test_notifications_callbacks import BLOCKED, DELIVERED, body, post
from tests.product import ADA, Product, eventually


def illegal(product: Product) -> list[Step]:
    """The illegal steps of the only notification."""
    with transaction() as session:
        found = trace(session, "notification")
    assert found.histories_read == 1
    return found.illegal


def call_back(product: Product, status: str, second: int = 9) -> None:
    assert post(product, body(product.value("SELECT id FROM notifications"), status, second)).status_code == 200


def called_back_before_it_was_sent(product: Product) -> None:
    filed_and_not_notified_yet(product)
    call_back(product, DELIVERED)


def called_back_both_ways(product: Product) -> None:
    filed_and_notified(product)
    call_back(product, BLOCKED, 1)
    call_back(product, DELIVERED, 2)


def sent_and_found(product: Product) -> None:
    product.control.set("va_notify", "drop", times=1, operation="POST")
    filed_and_notified(product)


def sent_again_after_two_denials(product: Product) -> None:
    product.control.set("va_notify", "status", status=500, times=1, operation="POST")
    filed_and_notified(product)


def refused_and_taken_up_again(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    filed_and_notified(product)
    product.fakes.fakes.va_notify.lifecycle.reset()
    (parked,) = product.messages()
    assert command(product, "outbox", "requeue", str(parked["id"])).exit_code == 0
    product.work()


def polled_in_vain(product: Product) -> None:
    file_claim(product, with_habit("blocked"))
    product.work()
    eventually(ended_at_va_notify(product, "permanent-failure"))
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()


def lost_and_repaired(product: Product) -> None:
    filed_and_notified(product)
    product.rows("DELETE FROM notifications RETURNING 1")
    assert "is looked up at VANotify before it is sent" in command(product, "audit", "--repair").stdout
    product.work()


STAGES = [
    filed_and_not_notified_yet,
    filed_and_notified,
    called_back_before_it_was_sent,
    called_back_both_ways,
    sent_and_found,
    sent_again_after_two_denials,
    refused_and_taken_up_again,
    polled_in_vain,
    lost_and_repaired,
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_every_history_of_a_notification_made_by_the_product_is_legal(
    product: Product, stage: Callable[[Product], object]
) -> None:
    stage(product)
    assert illegal(product) == []


OF_NOTIFICATION = "subject_type = 'notification'"
A_MESSAGE = """
    INSERT INTO outbox_messages (job, queue, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT 'jobs.notifications.send_notification', 'notifications', 'notification', id::text, 'later',
           outbox_now() + interval '1 day', outbox_now(), outbox_now() FROM notifications
"""


def move(before: str, after: str, actor: str = "ana") -> str:
    return f"""
        INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor)
        SELECT 'notification', id::text, 'notification.moved', '{before}', '{after}', '{actor}' FROM notifications
    """


ILLEGAL = [
    (
        ["UPDATE outbox_attempts SET purpose = 'write' WHERE purpose = 'look_up'"],
        "sent again what attempt",
    ),
    ([move("delivered", "sent")], "moved from delivered while it was sent"),
    ([move("sent", "undeliverable"), move("undeliverable", "sent")], "which its states do not allow"),
    (
        [move("sent", "undeliverable"), move("undeliverable", "pending", "worker")],
        "taken up again by worker instead of an operator",
    ),
    (["UPDATE notifications SET state = 'delivered', finished_at = outbox_now()"], "its history ends with sent"),
    ([f"DELETE FROM outbox_attempts WHERE {OF_NOTIFICATION}"], "moved to sent though no attempt had succeeded"),
    (
        [f"DELETE FROM outbox_history WHERE {OF_NOTIFICATION}", "UPDATE notifications SET state = 'pending'"],
        "it is pending, but there is no work for its next step",
    ),
    (
        [
            f"DELETE FROM outbox_history WHERE {OF_NOTIFICATION}",
            move("pending", "withdrawn"),
            """UPDATE notifications SET state = 'withdrawn', finished_at = outbox_now(), superseded_why = 'so'""",
            A_MESSAGE,
        ],
        "still works on it",
    ),
]


def test_the_first_illegal_step_of_a_notification_is_named(product: Product) -> None:
    # VANotify gets no further: on a slow machine the look-up would find it delivered.
    product.control.turn("va_notify", delays=[600, 600, 600])
    sent_and_found(product)
    for statements, why in ILLEGAL:
        with undone():
            for statement in statements:
                product.rows(f"{statement} RETURNING 1")
            (step,) = illegal(product)
        assert why in step.why
    assert illegal(product) == []


def test_an_illegal_step_of_a_notification_is_an_error_of_the_audit(product: Product) -> None:
    product.control.turn("va_notify", delays=[600, 600, 600])
    filed_and_notified(product)
    product.rows(f"{move('delivered', 'sent')} RETURNING 1")
    (step,) = illegal(product)
    result = command(product, "audit", "--trace")
    assert (result.exit_code, f"illegal: notification {step.subject_id}" in result.stdout) == (1, True)


def test_a_deleted_notification_is_missed_by_its_submission_and_not_by_the_trace(product: Product) -> None:
    filed_and_notified(product)
    product.rows("DELETE FROM notifications RETURNING 1")
    assert illegal(product) == []
    assert "notification_missing" in command(product, "audit").stdout
