"""A signed-in claim is filed once and notified once, however its four steps are cut, lost, overtaken or repeated.

Every run tries the same orders of events; `PROPERTY_EXAMPLES=2000` tries that many new ones instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE
from tests.product import eventually
from tests.property.monotonic import Monotonic
from tests.property.travel_pay_upstream import READS, WRITES
from tests.property.travel_pay_world import OVERTAKEN, WAITS, World

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
ROUNDS = 10
PEOPLE = 2
PROFILE = settings(
    max_examples=EXAMPLES or 5,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

FIND, BEGIN, ADD, SUBMIT = "find_or_add_appointment", "create_claim", "add_mileage", "submit_begun_claim"
# Every ending of every step, and everything that may come in between when the claim's reply is lost and looked up.
PLANS = [
    *([(FIND, ending)] for ending in READS),
    *([(step, ending)] for step in (BEGIN, ADD, SUBMIT) for ending in WRITES),
    *([(BEGIN, "lost"), (FIND, ending)] for ending in READS),
    *([(BEGIN, "took effect and lost"), ("claim", ending)] for ending in READS),
]


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    """The clock by which workers read their leases."""
    moved = Monotonic()
    monkeypatch.setattr("jobs.engine.runner.time", moved)
    return moved


@pytest.fixture
def app(migrated: TemplateDatabase, redis_server: EmbeddedValkey, secrets_folder: Path) -> Iterator[Flask]:
    with migrated.copied() as url:
        built = create_app(from_env(environment(url, redis_server.url, NOWHERE, kept_secrets(secrets_folder))))
        with built.app_context():
            # A server that has just started takes nobody for dead.
            old = "SELECT clock_timestamp() - pg_postmaster_start_time() > interval '11 s'"
            eventually(lambda: db.session.execute(db.text(old)).scalar_one())
            yield built
            db.session.remove()
            db.engine.dispose()


# Finding the shortest way to a failure takes minutes; a test that passes takes seconds.
@pytest.mark.timeout(600)
def test_no_order_of_events_files_a_claim_twice_or_leaves_it_half_made(app: Flask, monotonic: Monotonic) -> None:
    @PROFILE
    @given(st.data())
    def any_order(data: st.DataObject) -> None:
        world = World(app, monotonic.move, lambda many: data.draw(st.sampled_from(many)), PEOPLE)
        for _ in range(ROUNDS):
            if not world.has_work():
                break
            world.round()
            if data.draw(st.sampled_from((False, False, True))):
                world.requeue()
        world.drain()
        world.check_end()

    any_order()


def test_every_step_may_end_in_every_way(app: Flask, monotonic: Monotonic) -> None:
    world = World(app, monotonic.move, max, people=len(PLANS))
    world.plans = {f"ICN{index}": list(plan) for index, plan in enumerate(PLANS)}
    world.drain()
    assert not any(world.plans.values())
    world.check_end()


def asleep(wanted: int) -> Callable[[tuple[Any, ...]], Any]:
    """Everything goes well but the write of that number: its worker sleeps while others look up what it did, and do
    it."""
    writes, waits = count(), list[float]()

    def draw(many: tuple[Any, ...]) -> Any:
        if "stalls before" in many and next(writes) == wanted:
            waits.extend((240.0, 20.0, 20.0))
            return "stalls before"
        if many is WAITS:
            return waits.pop(0) if waits else 20.0
        return max(many) if many is OVERTAKEN else many[0]

    return draw


def test_a_worker_that_slept_before_its_write_does_not_repeat_what_others_did(app: Flask, monotonic: Monotonic) -> None:
    for wanted in range(3):
        world = World(app, monotonic.move, asleep(wanted), people=1)
        while world.has_work():
            world.round()
        world.check_end()
