"""A signed-in claim whose replies are lost and whose workers die, at each of its steps: one claim, one expense."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from flaskapp.db import db
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.engine.runner import WriteGuard
from jobs.engine.spec import JobSpec
from jobs.registry import SPECS
from outbox import attempts
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
# What each step in turn is answered with, and how often its write then has to be sent.
DONE: tuple[Fault, ...] = (*NO_REPLY, {"kind": "html", "status": 200, "works": True})
NOT_DONE: tuple[Fault, ...] = tuple({"kind": "status", "status": status} for status in (503, 500, 502, 504))
LOST = ((DONE, 1), (NOT_DONE, 2))


@pytest.fixture
def product(product: Product) -> Product:
    """A failure closes the gate for a moment only: what is shown here is what comes after it."""
    reconfigure(product, breaker_open_seconds=0.01, breaker_cap_seconds=0.05)
    return product


# -- replies that are lost ----------------------------------------------------


def sent(product: Product, before: dict[str, int] | None = None) -> dict[str, int]:
    """How often each write was asked for, since the first of two counts."""
    return {step: steps.received(product, op) - (before or {}).get(step, 0) for step, op in WRITES.items()}


def lose_replies(product: Product, faults: tuple[Fault, ...]) -> None:
    for operation, fault in zip((FIND, *WRITES.values()), faults, strict=True):
        product.control.set("travel_pay", operation=operation, times=1, **fault)


def test_a_claim_that_loses_the_reply_of_every_step_is_found_and_filed_once(product: Product) -> None:
    """What was done is not repeated; what was not is sent again, once it was looked for twice."""
    for veteran, (faults, times) in zip(DEFAULT_CAST, LOST, strict=False):
        before = sent(product)
        lose_replies(product, faults)
        filing = file(product, veteran)
        product.work()
        assert sent(product, before) == dict.fromkeys(WRITES, times), faults
        assert_filed_once(filing, "presumed" if times == 1 else "answered")
        writes, looks = ([each for each in filing.tries() if each[1] == kind] for kind in ("write", "look_up"))
        assert [status for _, _, status in writes][::times] == ["unknown"] * 3
        assert {job for job, _, _ in looks} == {"begin_claim", "add_mileage", "submit_claim"}
        assert filing.notifications == ["submitted"]


def test_a_claim_begun_elsewhere_before_our_lost_try_is_theirs(product: Product) -> None:
    """Ours never arrived: what the appointment names is older than our first try, and nothing is added to it."""
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
class Held:
    """An attempt at the step a claim stands at, in the hands of a worker that may die."""

    product: Product
    spec: JobSpec
    grant: Grant

    def call(self, write_guard: WriteGuard | None = None) -> Outcome:
        """Its call, made and not recorded; from any thread."""
        app = self.product.app
        with app.app_context():
            return runner.attempt(
                self.spec, self.grant, app.extensions["config"], write_guard or free_write_guard(self.product)
            )

    def finish(self, outcome: Outcome) -> None:
        runner.finish(self.spec, self.grant, outcome)


def free_write_guard(product: Product) -> WriteGuard:
    return WriteGuard(product.app.extensions["process"], ends_at=float("inf"), call_seconds=0.0)


def hold(filing: Filing) -> Held:
    """The pointer stays in Redis and is worth nothing from now on; so may others, which have to stay."""
    publish(filing.product)
    message, process = filing.message, filing.product.app.extensions["process"]
    spec = SPECS[message["job"]]
    grant = attempts.grant(
        db.engine,
        message["id"],
        message["fence"],
        worker_id=process.worker_id,
        lease_seconds=60,
        writes=spec.writes,
    )
    assert grant is not None
    return Held(filing.product, spec, grant)


def is_answered_before_anybody_looks(held: Held) -> Callable[[], None]:
    outcome = held.call()
    lose(held.product, held.grant)
    held.finish(outcome)
    return lambda: None


def is_answered_when_the_step_is_long_done(held: Held) -> Callable[[], None]:
    outcome = held.call()
    lose(held.product, held.grant)
    return lambda: held.finish(outcome)


# How the last of its steps is then known to be done.
DEATHS = {
    is_answered_before_anybody_looks: "late",
    is_answered_when_the_step_is_long_done: "presumed",
}


def test_a_worker_given_up_at_every_step_leaves_the_first_step_not_done(product: Product) -> None:
    for veteran, (die, how) in zip(DEFAULT_CAST, DEATHS.items(), strict=False):
        before, reads = sent(product), steps.received(product, steps.READ)
        filing, come_back = file(product, veteran), []
        for step in ("appointment", *WRITES):
            come_to(product, step, filing)
            come_back.append(die(hold(filing)))
        product.work()
        for late in come_back:
            late()
        assert sent(product, before) == dict.fromkeys(WRITES, 1), how
        assert_filed_once(filing, how)
        assert (product.cases(), product.outstanding(), filing.notifications) == ([], 0, ["submitted"])
        if how == "late":
            # For its number, right after it was submitted: what was answered is not looked up.
            assert steps.received(product, steps.READ) - reads == 1


class StalledWriteGuard(WriteGuard):
    """A worker that stands still right before it writes, for longer than anybody waits for it."""

    def __init__(self, product: Product) -> None:
        super().__init__(product.app.extensions["process"], ends_at=float("inf"), call_seconds=0.0)
        self.reached, self.goes_on = threading.Event(), threading.Event()

    def before_write(self) -> None:
        self.reached.set()
        assert self.goes_on.wait(60)
        super().before_write()


def test_an_expense_that_lands_after_it_was_sent_again_is_a_case(product: Product) -> None:
    """Looked for twice and not there, then it is there twice: no caution of ours can tell, so a human is told."""
    filing, write_guard = file(product), StalledWriteGuard(product)
    come_to(product, "expense", filing)
    held = hold(filing)
    with ThreadPoolExecutor(1) as hands:
        stalled = hands.submit(held.call, write_guard)
        assert write_guard.reached.wait(60)
        lose(product, held.grant)
        come_to(product, "submit", filing)
        write_guard.goes_on.set()
        held.finish(stalled.result())
    (claim,) = steps.on_file(product)
    assert (len(claim["expenses"]), filing.cases) == (2, ["conflicting_answers"])
    product.work()
    assert filing.stands == ("submitted", "submit") and filing.row["expense_id"] == claim["expenses"][0]["id"]
    assert filing.cases == ["conflicting_answers"]


def test_a_claim_begun_for_somebody_who_had_given_it_up_is_gone_on_with(product: Product) -> None:
    filing = file(product)
    come_to(product, "claim", filing)
    held = hold(filing)
    outcome = held.call()
    lose(product, held.grant)
    pass_time(product, days=5, hours=1)
    sweep(product)
    held.finish(outcome)
    product.work()
    assert (filing.notifications, "Please don't file again yet." in filing.again()[2]) == (["unconfirmed"], True)
    assert filing.cases == ["answered_late", "may_exist_upstream"]
    assert command(product, "outbox", "requeue", str(filing.message["id"])).exit_code == 0
    product.work()
    assert_filed_once(filing, "answered")
    assert (steps.received(product, BEGIN), filing.notifications) == (1, ["unconfirmed", "submitted"])
