"""Answers that come when nobody is waiting any more: none is dropped, and none is guessed over."""

from __future__ import annotations

from typing import Any

from flaskapp.travel_claims.service import Filed
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.travel_claims import Filing
from tests.house import House, eventually
from tests.integration.steps import (
    LATER_THAN_EVER,
    SUBMIT,
    Asked,
    call,
    command,
    file_claim,
    look_ups,
    lose,
    sweep,
    take,
    texts,
)


def attempts(house: House) -> list[tuple[Any, ...]]:
    rows = house.rows("SELECT purpose, status, late FROM outbox_attempts WHERE upstream = 'btsss' ORDER BY id")
    return [tuple(row) for row in rows]


def number_of(house: House) -> str:
    (filed,) = house.filed()
    return str(filed["number"])


def test_a_late_answer_is_used_by_the_next_attempt_without_asking_anybody(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    outcome = call(house, held)
    lose(house, held)
    assert attempts(house) == [("write", "unknown", False)]
    runner.finish(SUBMIT, held, outcome)
    assert attempts(house) == [("write", "success", True)]
    house.work()
    assert (asked.state["state"], texts(house)) == ("submitted", ["cie.created"])
    assert asked.state["claim_number_last_four"] == number_of(house)[-4:]
    assert (len(house.submits()), look_ups(house), house.cases()) == (1, 0, [])


def test_a_late_answer_wakes_a_look_up_that_was_waiting_for_later(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    outcome = call(house, held)
    lose(house, held)
    house.rows("UPDATE outbox_messages SET state = 'later', due_at = outbox_now() + interval '1 hour' RETURNING 1")
    runner.finish(SUBMIT, held, outcome)
    house.work()
    assert (asked.state["state"], look_ups(house)) == ("submitted", 0)


def test_an_answer_that_comes_while_a_look_up_finds_nothing_beats_it(house: House) -> None:
    asked = file_claim(house)
    first = take(house, asked)
    answer = call(house, first)
    lose(house, first)
    second = take(house, asked)
    assert second.purpose == "look_up"
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, second, Outcome("not_found"))
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)
    assert asked.state["claim_number_last_four"] == number_of(house)[-4:]


def test_a_late_answer_with_another_number_opens_a_case(house: House) -> None:
    asked = file_claim(house)
    first = take(house, asked)
    lose(house, first)
    house.work()
    assert asked.state["state"] == "submitted"
    other = Filing("submitted", "created", Filed("TC202601999999999", "answered"))
    runner.finish(SUBMIT, first, Outcome("accepted", answer=other))
    assert house.cases() == ["conflicting_answers"]
    (details,) = house.rows("SELECT details FROM cases")
    assert len(details[0]["attempts"]) == 2
    assert texts(house) == ["cie.created"]


def test_a_late_answer_with_the_same_number_is_kept_and_troubles_nobody(house: House) -> None:
    asked = file_claim(house)
    first = take(house, asked)
    answer = call(house, first)
    lose(house, first)
    house.work()
    assert (asked.state["state"], look_ups(house)) == ("submitted", 1)
    runner.finish(SUBMIT, first, answer)
    assert attempts(house)[0] == ("write", "success", True)
    assert house.cases() == []


def given_up(house: House) -> tuple[Asked, Any, Outcome]:
    """A claim given up unresolved while its first attempt, which BTSSS accepted, is still on its way back."""
    asked = file_claim(house)
    held = take(house, asked)
    outcome = call(house, held)
    lose(house, held)
    house.move_clock(LATER_THAN_EVER)
    sweep(house)
    assert (asked.state["state"], asked.state["unconfirmed"]) == ("failed", True)
    return asked, held, outcome


def test_an_acceptance_after_we_gave_up_fetches_a_human_who_can_requeue_it(house: House) -> None:
    asked, held, outcome = given_up(house)
    runner.finish(SUBMIT, held, outcome)
    assert "answered_late" in house.cases()
    assert asked.state["state"] == "failed"
    assert command(house, "outbox", "requeue", str(asked.message["id"])).exit_code == 0
    house.work()
    assert asked.state["state"] == "submitted"
    assert texts(house) == ["cie.created"]
    assert (len(house.submits()), look_ups(house), house.cases()) == (1, 0, [])


def test_an_answer_is_settled_once_however_often_it_is_brought(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    outcome = call(house, held)
    for _ in range(3):
        runner.finish(SUBMIT, held, outcome)
    house.work()
    assert attempts(house) == [("write", "success", False)]
    assert house.value("SELECT count(*) FROM notifications") == 1
    assert (texts(house), house.cases()) == (["cie.created"], [])
    assert asked.state["state"] == "submitted"


def test_a_stale_pointer_makes_no_call(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    for fence in (held.fence, held.fence + 1):
        runner.run(SUBMIT, held.message_id, fence)
    assert house.submits() == []
    runner.finish(SUBMIT, held, call(house, held))
    runner.run(SUBMIT, held.message_id, held.fence)
    assert len(house.submits()) == 1


def test_a_worker_that_died_in_the_middle_of_the_call_files_nothing_twice(house: House) -> None:
    asked = file_claim(house)
    held = take(house, asked)
    call(house, held)
    lose(house, held)
    house.work()
    assert (asked.state["state"], len(house.submits()), look_ups(house)) == ("submitted", 1, 1)
    assert eventually(house.control.phone)[0]["template"] == "cie.created"
    (row,) = house.rows("SELECT error_class FROM outbox_attempts WHERE status = 'unknown'")
    assert row.error_class == "WorkerLost"


def test_a_worker_that_died_before_the_call_sends_after_looking_twice(house: House) -> None:
    asked = file_claim(house)
    lose(house, take(house, asked))
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)
    assert look_ups(house) >= 2
