"""Late answers: those that arrive when nobody waits any more are never dropped, and never overruled by a guess."""

from __future__ import annotations

from typing import Any

from flaskapp.travel_claims.service import Filed
from flaskapp.upstreams.errors import Duplicate, Rejected
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.travel_claims import Filing
from tests.integration.steps import (
    LATER_THAN_EVER,
    SUBMIT,
    RequestedClaim,
    call,
    command,
    file_claim,
    look_ups,
    lose,
    plant,
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


def test_a_late_answer_is_used_by_the_next_attempt_without_a_look_up(product: Product) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    assert attempts(product) == [("write", "unknown", False)]
    runner.finish(SUBMIT, granted, outcome)
    assert attempts(product) == [("write", "success", True)]
    product.work()
    assert (claim.state["state"], texts(product)) == ("submitted", ["cie.created"])
    assert claim.state["claim_number_last_four"] == number_of(product)[-4:]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, 0, [])


def test_a_late_answer_makes_a_delayed_look_up_due_at_once(product: Product) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    product.rows("UPDATE outbox_messages SET state = 'later', due_at = outbox_now() + interval '1 hour' RETURNING 1")
    runner.finish(SUBMIT, granted, outcome)
    product.work()
    assert (claim.state["state"], look_ups(product)) == ("submitted", 0)


def test_an_answer_that_arrives_during_an_empty_look_up_wins(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    second = take(product, claim)
    assert second.purpose == "look_up"
    runner.finish(SUBMIT, first, answer)
    runner.finish(SUBMIT, second, Outcome("not_found"))
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)
    assert claim.state["claim_number_last_four"] == number_of(product)[-4:]


def test_a_late_answer_with_another_number_opens_a_case(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    lose(product, first)
    product.work()
    assert claim.state["state"] == "submitted"
    other = Filing("submitted", "created", Filed("TC202601999999999", "answered"))
    runner.finish(SUBMIT, first, Outcome("accepted", answer=other))
    assert product.cases() == ["conflicting_answers"]
    (details,) = product.rows("SELECT details FROM cases")
    assert len(details[0]["attempts"]) == 2
    assert texts(product) == ["cie.created"]


def test_a_late_answer_with_the_same_number_is_kept_without_a_case(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    product.work()
    assert (claim.state["state"], look_ups(product)) == ("submitted", 1)
    runner.finish(SUBMIT, first, answer)
    assert attempts(product)[0] == ("write", "success", True)
    assert product.cases() == []


def test_a_late_answer_without_a_number_contradicts_no_other(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    lose(product, first)
    product.work()
    assert claim.state["state"] == "submitted"
    unnumbered = Filing("submitted", "created", Filed(None, "answered"))
    runner.finish(SUBMIT, first, Outcome("accepted", answer=unnumbered))
    assert attempts(product)[0] == ("write", "success", True)
    assert product.cases() == []


def concluded(product: Product, age_seconds: float) -> tuple[RequestedClaim, Any, dict[str, Any]]:
    """A look-up of a lost submit found a claim of this age; the submit is still unanswered."""
    claim = file_claim(product)
    first = take(product, claim)
    lose(product, first)
    planted = plant(product, age_seconds=age_seconds)
    product.work()
    return claim, first, planted


def test_a_duplicate_is_ours_once_our_submit_is_answered_with_its_number(product: Product) -> None:
    claim, first, planted = concluded(product, age_seconds=60)
    assert (claim.state["state"], texts(product)) == ("duplicate", ["cie.duplicate"])
    accepted = Filing("submitted", "created", Filed(planted["number"], "answered"))
    for _ in range(2):
        runner.finish(SUBMIT, first, Outcome("accepted", answer=accepted))
    product.work()
    assert (claim.state["state"], texts(product, 2)) == ("submitted", ["cie.duplicate", "cie.created"])
    assert (claim.state["claim_number_last_four"], product.cases()) == (planted["number"][-4:], [])


def test_a_claim_presumed_ours_is_somebody_elses_once_our_submit_is_refused(product: Product) -> None:
    claim, first, planted = concluded(product, age_seconds=-30)
    assert (claim.state["state"], texts(product)) == ("submitted", ["cie.created"])
    runner.finish(SUBMIT, first, Outcome("duplicate", error=Duplicate("btsss")))
    product.work()
    assert (claim.state["state"], texts(product, 2)) == ("duplicate", ["cie.created", "cie.duplicate"])
    traced = command(product, "audit", "--trace")
    assert traced.exit_code == 0, traced.output
    assert (claim.state["claim_number_last_four"], product.cases()) == (planted["number"][-4:], [])


def test_the_number_of_a_claim_presumed_ours_is_the_one_that_our_submit_was_answered_with(product: Product) -> None:
    claim, first, _ = concluded(product, age_seconds=-30)
    accepted = Filing("submitted", "created", Filed("TC202601999999999", "answered"))
    runner.finish(SUBMIT, first, Outcome("accepted", answer=accepted))
    assert (claim.state["state"], claim.state["claim_number_last_four"]) == ("submitted", "9999")
    assert product.cases() == ["conflicting_answers"]


def test_an_answer_that_arrives_during_a_look_up_counts_before_what_that_found(product: Product) -> None:
    claim = file_claim(product)
    first = take(product, claim)
    answer = call(product, first)
    lose(product, first)
    second = take(product, claim)
    runner.finish(SUBMIT, first, answer)
    theirs = Filing("duplicate", "duplicate", Filed("TC202601999999999", "found"))
    runner.finish(SUBMIT, second, Outcome("accepted", answer=theirs))
    product.work()
    assert (claim.state["state"], claim.state["claim_number_last_four"]) == ("submitted", number_of(product)[-4:])
    assert (texts(product), product.cases()) == (["cie.created"], ["conflicting_answers"])


def given_up(product: Product) -> tuple[RequestedClaim, Any, Outcome]:
    """A claim given up unresolved, while the answer to its first attempt, which BTSSS accepted, is still on its way."""
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    assert (claim.state["state"], claim.state["unconfirmed"]) == ("failed", True)
    return claim, granted, outcome


def test_an_acceptance_after_giving_up_opens_a_case_and_a_requeue_uses_it(product: Product) -> None:
    claim, granted, outcome = given_up(product)
    runner.finish(SUBMIT, granted, outcome)
    assert "answered_late" in product.cases()
    assert claim.state["state"] == "failed"
    assert command(product, "outbox", "requeue", str(claim.message["id"])).exit_code == 0
    product.work()
    assert claim.state["state"] == "submitted"
    assert texts(product) == ["cie.created"]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, 0, [])


def test_an_acceptance_after_a_refusal_that_was_told_goes_to_a_human(product: Product) -> None:
    """The first submit is taken by a worker that is lost; what is sent again is refused, and the person told so."""
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    product.rows("UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL RETURNING 1")
    runner.finish(SUBMIT, take(product, claim), Outcome("refused", error=Rejected("btsss", http_status=400)))
    product.work()
    assert (claim.state["state"], product.cases(), texts(product)) == ("failed", ["refused"], ["cie.error"])
    runner.finish(SUBMIT, granted, outcome)
    assert (claim.state["state"], sorted(product.cases())) == ("failed", ["answered_late", "refused"])
    assert product.value("SELECT owner FROM cases WHERE kind = 'answered_late'")


def test_an_answer_is_settled_once_however_often_it_arrives(product: Product) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    for _ in range(3):
        runner.finish(SUBMIT, granted, outcome)
    product.work()
    assert attempts(product) == [("write", "success", False)]
    assert product.value("SELECT count(*) FROM notifications") == 1
    assert (texts(product), product.cases()) == (["cie.created"], [])
    assert claim.state["state"] == "submitted"


def test_a_stale_pointer_makes_no_call(product: Product) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    for fence in (granted.fence, granted.fence + 1):
        runner.run(SUBMIT, granted.message_id, fence)
    assert product.submits() == []
    runner.finish(SUBMIT, granted, call(product, granted))
    runner.run(SUBMIT, granted.message_id, granted.fence)
    assert len(product.submits()) == 1


def test_after_a_worker_died_during_the_call_nothing_is_filed_twice(product: Product) -> None:
    claim = file_claim(product)
    granted = take(product, claim)
    call(product, granted)
    lose(product, granted)
    product.work()
    assert (claim.state["state"], len(product.submits()), look_ups(product)) == ("submitted", 1, 1)
    assert eventually(product.control.phone)[0]["template"] == "cie.created"
    (row,) = product.rows("SELECT error_class FROM outbox_attempts WHERE status = 'unknown'")
    assert row.error_class == "WorkerLost"


def test_after_a_worker_died_before_the_call_the_claim_is_sent_after_two_look_ups(product: Product) -> None:
    claim = file_claim(product)
    lose(product, take(product, claim))
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)
    assert look_ups(product) >= 2
