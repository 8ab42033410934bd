"""Real servers for every test that wants them, started once, and a migrated database that nobody has used yet."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from xdist.remote import Producer

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db
from flaskapp.logs import OUR_LOGGERS
from sandbox.databases import LentDatabase, TemplateDatabase
from sandbox.faults import UPSTREAMS
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams, running_upstreams
from tests.described import check_answers
from tests.ledger import Ledger, opened
from tests.memory import postgres_folder, use_run_folder
from tests.product import SETTINGS, Product
from tests.reuse import Sessions, reuse
from tests.scheduling import SharedProduct, rank

NOWHERE = dict.fromkeys(
    UPSTREAMS,
    "http://127.0.0.1:9",
)


reuse()
use_run_folder()
# Most tests need no more at a time. Each is a process of PostgreSQL.
product_sessions, ledger_sessions = Sessions(1), Sessions(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Freeze what was imported for a run, because it stays to the end: checking it again and again was a third of
    collecting.

    Afterwards the garbage collector runs less often than it would, but each test leaves only an application behind, not
    a gigabyte.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(5_000)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedProduct | None:
    return SharedProduct(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def process_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back Python's clock and the log level, which belong to the process: the next test must find them as in a new
    process. Postgres's clock goes away with the test's database."""
    monkeypatch.setattr("flaskapp.clock._offset", timedelta())
    for logger in map(logging.getLogger, OUR_LOGGERS):
        if logger.level != logging.INFO:
            logger.setLevel(logging.INFO)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(postgres_folder(), fast=True)
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
    server.remove()


@pytest.fixture(scope="session")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres, redis_server: EmbeddedValkey, secrets_folder: Path) -> TemplateDatabase:
    """A database as `flask release` leaves it."""

    def migrate(url: str) -> None:
        app = create_app(from_env(environment(url, redis_server.url, NOWHERE, kept_secrets(secrets_folder))))
        result = app.test_cli_runner().invoke(args=["release"])
        assert result.exit_code == 0, result.output
        with app.app_context():
            db.engine.dispose()

    return TemplateDatabase(postgres, migrate)


@pytest.fixture(scope="session")
def fakes() -> Iterator[Upstreams]:
    with running_upstreams() as upstreams:
        yield upstreams


@pytest.fixture(scope="session")
def spare(migrated: TemplateDatabase) -> LentDatabase:
    return LentDatabase(migrated)


@pytest.fixture
def database_url(spare: LentDatabase) -> Iterator[str]:
    with spare.lent(product_sessions.pids) as url:
        yield url


@pytest.fixture(scope="session")
def ledger_database_url(migrated: TemplateDatabase) -> Iterator[str]:
    with migrated.copied() as url:
        yield url


@pytest.fixture
def ledger(ledger_database_url: str, redis_server: EmbeddedValkey) -> Iterator[Ledger]:
    """The ledger by itself, for tests of its own rules. It is emptied and not copied, because these tests are many."""
    with opened(ledger_database_url, redis_server.url, ledger_sessions) as built:
        yield built


@pytest.fixture
def product(
    database_url: str, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Product]:
    """The whole product in this process: the application, its relay and a worker, on real servers and real HTTP."""
    fakes.fakes.reset()
    kept = kept_secrets(secrets_folder)
    app = create_app(from_env(environment(database_url, redis_server.url, fakes, kept, SETTINGS)))
    built = Product(app, fakes)
    built.faults = check_answers(app)
    built.redis.flushall()
    with app.app_context(), product_sessions.warm(db.engine):
        yield built
        db.session.remove()
    built.redis.close()
    assert built.faults == [], "answers that are not as described: " + "\n".join(built.faults)
