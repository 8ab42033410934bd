"""The servers of the benchmarks: a PostgreSQL that waits for its disk, as in production, and the Procfile's
processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from tests.benchmarks.people import Person

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Replaces the tests' fast server."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
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
