"""Pointers that are granted and settled together: wherever that ends, each message has a story of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from flaskapp.cases.service import open_case
from flaskapp.crypto import opened
from flaskapp.db import db, transaction
from flaskapp.notifications import service as notifications
from flaskapp.travel_claims import service as travel_claims
from flaskapp.travel_claims.service import Filed, Filing
from jobs.engine.hands import Hands
from jobs.engine.runner import Process
from jobs.processes import hand_back_rest
from jobs.registry import spec_of
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
    """A worker's lane whose claims were taken and granted together; nothing was sent yet."""

    def __init__(self, product: Product, taken: int = 3) -> None:
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
        assert found is not None and len(found[0]) == taken
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
    record_all = spec.record_all
    assert record_all is not None

    def fail(session: Any, answers: Sequence[tuple[str, Any]]) -> None:
        if lane.claims[number].id in dict(answers):
            raise error
        record_all(session, answers)

    monkeypatch.setitem(vars(spec), "record_all", fail)


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


CLAIM_LEFT = """
    SELECT state, unconfirmed, notification, cycle, finished_at IS NOT NULL AS ended, filed
      FROM travel_claims WHERE id = :id
"""
TEXT_LEFT = """
    SELECT id, kind, cycle, channel, sender, recipient, personalisation, state, va_notify_id, finished_at,
           sent_at IS NOT NULL AS sent FROM notifications WHERE subject_id = :id
"""
HISTORY_LEFT = """
    SELECT what, moved_from, moved_to, actor, message_id, detail - 'notification' - 'case' AS detail
      FROM outbox_history WHERE subject_id = :id AND what <> 'travel_claim.requested' ORDER BY id
"""
MESSAGE_LEFT = """
    SELECT job, args, queue, upstream, subject_type, state, deadline_at - due_at AS limit, give_up_at - due_at AS end,
           unresolved_since, request_id IS NOT NULL AS asked FROM outbox_messages WHERE subject_id = :id
"""
CASES_LEFT = "SELECT kind, closed_by, resolution FROM cases WHERE subject_id = :id"


def left_by(product: Product, claim_id: str) -> list[Any]:
    """All that stands in Postgres about a claim and its text, without ids."""
    claim = product.rows(CLAIM_LEFT, id=claim_id)[0]._asdict()
    text = product.rows(TEXT_LEFT, id=claim_id)[0]._asdict()
    about_text = str(text.pop("id"))
    sealed = [opened(claim.pop("filed")), opened(text.pop("recipient")), opened(text.pop("personalisation"))]
    rows = [
        product.rows(query, id=subject)
        for subject in (claim_id, about_text)
        for query in (HISTORY_LEFT, MESSAGE_LEFT, CASES_LEFT)
    ]
    return [claim, text, sealed, *[[row._asdict() for row in each] for each in rows]]


def test_what_is_recorded_together_is_what_is_recorded_by_itself(product: Product) -> None:
    alone, first, second = (file_claim(product, date=day).id for day in DAYS)
    filing = Filing("submitted", "created", Filed("TC123456789012", "answered"))
    with transaction() as session:
        for claim_id in (alone, first):
            open_case(session, "overdue", "travel_claim", claim_id)
        travel_claims.record_filed(session, alone, filing)
        travel_claims.record_all_filed(session, [(second, filing), (first, filing)])
    day = "Jun 01"
    texts = {claim_id: left_by(product, claim_id) for claim_id in (alone, first)}
    for left in texts.values():
        left[2][2]["appt_date"] = day
    assert texts[first] == texts[alone]
    by_one, by_all, delivered = (
        str(product.value("SELECT id FROM notifications WHERE subject_id = :id", id=claim_id))
        for claim_id in (alone, first, second)
    )
    with transaction() as session:
        notifications.record_delivery(session, UUID(delivered), "delivered", None, actor="a callback")
        notifications.record_sent(session, by_one, "known as")
        notifications.record_all_sent(session, [(delivered, "another"), (by_all, "known as")])
    texts = {claim_id: left_by(product, claim_id) for claim_id in (alone, first)}
    for left in texts.values():
        left[2][2]["appt_date"] = day
    assert texts[first] == texts[alone]
    assert texts[first][1]["state"] == "sent"
    # What a callback said before counts.
    assert [left_by(product, second)[1][name] for name in ("state", "va_notify_id")] == ["delivered", "another"]


def test_a_lane_has_as_many_attempts_at_hand_as_any_other_whatever_its_threads(product: Product) -> None:
    assert len({Bulkhead(queue).hands.most for queue in product.flows.queues}) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.worker.Hands", lambda: Hands(2))
        patch.setattr("jobs.worker.WAIT_SECONDS", 0.01)
        lane = Lane(product, taken=2)
        # 198 threads are free, and a pointer waits: but two are at hand.
        assert (lane.fetcher.look(), lane.free_threads()) == (None, lane.bulkhead.spec.threads - 2)
        asked: list[bool] = []

        def take_when_the_call_is_away(call: Any, work: Any) -> Any:
            asked.append(lane.bulkhead.hands.free > 0)
            if len(asked) == 1:
                found = lane.fetcher.look()
                assert found is not None and len(found[0]) == 1
                lane.fetcher.execute_job(*found)
            return act(call, work)

        spec = spec_of(travel_claims.SUBMIT.path)
        act = spec.act
        patch.setitem(vars(spec), "act", take_when_the_call_is_away)
        lane.threads.run()
        lane.threads.run()
    assert (asked, lane.bulkhead.hands.full) == ([True, False, False], 3)
    lane.settle()
    assert (lane.bulkhead.hands.full, len(lane.product.filed())) == (0, 3)
