"""Cases that say they close themselves do: those of work put aside with the work, of a late answer with the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.service import close_ended, open_case
from flaskapp.db import db, transaction
from jobs import housekeeping
from jobs.engine import runner
from outbox import attempts
from tests.house import House
from tests.integration import form526_steps as form526
from tests.integration import travel_pay_filing
from tests.integration.itf_steps import pass_time, sign_in
from tests.integration.itf_upkeep import DUE
from tests.integration.steps import SEND, call, command, file_claim, filed_and_not_told_yet, lose, publish, sends, sweep
from tests.integration.test_callbacks import DELIVERED, body, post
from tests.integration.test_notices import THREE_DAYS
from tests.integration.test_notices import told as text_delivered


def a_comparison(house: House) -> None:
    sign_in(house).ask()
    house.work()
    pass_time(house, days=7)
    while house.value(DUE):
        pass_time(house, minutes=1)
        housekeeping.refresh_itfs()


def a_poll(house: House) -> None:
    form526.filer(house).file()
    house.work()
    pass_time(house, hours=1)
    housekeeping.poll_documents()


def a_question_about_a_text(house: House) -> None:
    text_delivered(house)
    house.move_clock(THREE_DAYS)
    sweep(house)


def a_text(house: House) -> None:
    filed_and_not_told_yet(house)


def a_text_that_came_back_delivered_meanwhile(house: House) -> None:
    """Nothing is left to be sent: its message is dropped."""
    filed_and_not_told_yet(house)
    reference = house.value("SELECT id FROM notifications")
    assert post(house, body(reference, DELIVERED)).status_code == 200


def a_step_of_several(house: House) -> None:
    travel_pay_filing.file(house)


STAYING = {"conflicting_answers", "dated_late", "broken", "notice_undeliverable", "parked_by_hand", "contradiction"}


def test_a_good_end_closes_the_same_cases_in_every_flow(house: House) -> None:
    """All but those that say of it what it does not settle."""
    with transaction() as session:
        for kind in KINDS:
            open_case(session, kind, "form526_document", "1")
        close_ended(session, "form526_document", "1", "it arrived")
    assert set(house.cases()) == STAYING


WORK = [
    a_comparison,
    a_poll,
    a_question_about_a_text,
    a_text,
    a_text_that_came_back_delivered_meanwhile,
    a_step_of_several,
]


@pytest.mark.parametrize("owed", WORK, ids=lambda owed: owed.__name__)
def test_the_case_of_work_put_aside_closes_when_that_work_is_done(house: House, owed: Callable[[House], None]) -> None:
    owed(house)
    (message,) = house.messages()
    number = str(message["id"])
    assert command(house, "outbox", "park", number, "--reason", "let us see").exit_code == 0
    assert command(house, "outbox", "requeue", number).exit_code == 0
    assert house.cases() == ["parked_by_hand"]
    house.work(until=lambda: number not in [str(each["id"]) for each in house.messages()])
    assert house.cases() == []
    closed = house.rows("SELECT detail ->> 'kind' FROM outbox_history WHERE what = 'case.closed'")
    assert [row[0] for row in closed] == ["parked_by_hand"]


def test_work_put_aside_keeps_its_case_whatever_becomes_of_its_subject(house: House) -> None:
    """The text arrived, its message is still parked: somebody has it until it is requeued and dropped."""
    filed_and_not_told_yet(house)
    (message,) = house.messages()
    assert command(house, "outbox", "park", str(message["id"]), "--reason", "let us see").exit_code == 0
    assert post(house, body(house.value("SELECT id FROM notifications"), DELIVERED)).status_code == 200
    assert house.cases() == ["parked_by_hand"]


def test_another_case_of_work_that_was_requeued_stays_with_its_human(house: House) -> None:
    asked = file_claim(house)
    number = str(asked.message["id"])
    assert command(house, "outbox", "park", number, "--reason", "let us see").exit_code == 0
    house.rows("UPDATE cases SET details = '{\"message\": 999999}' RETURNING 1")
    assert command(house, "outbox", "requeue", number).exit_code == 0
    house.work()
    assert house.cases() == ["parked_by_hand"]


def test_a_text_found_to_be_taken_after_it_was_given_up_closes_the_case_of_its_late_answer(house: House) -> None:
    filed_and_not_told_yet(house)
    publish(house)
    (message,) = house.messages()
    worker_id = house.app.extensions["process"].worker_id
    grant = attempts.grant(
        db.engine, message["id"], message["fence"], worker_id=worker_id, lease_seconds=60, writes=True
    )
    assert grant is not None
    house.redis.flushall()
    outcome = call(house, grant, SEND)
    lose(house, grant)
    house.move_clock(timedelta(days=3, hours=1))
    sweep(house)
    runner.finish(SEND, grant, outcome)
    assert {"notice_not_sent", "answered_late"} <= set(house.cases())
    assert command(house, "outbox", "requeue", str(message["id"])).exit_code == 0
    house.work()
    assert (house.cases(), len(sends(house))) == ([], 1)
