"""Answers that come when nobody is waiting any more: none is dropped, and none is guessed over."""

from __future__ import annotations

from typing import Any

from flaskapp.travel_claims.service import Filed
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.travel_claims import Filing
from tests.integration.steps import (
    LATER_THAN_EVER,
    SUBMIT,
    RequestedAppointment,
    call,
    command,
    file_claim,
    look_ups,
    lose,
    sweep,
    take,
    texts,
)
from tests.product import Product, eventually


def attempts(product: Product) -> list[tuple[Any, ...]]:
    rows = product.rows("SELECT purpose, status, late FROM outbox_attempts WHERE upstream = 'btsss' ORDER BY id")
    return [tuple(row) for row in rows]


def number_of(product: Product) -> str:
    (filed,) = product.filed()
    return str(filed["number"])


def test_a_late_answer_is_used_by_the_next_attempt_without_asking_anybody(product: Product) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    outcome = call(product, held)
    lose(product, held)
    assert attempts(product) == [("write", "unknown", False)]
    runner.finish(SUBMIT, held, outcome)
    assert attempts(product) == [("write", "success", True)]
    product.work()
    assert (requested.state["state"], texts(product)) == ("submitted", ["cie.created"])
    assert requested.state["claim_number_last_four"] == number_of(product)[-4:]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, 0, [])


def test_a_late_answer_wakes_a_look_up_that_was_waiting_for_later(product: Product) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    outcome = call(product, held)
    lose(product, held)
    product.rows("UPDATE outbox_messages SET state = 'later', due_at = outbox_now() + interval '1 hour' RETURNING 1")
    runner.finish(SUBMIT, held, outcome)
    product.work()
    assert (requested.state["state"], look_ups(product)) == ("submitted", 0)


def test_an_answer_that_comes_while_a_look_up_finds_nothing_beats_it(product: Product) -> None:
    requested = file_claim(product)
    first = take(product, requested)
    answer = call(product, first)
    lose(product, first)
    second = take(product, requested)
    assert second.purpose == "look_up"
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, second, Outcome("not_found"))
    product.work()
    assert (requested.state["state"], len(product.submits())) == ("submitted", 1)
    assert requested.state["claim_number_last_four"] == number_of(product)[-4:]


def test_a_late_answer_with_another_number_opens_a_case(product: Product) -> None:
    requested = file_claim(product)
    first = take(product, requested)
    lose(product, first)
    product.work()
    assert requested.state["state"] == "submitted"
    other = Filing("submitted", "created", Filed("TC202601999999999", "answered"))
    runner.finish(SUBMIT, first, Outcome("accepted", answer=other))
    assert product.cases() == ["conflicting_answers"]
    (details,) = product.rows("SELECT details FROM cases")
    assert len(details[0]["attempts"]) == 2
    assert texts(product) == ["cie.created"]


def test_a_late_answer_with_the_same_number_is_kept_and_troubles_nobody(product: Product) -> None:
    requested = file_claim(product)
    first = take(product, requested)
    answer = call(product, first)
    lose(product, first)
    product.work()
    assert (requested.state["state"], look_ups(product)) == ("submitted", 1)
    runner.finish(SUBMIT, first, answer)
    assert attempts(product)[0] == ("write", "success", True)
    assert product.cases() == []


def given_up(product: Product) -> tuple[RequestedAppointment, Any, Outcome]:
    """A claim given up unresolved while its first attempt, which BTSSS accepted, is still on its way back."""
    requested = file_claim(product)
    held = take(product, requested)
    outcome = call(product, held)
    lose(product, held)
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    assert (requested.state["state"], requested.state["unconfirmed"]) == ("failed", True)
    return requested, held, outcome


def test_an_acceptance_after_we_gave_up_fetches_a_human_who_can_requeue_it(product: Product) -> None:
    requested, held, outcome = given_up(product)
    runner.finish(SUBMIT, held, outcome)
    assert "answered_late" in product.cases()
    assert requested.state["state"] == "failed"
    assert command(product, "outbox", "requeue", str(requested.message["id"])).exit_code == 0
    product.work()
    assert requested.state["state"] == "submitted"
    assert texts(product) == ["cie.created"]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, 0, [])


def test_an_answer_is_settled_once_however_often_it_is_brought(product: Product) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    outcome = call(product, held)
    for _ in range(3):
        runner.finish(SUBMIT, held, outcome)
    product.work()
    assert attempts(product) == [("write", "success", False)]
    assert product.value("SELECT count(*) FROM notifications") == 1
    assert (texts(product), product.cases()) == (["cie.created"], [])
    assert requested.state["state"] == "submitted"


def test_a_stale_pointer_makes_no_call(product: Product) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    for fence in (held.fence, held.fence + 1):
        runner.run(SUBMIT, held.message_id, fence)
    assert product.submits() == []
    runner.finish(SUBMIT, held, call(product, held))
    runner.run(SUBMIT, held.message_id, held.fence)
    assert len(product.submits()) == 1


def test_a_worker_that_died_in_the_middle_of_the_call_files_nothing_twice(product: Product) -> None:
    requested = file_claim(product)
    held = take(product, requested)
    call(product, held)
    lose(product, held)
    product.work()
    assert (requested.state["state"], len(product.submits()), look_ups(product)) == ("submitted", 1, 1)
    assert eventually(product.control.phone)[0]["template"] == "cie.created"
    (row,) = product.rows("SELECT error_class FROM outbox_attempts WHERE status = 'unknown'")
    assert row.error_class == "WorkerLost"


def test_a_worker_that_died_before_the_call_sends_after_looking_twice(product: Product) -> None:
    requested = file_claim(product)
    lose(product, take(product, requested))
    product.work()
    assert (requested.state["state"], len(product.submits())) == ("submitted", 1)
    assert look_ups(product) >= 2
