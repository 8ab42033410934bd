"""Pointers that are granted and settled together: wherever that ends, each message has a story of its own."""

from __future__ import annotations

from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from flaskapp.db import db
from jobs.engine.runner import Process
from jobs.processes import hand_back_rest
from jobs.worker import Bulkhead, Fetcher, InHand
from outbox import rescue, rq_side
from tests.integration.steps import RequestedClaim, file_claim, publish
from tests.product import Product

DAYS = ("2031-06-01", "2031-06-02", "2031-06-03")
ATTEMPTS = "SELECT message_id, purpose, status, late FROM outbox_attempts WHERE subject_id = :id ORDER BY id"


class Died(BaseException):
    """The process ends here."""


class Threads:
    """Threads that start when the test says so."""

    def __init__(self) -> None:
        self.submitted: list[tuple[Any, ...]] = []

    def submit(self, *work: Any) -> None:
        self.submitted.append(work)

    def run(self) -> None:
        submitted, self.submitted = self.submitted, []
        for work, *args in submitted:
            work(*args)


class Lane:
    """A worker's lane whose three claims were taken and granted together; nothing was sent yet."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.claims = [file_claim(product, date=day) for day in DAYS]
        queue = next(each for each in product.flows.queues if each.name == "travel_claims")
        self.bulkhead, self.threads = Bulkhead(queue), Threads()
        self.bulkhead.pool = self.threads  # type: ignore[assignment]
        self.fetcher = Fetcher(product.app, product.redis, self.bulkhead, "together", Event())
        self.answered: list[InHand] = []
        self.fetcher.gathering.put = self.answered.append  # type: ignore[method-assign]
        publish(product)
        found = self.fetcher.look()
        assert found is not None and len(found[0]) == 3
        self.fetcher.execute_job(*found)

    @property
    def process(self) -> Process:
        found: Process = self.product.app.extensions["process"]
        return found

    def free_threads(self) -> int:
        return int(self.bulkhead.slots._value)

    def settle(self) -> None:
        self.fetcher.settle_together(self.answered)
        self.threads.run()

    def attempts(self, claim: RequestedClaim) -> list[tuple[str, str]]:
        return [(row.purpose, row.status) for row in self.product.rows(ATTEMPTS, id=claim.id)]

    def give_up_for_dead(self) -> None:
        self.product.move_clock(timedelta(hours=1))
        assert rescue.rescue_lost(db.engine) == 3

    def states(self) -> list[tuple[str, str | None]]:
        return [(row["state"], row["unresolved_why"]) for row in self.product.messages()]


@pytest.fixture
def lane(product: Product) -> Lane:
    return Lane(product)


def everything_is_filed_once(lane: Lane) -> None:
    """Whatever is still in question is answered, some hours later; nobody has two claims."""
    for hours in range(1, 8):
        lane.product.move_clock(timedelta(hours=hours))
        lane.product.work(
            until=lambda: lane.product.value(
                "SELECT count(*) = 0 FROM outbox_messages WHERE state IN ('ready', 'published', 'running')"
            )
        )
    assert {claim.state["state"] for claim in lane.claims} == {"submitted"}
    assert len(lane.product.filed()) == 3


def test_a_batch_is_begun_and_recorded_with_one_statement_each_and_frees_its_threads(lane: Lane) -> None:
    assert {lane.attempts(claim)[0] for claim in lane.claims} == {("write", "try")}
    assert lane.free_threads() == lane.bulkhead.spec.threads - 3
    waiting, started = rq_side.pointers_held(lane.product.redis, "travel_claims")
    assert (waiting, len(started), len(lane.bulkhead.running)) == (set(), 3, 3)
    lane.threads.run()
    assert len(lane.answered) == 3
    lane.settle()
    assert lane.threads.submitted == []
    assert lane.free_threads() == lane.bulkhead.spec.threads
    assert [key for key in lane.product.redis.scan_iter("rq:*") if b"-" in key and b"together" not in key] == []
    assert {claim.state["state"] for claim in lane.claims} == {"submitted"}


def test_a_batch_that_was_killed_before_its_first_call_is_looked_up_message_by_message(lane: Lane) -> None:
    """Nobody who finds it can know that nothing was sent."""
    lane.give_up_for_dead()
    assert lane.states() == [("ready", "unanswered")] * 3
    assert [lane.attempts(claim) for claim in lane.claims] == [[("write", "unknown")]] * 3
    assert lane.product.submits() == []


def test_a_stop_hands_back_without_a_question_what_was_granted_and_not_begun(lane: Lane) -> None:
    lane.process.stopping.set()
    begun = lane.threads.submitted.pop()
    # Its thread has begun: it sends nothing more, and hands it back itself.
    begun[0](*begun[1:])
    late = lane.threads.submitted
    hand_back_rest(lane.process, lane.product.redis, [lane.bulkhead])
    assert lane.states() == [("ready", None)] * 3
    assert [lane.attempts(claim) for claim in lane.claims] == [[("write", "error")]] * 3
    # A thread that begins only now finds that its attempt was taken back.
    for work, *args in late:
        work(*args)
    assert (lane.product.submits(), lane.answered) == ([], [])
    assert rq_side.started_entries(lane.product.redis, "travel_claims") == []
    lane.product.app.extensions["process"] = Process("the next one")
    lane.product.work()
    assert (len(lane.product.submits()), len(lane.product.filed())) == (3, 3)


def test_what_no_thread_can_be_found_for_is_handed_back_without_a_question(product: Product) -> None:
    lane = Lane.__new__(Lane)

    def refuse(self: Threads, *work: Any) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Threads, "submit", refuse)
        lane.__init__(product)  # type: ignore[misc]
    assert lane.states() == [("ready", None)] * 3
    assert lane.free_threads() == lane.bulkhead.spec.threads
    assert lane.process.open_grants() == []
    product.work()
    assert len(product.submits()) == 3


def recording(lane: Lane, monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """What the answer to this claim changes cannot be recorded."""
    spec = lane.answered[0].answered.spec
    record = spec.record

    def fail(session: Any, subject_id: str, answer: Any) -> None:
        if subject_id == lane.claims[number].id:
            raise error
        record(session, subject_id, answer)

    monkeypatch.setitem(vars(spec), "record", fail)


def test_a_batch_that_was_killed_between_two_settles_has_settled_none(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.threads.run()
    with monkeypatch.context() as patch, pytest.raises(Died):
        recording(lane, patch, 1, Died())
        lane.settle()
    assert [lane.attempts(claim) for claim in lane.claims] == [[("write", "try")]] * 3
    assert {state for state, _ in lane.states()} == {"running"}
    assert lane.free_threads() == lane.bulkhead.spec.threads
    assert lane.process.open_grants() == []
    lane.give_up_for_dead()
    everything_is_filed_once(lane)


def test_one_that_cannot_be_settled_keeps_no_other_and_is_settled_by_itself(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane.threads.run()
    with monkeypatch.context() as patch:
        recording(lane, patch, 1, ValueError("poison"))
        lane.fetcher.settle_together(lane.answered)
        assert {lane.attempts(claim)[-1] for claim in lane.claims} == {("write", "try")}
        assert len(lane.threads.submitted) == 3
        lane.threads.run()
    poisoned = lane.claims.pop(1)
    assert {claim.state["state"] for claim in lane.claims} == {"submitted"}
    assert poisoned.state["state"] == "pending"
    # Its answer is on its attempt, and is recorded a little later.
    assert lane.attempts(poisoned) == [("write", "success")]
    assert (poisoned.message["state"], lane.free_threads()) == ("later", lane.bulkhead.spec.threads)
    lane.claims.append(poisoned)
    everything_is_filed_once(lane)


def test_one_that_lost_its_fence_is_late_and_the_others_are_settled(lane: Lane) -> None:
    lane.threads.run()
    lost = lane.claims[1]
    grant = next(work.granted.grant for work in lane.answered if work.granted.grant.subject_id == lost.id)
    assert rescue.hand_back(db.engine, lane.process.worker_id, [grant]) == 1
    lane.settle()
    assert lane.attempts(lost) == [("write", "success")]
    assert [row.late for row in lane.product.rows(ATTEMPTS, id=lost.id)] == [True]
    assert (lost.state["state"], lost.message["state"]) == ("pending", "ready")
    assert {claim.state["state"] for claim in lane.claims if claim is not lost} == {"submitted"}
    lane.product.work()
    assert lost.state["state"] == "submitted"
    assert len(lane.product.submits()) == 3
