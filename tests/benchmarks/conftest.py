"""The servers of the benchmarks: a PostgreSQL that waits for its disk, as in production, and the Procfile's
processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskapp.db import db
from outbox import breakers, rq_side
from outbox.relay import Relay
from outbox.values import BreakerSettings
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from tests.benchmarks.figures import quiet
from tests.benchmarks.noop import BENCH, NOOP
from tests.benchmarks.people import Person
from tests.product import Product

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Replaces the tests' fast server. Commit times are kept, so that waits can be counted from a commit."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), settings={"track_commit_timestamp": "on"})
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture(scope="session")
def system(
    postgres: EmbeddedPostgres, redis_server: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Web, relay, worker and scheduler as processes, on servers that a benchmark may stop."""
    environ = {"DATABASE_URL": postgres.create_database("system"), "REDIS_URL": redis_server.url}
    folder = tmp_path_factory.mktemp("system")
    running = System(ROOT, environ=environ, folder=folder, say=lambda text: None)
    with running:
        yield running


@pytest.fixture
def person(system: System) -> Iterator[Person]:
    signed_in = Person(system)
    yield signed_in
    signed_in.close()


@pytest.fixture
def relay(product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay for one deep queue, whose job this process may run."""
    monkeypatch.setattr(rq_side.LedgerJob, "allowed", frozenset({NOOP.work.path}))
    with db.engine.begin() as connection:
        breakers.ensure_breakers(connection, [BENCH])
    with quiet():
        yield Relay(db.engine, product.redis, (BENCH,), BreakerSettings())
