"""One running product for all tests of this package: started once, restored after each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from tests.forks import ForkedProcess
from tests.memory import postgres_folder
from tests.processes.running import Running
from tests.product import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("product")
    lines: list[tuple[str, str]] = []
    with (
        # Commits do not really wait for the disk; killing Postgres is not a power cut.
        EmbeddedPostgres(postgres_folder(), settings={"fsync": "off"}) as postgres,
        EmbeddedValkey(tmp_path_factory.mktemp("redis")) as redis_server,
    ):
        system = System(
            ROOT,
            environ={
                **SETTINGS,
                # A busy machine's VANotify may take what a worker sent long after that was killed: a look-up before it
                # finds nothing, and a second send would reach the person too.
                "VANOTIFY_CONFIRM_SECONDS": "10",
                "DATABASE_URL": postgres.url,
                "REDIS_URL": redis_server.url,
            },
            folder=folder,
            say=lambda step: None,
            hear=lambda name, line: lines.append((name, line)),
            process=ForkedProcess,
        )
        with system:
            running = Running(system, postgres, redis_server, lines)
            yield running
            running.database.close()
            running.control.close()
            running.redis.close()


@pytest.fixture(scope="module")
def running(started: Running) -> Iterator[Running]:
    """The product, with everything up and every upstream well; restored after the module has struck it."""
    started.restore()
    yield started
    started.restore()
