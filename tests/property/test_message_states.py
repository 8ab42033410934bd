"""Whatever order things happen in, a promise is kept: random interleavings of everything that moves a message.

Every run tries the same sequences, so that a failure is a failure for everybody. `PROPERTY_EXAMPLES=2000` tries that
many new ones instead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rq.registry import FailedJobRegistry

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db
from flaskapp.queues import TRAVEL_CLAIMS
from flaskapp.requeue import reopen
from jobs import housekeeping, travel_claims
from outbox import rescue, rq_side
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedRedis
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE
from tests.house import eventually
from tests.property.upstream import Call, Write
from tests.property.workers import Monotonic, Worker
from tests.property.world import World

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
STEPS = 30
PROFILE = settings(
    max_examples=EXAMPLES or 40,
    stateful_step_count=STEPS,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
either = st.integers(0, 1)
which = st.integers(0, 5)
ENDINGS = st.sampled_from(
    ["answered", "lost", "lost", "took effect and lost", "refused", "unavailable", "throttled", "elsewhere"]
)


def pick(found: list[Any], index: int) -> Any:
    return found[index % len(found)]


class Promises(RuleBasedStateMachine):
    def __init__(self, apps: tuple[Flask, Flask], clock: Monotonic) -> None:
        super().__init__()
        self.world = World(apps, clock.move)
        self.world.ask()
        for worker in self.world.workers:
            worker.beat()

    def teardown(self) -> None:
        try:
            self.world.drain()
            self.world.check()
            self.world.check_end()
        finally:
            self.world.close()

    # -- what is there to act on ---------------------------------------------------------------------

    def calls(self) -> list[Call]:
        return [call for worker in self.world.workers for call in worker.open_calls()]

    def effective(self) -> list[Write]:
        return [write for write in self.world.btsss.writes if self.world.btsss.may_take_effect(write)]

    def worker(self, index: int) -> Worker:
        return self.world.workers[index]

    # -- relays --------------------------------------------------------------------------------------

    @precondition(lambda self: not self.world.unpushed)
    @rule(index=either)
    def a_relay_claims_and_is_slow_to_push(self, index: int) -> None:
        self.world.relays[index].promote()
        self.world.unpushed.append(self.world.relays[index].claim(TRAVEL_CLAIMS))
        self.world.note_pointers()

    @precondition(lambda self: self.world.unpushed)
    @rule(how=st.sampled_from(["pushes", "dies", "fails"]))
    def the_slow_relay(self, how: str) -> None:
        fence, claimed = self.world.unpushed.pop(0)
        if how == "pushes":
            self.world.push(fence, claimed)
        elif how == "fails":
            self.world.relays[0].undo(fence, [message_id for message_id, _ in claimed])

    # -- workers and the upstream --------------------------------------------------------------------

    @rule(relay=either, index=either, written=st.booleans())
    def a_worker_takes_a_pointer(self, relay: int, index: int, written: bool) -> None:
        self.world.find_work(self.world.relays[relay])
        call = self.world.take(self.worker(index))
        if call is not None and call.waiting == "before the write" and written:
            self.world.proceed(call, lambda: None)

    @rule(relay=either, index=either, how=ENDINGS)
    def a_worker_makes_an_attempt(self, relay: int, index: int, how: str) -> None:
        self.world.find_work(self.world.relays[relay])
        call = self.world.take(self.worker(index))
        if call is not None:
            self.world.finish(call, how)

    @precondition(lambda self: self.calls())
    @rule(index=which, how=ENDINGS)
    def a_call_goes_on(self, index: int, how: str) -> None:
        call: Call = pick(self.calls(), index)
        if call.waiting == "before the write":
            self.world.proceed(call, lambda: None)
        else:
            self.world.answer(call, how)

    @precondition(lambda self: self.calls())
    @rule(index=which, how=st.sampled_from(["answered", "answered", "refused", "lost"]), meanwhile=ENDINGS)
    def an_answer_comes_late(self, index: int, how: str, meanwhile: str) -> None:
        """A worker is taken for dead while its call is open, and another one goes on with its message."""
        call: Call = pick(self.calls(), index)
        self.world.advance(15.0)
        rescue.rescue_lost(db.engine)
        self.a_worker_makes_an_attempt(0, 1, meanwhile)
        self.world.finish(call, how)

    @precondition(lambda self: self.effective())
    @rule(index=which)
    def a_write_takes_effect(self, index: int) -> None:
        self.world.btsss.take_effect(pick(self.effective(), index))

    @precondition(lambda self: self.calls())
    @rule(index=either, how=st.sampled_from(["killed", "killed", "stopped", "with a pointer", "after the grant"]))
    def a_worker_ends(self, index: int, how: str) -> None:
        worker = self.worker(index)
        if how == "stopped":
            rescue.hand_back(db.engine, worker.process.worker_id, worker.process.still_held())
        elif how == "with a pointer":
            worker.dequeue()
        elif how == "after the grant":
            self.world.relay_round(self.world.relays[index])
            self.world.grant_only(worker)
        worker.die()

    @precondition(lambda self: self.world.at_the_kiosk())
    @rule()
    def somebody_files_at_the_kiosk(self) -> None:
        self.world.btsss.file(self.world.at_the_kiosk()[0])

    # -- time, upkeep, operators, Redis --------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([6.0, 30.0, 30.0, 30.0, 500.0, 500.0, 7200.0, 100_000.0]),
        beating=st.sampled_from([(), (0,), (1,), (0, 1)]),
        rescued=st.booleans(),
    )
    def time_passes(self, seconds: float, beating: tuple[int, ...], rescued: bool) -> None:
        self.world.advance(seconds)
        for index in beating:
            self.worker(index).beat()
        if rescued:
            rescue.rescue_lost(db.engine)

    @rule(index=either, what=st.sampled_from(["sweep", "missing pointers"]))
    def the_house_is_kept(self, index: int, what: str) -> None:
        if what == "sweep":
            housekeeping.sweep_alone()
        else:
            self.world.advance(6.0)
            self.world.relays[index].find_missing()

    @precondition(lambda self: self.world.parked)
    @rule(index=which, door=st.sampled_from(["shell", "dashboard"]))
    def an_operator_requeues(self, index: int, door: str) -> None:
        failed = sorted(rq_side.failed_ids(self.world.redis, TRAVEL_CLAIMS.name))
        if door == "dashboard" and failed:
            registry = FailedJobRegistry(queue=rq_side.open_queue(self.world.redis, TRAVEL_CLAIMS.name))
            registry.requeue(pick(failed, index))
        else:
            assert reopen(pick(self.world.parked, index), actor="shell")

    @precondition(lambda self: self.calls() and not self.world.parked)
    @rule(index=which)
    def an_operator_parks(self, index: int) -> None:
        self.world.park_by_hand(index)

    @rule(index=which, what=st.sampled_from(["flushed", "loses a pointer", "brings one back", "brings one back"]))
    def redis_misbehaves(self, index: int, what: str) -> None:
        if what == "flushed":
            self.world.redis.flushall()
        elif what == "loses a pointer":
            self.world.redis.lpop(rq_side.open_queue(self.world.redis, TRAVEL_CLAIMS.name).key)
        elif self.world.pointers:
            message_id, fence = pick(self.world.pointers, index)
            self.world.push(fence, [(message_id, travel_claims.SUBMIT.path)])

    @invariant()
    def every_promise_stands(self) -> None:
        self.world.check()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    """Workers read their leases by it, and the ledger's clock starts where it stands."""
    moved = Monotonic()
    monkeypatch.setattr("jobs.runner.time", moved)
    monkeypatch.setattr("flaskapp.clock._offset", timedelta())
    return moved


@pytest.fixture
def apps(
    migrated: TemplateDatabase, redis_server: EmbeddedRedis, secrets_folder: Path
) -> Iterator[tuple[Flask, Flask]]:
    """Two processes' worth of the application on a database of their own."""
    with migrated.copied() as url:
        config = from_env(environment(url, redis_server.url, NOWHERE, kept_secrets(secrets_folder)))
        both = create_app(config), create_app(config)
        with both[0].app_context():
            # A server that has just started takes nobody for silent.
            old = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '11 s'"
            eventually(lambda: db.session.execute(db.text(old)).scalar_one(), 15)
            yield both
        for app in both:
            with app.app_context():
                db.session.remove()
                db.engine.dispose()


# Finding the shortest way to a failure takes minutes; a test that passes takes seconds.
@pytest.mark.timeout(600)
def test_no_order_of_events_breaks_a_promise(
    apps: tuple[Flask, Flask], clock: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RQ would tell at length of every job whose process was killed.
    monkeypatch.setattr(logging.getLogger("rq.worker"), "disabled", True)
    run_state_machine_as_test(lambda: Promises(apps, clock), settings=PROFILE)  # type: ignore[arg-type]
