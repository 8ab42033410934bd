"""Travel pay claims whose replies are lost and whose workers die at every step: one claim, one expense."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from flaskapp.db import db
from flaskapp.travel_pay.service import Filed
from flaskapp.upstreams.errors import Duplicate
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.engine.runner import WriteGuard
from jobs.engine.spec import JobSpec
from jobs.registry import spec_of
from jobs.travel_pay import Begun
from outbox import grants
from outbox.values import Grant
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import pass_time
from tests.integration.steps import command, lose, publish, reconfigure, sweep
from tests.integration.travel_pay_filing import Filing, assert_filed_once, come_to, file, filed, plant, tried
from tests.integration.travel_pay_steps import BEGIN, FIND, MILEAGE, SUBMIT
from tests.product import Product

WRITES = {"claim": BEGIN, "expense": MILEAGE, "submit": SUBMIT}
Fault = dict[str, Any]
NO_REPLY = ({"kind": "empty", "status": 200}, {"kind": "drop"}, {"kind": "half"})
# The answer to each step in turn, and how often its write must then be sent.
DONE: tuple[Fault, ...] = (*NO_REPLY, {"kind": "html", "status": 200, "works": True})
NOT_DONE: tuple[Fault, ...] = tuple({"kind": "status", "status": status} for status in (503, 500, 502, 504))
LOST = ((DONE, 1), (NOT_DONE, 2))


@pytest.fixture
def product(product: Product) -> Product:
    """A failure opens the breaker only for an instant: these tests are about what follows."""
    reconfigure(product, breaker_open_seconds=0.01, breaker_cap_seconds=0.05)
    return product


# -- replies that are lost ----------------------------------------------------


def sent(product: Product, before: dict[str, int] | None = None) -> dict[str, int]:
    """How many of each write reached Travel Pay since the first of two counts."""
    return {step: steps.received(product, op) - (before or {}).get(step, 0) for step, op in WRITES.items()}


def lose_replies(product: Product, faults: tuple[Fault, ...]) -> None:
    for operation, fault in zip((FIND, *WRITES.values()), faults, strict=True):
        product.control.set("travel_pay", operation=operation, times=1, **fault)


def test_a_claim_that_loses_the_reply_of_every_step_is_found_and_filed_once(product: Product) -> None:
    """What was done is not repeated; what was not done is sent again after two look-ups."""
    for veteran, (faults, times) in zip(DEFAULT_CAST, LOST, strict=False):
        before = sent(product)
        lose_replies(product, faults)
        filing = file(product, veteran)
        product.work()
        assert sent(product, before) == dict.fromkeys(WRITES, times), faults
        assert_filed_once(filing, "presumed" if times == 1 else "answered")
        writes, looks = ([each for each in filing.tries() if each[1] == kind] for kind in ("write", "look_up"))
        assert [status for _, _, status in writes][::times] == ["unknown"] * 3
        assert {job for job, _, _ in looks} == {"begin_claim", "add_mileage", "submit_travel_pay_claim"}
        assert filing.notifications == ["submitted"]


def test_a_claim_begun_elsewhere_before_our_lost_attempt_is_theirs(product: Product) -> None:
    """Ours never arrived: the appointment's claim is older than our first attempt, and nothing is added to it."""
    lose_replies(product, NOT_DONE)
    filing = file(product)
    come_to(product, "claim", filing)
    reconfigure(product, travel_pay_confirm_seconds=60.0)
    product.work(until=tried(filing, 4))
    theirs = plant(product, claimStatus="Incomplete", age_days=1)
    product.work()
    assert filing.stands == ("duplicate", "claim")
    assert filed(filing) == (theirs["id"], theirs["claimNumber"], "found")
    assert (steps.received(product, MILEAGE), steps.on_file(product)[0]["expenses"], product.cases()) == (0, [], [])


# -- workers that die ---------------------------------------------------------


@dataclass
class Granted:
    """A granted attempt at the step that a claim stands at; its worker may die."""

    product: Product
    spec: JobSpec
    grant: Grant

    def call(self, write_guard: WriteGuard | None = None) -> Outcome:
        """Make its call without recording it; works from any thread."""
        app = self.product.app
        with app.app_context():
            return runner.attempt(
                self.spec, self.grant, app.extensions["config"], write_guard or free_write_guard(self.product)
            )

    def finish(self, outcome: Outcome) -> None:
        runner.finish(self.spec, self.grant, outcome)


def free_write_guard(product: Product) -> WriteGuard:
    return WriteGuard(product.app.extensions["process"], ends_at=float("inf"), call_seconds=0.0)


def grant_step(filing: Filing) -> Granted:
    """Its pointer stays in Redis and is worthless now; the pointers of other work have to stay."""
    publish(filing.product)
    message, process = filing.message, filing.product.app.extensions["process"]
    spec = spec_of(message["job"])
    grant = grants.grant(
        db.engine,
        message["id"],
        message["fence"],
        worker_id=process.worker_id,
        lease_seconds=60,
        writes=spec.writes,
    )
    assert grant is not None
    return Granted(filing.product, spec, grant)


def is_answered_before_a_look_up(granted: Granted) -> Callable[[], None]:
    outcome = granted.call()
    lose(granted.product, granted.grant)
    granted.finish(outcome)
    return lambda: None


def is_answered_long_after_the_step(granted: Granted) -> Callable[[], None]:
    outcome = granted.call()
    lose(granted.product, granted.grant)
    return lambda: granted.finish(outcome)


# How the last of its steps is then known to be done.
DEATHS = {
    is_answered_before_a_look_up: "late",
    is_answered_long_after_the_step: "presumed",
}


def test_a_worker_given_up_at_every_step_leaves_no_step_undone(product: Product) -> None:
    for veteran, (end, how) in zip(DEFAULT_CAST, DEATHS.items(), strict=False):
        before, reads = sent(product), steps.received(product, steps.READ)
        filing, come_back = file(product, veteran), []
        for step in ("appointment", *WRITES):
            come_to(product, step, filing)
            come_back.append(end(grant_step(filing)))
        product.work()
        for late in come_back:
            late()
        assert sent(product, before) == dict.fromkeys(WRITES, 1), how
        assert_filed_once(filing, how)
        assert (product.cases(), product.outstanding(), filing.notifications) == ([], 0, ["submitted"])
        if how == "late":
            # Only the number is read, right after the submission: what was answered is not looked up.
            assert steps.received(product, steps.READ) - reads == 1


def begun_and_lost(product: Product, **theirs: Any) -> tuple[Filing, Granted, dict[str, Any]]:
    """A claim whose begin was not answered, and one on its appointment that a look-up finds."""
    filing = file(product)
    come_to(product, "claim", filing)
    granted = grant_step(filing)
    lose(product, granted.grant)
    return filing, granted, plant(product, claimStatus="Incomplete", **theirs)


def begun_as(claim_id: str) -> Outcome:
    return Outcome("accepted", answer=Begun(Filed(claim_id, "answered"), ours=True))


def test_a_claim_that_was_there_is_finished_once_it_turns_out_to_be_ours(product: Product) -> None:
    filing, granted, there = begun_and_lost(product, age_days=1)
    product.work()
    assert (filing.stands, filed(filing)[2], filing.notifications) == (("duplicate", "claim"), "found", ["duplicate"])
    for _ in range(2):
        granted.finish(begun_as(there["id"]))
    product.work()
    assert_filed_once(filing, "answered")
    assert filing.notifications == ["duplicate", "submitted"]


def test_a_human_learns_of_a_claim_that_we_went_on_with_and_that_is_somebody_elses(product: Product) -> None:
    filing, granted, _ = begun_and_lost(product)
    product.work()
    assert filing.stands == ("submitted", "submit")
    granted.finish(Outcome("duplicate", error=Duplicate("travel_pay")))
    assert filing.cases == ["conflicting_answers"]


class StalledWriteGuard(WriteGuard):
    """A worker that stops right before it writes, for longer than anybody waits for it."""

    def __init__(self, product: Product) -> None:
        super().__init__(product.app.extensions["process"], ends_at=float("inf"), call_seconds=0.0)
        self.reached, self.goes_on = threading.Event(), threading.Event()

    def before_write(self) -> None:
        self.reached.set()
        assert self.goes_on.wait(60)
        super().before_write()


def test_an_expense_that_arrives_after_it_was_sent_again_is_a_case(product: Product) -> None:
    """Two look-ups did not find it, and then it is there twice: we cannot prevent that, so a human gets a case."""
    filing, write_guard = file(product), StalledWriteGuard(product)
    come_to(product, "expense", filing)
    granted = grant_step(filing)
    with ThreadPoolExecutor(1) as hands:
        stalled = hands.submit(granted.call, write_guard)
        assert write_guard.reached.wait(60)
        lose(product, granted.grant)
        come_to(product, "submit", filing)
        write_guard.goes_on.set()
        granted.finish(stalled.result())
    (claim,) = steps.on_file(product)
    assert (len(claim["expenses"]), filing.cases) == (2, ["conflicting_answers"])
    product.work()
    assert filing.stands == ("submitted", "submit") and filing.row["expense_id"] == claim["expenses"][0]["id"]
    assert filing.cases == ["conflicting_answers"]


def test_a_claim_begun_by_a_worker_that_was_given_up_is_continued(product: Product) -> None:
    filing = file(product)
    come_to(product, "claim", filing)
    granted = grant_step(filing)
    outcome = granted.call()
    lose(product, granted.grant)
    pass_time(product, days=5, hours=1)
    sweep(product)
    granted.finish(outcome)
    product.work()
    assert (filing.notifications, "Please don't file again yet." in filing.again()[2]) == (["unconfirmed"], True)
    assert filing.cases == ["answered_late", "may_exist_upstream"]
    assert command(product, "outbox", "requeue", str(filing.message["id"])).exit_code == 0
    product.work()
    assert_filed_once(filing, "answered")
    assert (steps.received(product, BEGIN), filing.notifications) == (1, ["unconfirmed", "submitted"])
