"""A polling cycle at full size, interrupted half-way, or built by two ticks at once: each document is queried once."""

from __future__ import annotations

import json
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event, text

from flaskapp import clock
from flaskapp.db import DbSession, db, transaction
from flaskapp.form526.polling import (
    ASSIGN_BATCH,
    BATCH,
    REASSIGN_BATCH,
    RECORD_CORRECTIONS,
    RECORD_STATUSES,
    enqueue_poll,
)
from flaskapp.form526.states import DONE, FAILED, PENDING
from jobs import housekeeping
from jobs.documents import POLL
from jobs.engine.settle import settle
from tests.integration.form526_polling_steps import (
    accepted,
    batches,
    change,
    deal,
    facts,
    outstanding_questions,
    plant,
    stamps,
    take_question,
)
from tests.integration.form526_steps import questions, statuses
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import call, lose
from tests.product import Product

MANY = 3_000
MIB = 1024 * 1024


class Killed(BaseException):
    """The process ends here."""


class Watch:
    """Counter of the updates of documents; it traces memory, which is slow, until five questions were answered."""

    def __init__(self) -> None:
        self.stamps = self.others = self.peak = 0

    def count(self, *given: Any) -> None:
        statement = given[2]
        if "UPDATE form526_document_submissions" not in statement or "WITH due" in statement:
            return
        self.stamps += "jsonb_to_recordset" in statement
        self.others += "jsonb_to_recordset" not in statement
        if self.stamps == 5:
            self.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()


@contextmanager
def watched() -> Iterator[Watch]:
    watch = Watch()
    event.listen(db.engine, "before_cursor_execute", watch.count)
    tracemalloc.start()
    try:
        yield watch
    finally:
        tracemalloc.stop()
        event.remove(db.engine, "before_cursor_execute", watch.count)


def plan_of(statement: Any, **values: Any) -> str:
    """The plan of a statement, as Postgres would run it now."""
    with transaction() as session:
        return "\n".join(session.execute(text(f"EXPLAIN {statement.text}"), values).scalars())


def check_plans(product: Product) -> None:
    product.rows("ANALYZE form526_document_submissions; SELECT 1")
    batch = str(uuid.uuid4())
    rows = json.dumps([{"request_id": request_id, "word": "pending"} for request_id in range(BATCH)])
    dealing = plan_of(ASSIGN_BATCH, size=BATCH, batch=batch, minutes=60, days=[1])
    assert "ix_form526_documents_due" in dealing
    for plan in (
        dealing,
        plan_of(RECORD_STATUSES, rows=rows, batch=batch, first_day=1),
        plan_of(RECORD_CORRECTIONS, rows=rows, batch=batch),
        plan_of(REASSIGN_BATCH, new=batch, batch=batch, requests=[1]),
    ):
        assert "Seq Scan on form526_document_submissions" not in plan, plan


def planted(product: Product, count: int, plan: str = "stuck") -> None:
    """So many documents in all, all with this plan."""
    accepted(product)
    change(product, plan=plan)
    plant(product, count - 1, plan=plan)


def check_cycle(product: Product, since: datetime, questions_received: list[list[int]]) -> None:
    """Each document was in exactly one of these questions, and has been stamped since."""
    assert sorted(request_id for ids in questions_received for request_id in ids) == list(facts(product))
    assert all(stamp is not None and stamp > since for stamp in stamps(product))
    assert (outstanding_questions(product), sum(batches(product).values())) == ([], 0)


def test_three_thousand_documents_take_thirty_questions_and_two_updates_each(product: Product) -> None:
    planted(product, MANY - 100)
    plant(product, 60, plan="ok")
    plant(product, 40, plan="fails_at_bgs")
    check_plans(product)
    with watched() as watch:
        deal(product)
        assert list(batches(product).values()) == [BATCH] * 30
        began = clock.now()
        product.work(until=lambda: not outstanding_questions(product), seconds=60)
    assert (watch.stamps, watch.others) == (60, 0)
    assert watch.peak < 8 * MIB
    assert [len(ids) for ids in questions(product)] == [BATCH] * 30
    check_cycle(product, began, questions(product))
    assert Counter(statuses(product)) == {PENDING: MANY - 100, DONE: 60, FAILED: 40}
    # No document is due again within the hour.
    housekeeping.poll_documents()
    assert outstanding_questions(product) == []


def test_a_cycle_killed_between_or_within_deals_is_completed_by_the_next_tick(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(product, 250)
    fuse = iter([None, Killed(), Killed()])

    def dying(session: DbSession) -> int:
        dealt = enqueue_poll(session)
        if isinstance(death := next(fuse), Killed):
            raise death
        return dealt

    monkeypatch.setattr(housekeeping, "enqueue_poll", dying)
    for hours in (1, 0):
        with pytest.raises(Killed):
            deal(product, hours=hours)
        # The deal in which it died was rolled back; the one before it was committed completely.
        assert (list(batches(product).values()), len(outstanding_questions(product))) == ([BATCH], 1)
    monkeypatch.setattr(housekeeping, "enqueue_poll", enqueue_poll)
    deal(product, hours=0)
    began = clock.now()
    product.work()
    assert sorted(map(len, questions(product))) == [50, BATCH, BATCH]
    check_cycle(product, began, questions(product))


def test_a_question_whose_worker_is_lost_is_sent_again_and_the_others_are_not(product: Product) -> None:
    planted(product, 120)
    deal(product)
    began = clock.now()
    granted = take_question(product)
    outcome = call(product, granted, POLL)
    assert stamps(product) == [None] * 120
    lose(product, granted)
    product.work()
    lost, *others = questions(product)
    assert (len(lost), sorted(map(len, others))) == (BATCH, [20, BATCH]) and lost in others
    check_cycle(product, began, others)
    # The worker was only slow: its answer is out of date when it arrives, and changes nothing.
    before = facts(product)
    settle(POLL, granted, outcome)
    assert facts(product) == before


def test_an_answer_to_an_old_question_never_overwrites_a_later_one(product: Product) -> None:
    planted(product, 2, plan="fails_at_claims_evidence")
    deal(product)
    granted = take_question(product)
    failed = call(product, granted, POLL)
    change(product, plan="ok")
    deal(product)
    product.work(until=lambda: set(statuses(product)) == {DONE})
    settle(POLL, granted, failed)
    product.work()
    assert (statuses(product), product.cases(), mails(product)) == ([DONE] * 2, [], ["form526.accepted"])
    assert outstanding_questions(product) == []


def test_two_simultaneous_ticks_share_the_documents(product: Product) -> None:
    planted(product, 260)
    pass_time(product, hours=1)
    with transaction() as session:
        assert enqueue_poll(session) == BATCH
        # Meanwhile another scheduler's worker waits for nobody and takes the rest.
        with product.app.app_context():
            housekeeping.poll_documents()
    assert sorted(batches(product).values()) == [60, BATCH, BATCH]
    began = clock.now()
    product.work()
    check_cycle(product, began, questions(product))
