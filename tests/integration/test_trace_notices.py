"""The trace reads notices too: a text sent twice is undone by nobody."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flaskapp.audit.trace import Step, trace
from flaskapp.db import transaction
from sandbox.scenarios import with_habit
from tests.house import ADA, House, eventually
from tests.integration.steps import command, file_claim, filed_and_not_told_yet, sweep, told
from tests.integration.test_callbacks import BLOCKED, DELIVERED, body, post
from tests.integration.test_notices import THREE_DAYS, ended_at_va_notify


def illegal(house: House) -> list[Step]:
    """What is wrong with the history of the one notice there is."""
    with transaction() as session:
        found = trace(session, "notification")
    assert found.read == 1
    return found.illegal


def call_back(house: House, status: str, second: int = 9) -> None:
    assert post(house, body(house.value("SELECT id FROM notifications"), status, second)).status_code == 200


def called_back_before_it_was_sent(house: House) -> None:
    filed_and_not_told_yet(house)
    call_back(house, DELIVERED)


def called_back_both_ways(house: House) -> None:
    told(house)
    call_back(house, BLOCKED, 1)
    call_back(house, DELIVERED, 2)


def sent_and_found(house: House) -> None:
    house.control.set("va_notify", "drop", times=1, operation="POST")
    told(house)


def sent_again_after_two_denials(house: House) -> None:
    house.control.set("va_notify", "status", status=500, times=1, operation="POST")
    told(house)


def refused_and_taken_up_again(house: House) -> None:
    house.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    told(house)
    house.fakes.fakes.va_notify.lifecycle.reset()
    (parked,) = house.messages()
    assert command(house, "outbox", "requeue", str(parked["id"])).exit_code == 0
    house.work()


def asked_after_in_vain(house: House) -> None:
    file_claim(house, with_habit("blocked"))
    house.work()
    eventually(ended_at_va_notify(house, "permanent-failure"))
    house.move_clock(THREE_DAYS)
    sweep(house)
    house.work()


def lost_and_repaired(house: House) -> None:
    told(house)
    house.rows("DELETE FROM notifications RETURNING 1")
    assert "VANotify is asked first" in command(house, "audit", "--repair").stdout
    house.work()


STORIES = [
    filed_and_not_told_yet,
    told,
    called_back_before_it_was_sent,
    called_back_both_ways,
    sent_and_found,
    sent_again_after_two_denials,
    refused_and_taken_up_again,
    asked_after_in_vain,
    lost_and_repaired,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_the_product_does_with_a_notice_is_legal(house: House, story: Callable[[House], object]) -> None:
    story(house)
    assert illegal(house) == []


OF_NOTICE = "subject_type = 'notification'"
A_MESSAGE = """
    INSERT INTO outbox_messages (job, queue, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT 'jobs.notifications.send_notice', 'notifications', 'notification', id::text, 'later',
           outbox_now() + interval '1 day', outbox_now(), outbox_now() FROM notifications
"""


def move(before: str, after: str, actor: str = "ana") -> str:
    return f"""
        INSERT INTO outbox_history (subject_type, subject_id, what, moved_from, moved_to, actor)
        SELECT 'notification', id::text, 'notification.moved', '{before}', '{after}', '{actor}' FROM notifications
    """


@pytest.mark.parametrize(
    ("statements", "why"),
    [
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
        ([f"DELETE FROM outbox_attempts WHERE {OF_NOTICE}"], "moved to sent though no attempt had succeeded"),
        (
            [f"DELETE FROM outbox_history WHERE {OF_NOTICE}", "UPDATE notifications SET state = 'pending'"],
            "it is pending, and nobody owes the next step",
        ),
        (
            [
                f"DELETE FROM outbox_history WHERE {OF_NOTICE}",
                move("pending", "withdrawn"),
                """UPDATE notifications SET state = 'withdrawn', finished_at = outbox_now(), superseded_why = 'so'""",
                A_MESSAGE,
            ],
            "still works on it",
        ),
    ],
)
def test_the_first_illegal_step_of_a_notice_is_named(house: House, statements: list[str], why: str) -> None:
    sent_and_found(house)
    for statement in statements:
        house.rows(f"{statement} RETURNING 1")
    (step,) = illegal(house)
    assert why in step.why
    result = command(house, "audit", "--trace")
    assert (result.exit_code, f"illegal: notification {step.subject_id}" in result.stdout) == (1, True)


def test_a_notice_whose_row_is_gone_is_missed_by_its_submission_and_not_by_the_trace(house: House) -> None:
    told(house)
    house.rows("DELETE FROM notifications RETURNING 1")
    assert illegal(house) == []
    assert "unnoticed" in command(house, "audit").stdout
