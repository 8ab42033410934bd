"""Parking leaves a message to a human; reopening makes it due again with a new budget and grants nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from rq.registry import FailedJobRegistry
from sqlalchemy import text

from flaskapp import REGISTERED, requeue
from flaskapp.db import DbSession, db
from flaskapp.flows import Flow, Reopen, Subject
from flaskapp.requeue import Refused
from outbox import parked, rq_side
from tests.ledger import CALLS, SILENCE, Ledger
from tests.product import Product


def reopen(ledger: Ledger, message_id: int, fence: int | None = None) -> Any:
    with ledger.engine.begin() as db:
        return parked.reopen(db, message_id, actor="somebody", fence=fence)


def park_waiting(ledger: Ledger, message_id: int) -> Any:
    with ledger.engine.begin() as db:
        return parked.park_waiting(db, message_id, reason="by hand", actor="somebody")


def test_parking_ends_the_circulation_of_a_message_under_a_new_fence(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.park(grant, "refused: Rejected", fence=99)
    row = ledger.row(grant.message_id)
    assert (row["state"], row["fence"], row["parked_reason"]) == ("parked", 99, "refused: Rejected")
    assert ledger.publish() == []
    assert ledger.grant(grant.message_id, grant.fence) is None
    assert ledger.grant(grant.message_id, 99) is None
    (entries,) = ledger.history()
    assert (entries["what"], entries["detail"]) == ("message.parked", {"reason": "refused: Rejected"})


def test_reopening_gives_a_new_budget_and_grants_nothing(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, charged=True, look_ups=3, not_found=1)
    ledger.park(ledger.start(grant.message_id))
    ledger.pass_time(7200)
    assert reopen(ledger, grant.message_id).subject_id == "one"
    row = ledger.row(grant.message_id)
    assert (row["state"], row["parked_reason"]) == ("ready", None)
    assert (row["charged_attempts"], row["look_up_count"], row["not_found_count"]) == (0, 0, 0)
    assert (row["deadline_at"] - row["budget_from"]).total_seconds() == 3600
    assert (row["give_up_at"] - row["budget_from"]).total_seconds() == 86_400
    assert (row["budget_from"] - row["created_at"]).total_seconds() >= 7200
    assert ledger.rows("SELECT id FROM outbox_attempts WHERE status = 'try'") == []
    (entries,) = [entry for entry in ledger.history() if entry["what"] == "message.reopened"]
    assert entries["actor"] == "somebody"


def test_an_open_question_survives_parking_and_reopening(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, SILENCE, unresolved_why="unanswered")
    since = ledger.row(grant.message_id)["unresolved_since"]
    ledger.park(ledger.start(grant.message_id), "may_exist_upstream", why="duplicate")
    reopen(ledger, grant.message_id)
    row = ledger.row(grant.message_id)
    assert (row["unresolved_since"], row["unresolved_why"]) == (since, "unanswered")
    assert ledger.start(grant.message_id).purpose == "look_up"


def test_parking_can_open_the_question(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.park(grant, "may_exist_upstream", why="unanswered")
    reopen(ledger, grant.message_id)
    assert ledger.start(grant.message_id).purpose == "look_up"


def test_a_caller_with_the_fence_of_an_older_parking_reopens_nothing(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.park(grant, fence=11)
    reopen(ledger, grant.message_id)
    ledger.park(ledger.start(grant.message_id), fence=22)
    assert reopen(ledger, grant.message_id, fence=11) is None
    assert ledger.state(grant.message_id) == "parked"
    assert reopen(ledger, grant.message_id, fence=22) is not None


def test_of_many_simultaneous_callers_one_reopens(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.park(grant, fence=11)
    start, opened = threading.Barrier(4), []

    def call(fence: int | None) -> None:
        start.wait()
        opened.append(reopen(ledger, grant.message_id, fence))

    threads = [threading.Thread(target=call, args=(fence,)) for fence in (None, 11, None, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [row is not None for row in opened].count(True) == 1
    assert [entry["what"] for entry in ledger.history()].count("message.reopened") == 1


@pytest.mark.parametrize("state", ["later", "ready", "published"])
def test_a_waiting_message_can_be_parked_by_hand_whatever_it_waits_for(ledger: Ledger, state: str) -> None:
    message_id = ledger.add(delay=60.0 if state == "later" else 0.0)
    pointers = ledger.publish() if state == "published" else []
    assert ledger.state(message_id) == state
    assert park_waiting(ledger, message_id).queue == CALLS.name
    assert ledger.state(message_id) == "parked"
    assert [ledger.grant(*pointer) for pointer in pointers] == [None] * len(pointers)


def test_a_running_parked_or_finished_message_is_not_parked_by_hand(ledger: Ledger) -> None:
    running, done, already = ledger.start(), ledger.start(), ledger.start()
    ledger.end(done)
    ledger.park(already, "refused")
    assert [park_waiting(ledger, grant.message_id) for grant in (running, done, already)] == [None] * 3
    assert ledger.row(already.message_id)["parked_reason"] == "refused"


# -- the product's one way of reopening ------------------------------------------------------------


def add_toy(product: Product) -> int:
    ledger = Ledger(db.engine, product.redis)
    grant = ledger.start(ledger.add(subject="toy-1"))
    ledger.park(grant, "refused", fence=77)
    return grant.message_id


def register_toy(product: Product, monkeypatch: pytest.MonkeyPatch, reopen: Reopen) -> None:
    toy = Flow("toy", subjects=(Subject("toy", case_owner=lambda config: "ada", reopen=reopen),))
    monkeypatch.setitem(product.app.extensions, "flows", REGISTERED.and_also(toy))


def refuse_with_constraint(session: DbSession, subject_id: str, actor: str) -> None:
    session.execute(text("INSERT INTO idempotency_keys VALUES (:who, 'k', 'd'), (:who, 'k', 'd')"), {"who": subject_id})


def test_a_reopen_that_a_constraint_refuses_stays_parked_with_the_reason(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = add_toy(product)
    register_toy(product, monkeypatch, refuse_with_constraint)
    with pytest.raises(Refused):
        requeue.requeue_message(message_id, actor="somebody")
    (row,) = product.messages()
    assert (row["state"], row["fence"]) == ("parked", 77)
    assert row["parked_reason"] == "requeue refused: a newer one exists (pk_idempotency_keys)"
    assert row["charged_attempts"] == 0
    entries = product.rows("SELECT what, actor, detail::text AS detail FROM outbox_history ORDER BY id")
    assert [(entry.what, entry.actor) for entry in entries][-1] == ("message.reopen_refused", "somebody")
    assert "message.reopened" not in [entry.what for entry in entries]
    assert not any("toy-1" in entry.detail for entry in entries)


def test_the_dashboard_and_the_shell_together_reopen_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    message_id = add_toy(product)
    opened: list[str] = []
    register_toy(product, monkeypatch, lambda session, subject, actor: opened.append(actor))
    press_requeue(product.redis, message_id, 77)
    assert requeue.requeue_message(message_id, actor="shell")
    run_pointers(product.app, product.redis)
    assert opened == ["shell"]
    assert [row["state"] for row in product.messages()] == ["ready"]


def press_requeue(redis: Redis, message_id: int, fence: int) -> None:
    """Do what the dashboard's button does."""
    rq_side.leave_failed(redis, CALLS.name, message_id, fence, "jobs.ledger.requeue_from_dashboard", "parked")
    FailedJobRegistry(queue=rq_side.open_queue(redis, CALLS.name)).requeue(rq_side.job_id(message_id, fence))


def run_pointers(app: Flask, redis: Redis) -> None:
    queue = rq_side.open_queue(redis, CALLS.name)
    for identifier in queue.get_job_ids():
        rq_side.LedgerJob.fetch(identifier, connection=redis).perform()
