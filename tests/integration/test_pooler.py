"""The product behind PgBouncer in transaction mode with its defaults, where the distribution's PgBouncer is installed.

In this mode every transaction may get another session of the server. PgBouncer here has two for each database, and
gives them out in turns, so what one transaction leaves in a session the next ones find.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import alone, db, listening_target, transaction
from jobs import housekeeping
from jobs.processes import Listener
from outbox import away
from sandbox.pgbouncer import PgBouncer, find_pgbouncer
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.integration.footprint_steps import metering
from tests.integration.steps import command, file_claim, reconfigure
from tests.product import ADA, SETTINGS, Product

pytestmark = pytest.mark.skipif(find_pgbouncer() is None, reason="PgBouncer is not installed")

LEFT = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
SET_FOR_THE_SESSION = """
    SELECT name, setting FROM pg_settings
     WHERE source = 'session' AND name NOT IN ('application_name', 'transaction_isolation')
"""


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    folder = tmp_path_factory.mktemp("pgbouncer")
    settings = {"default_pool_size": "2", "server_round_robin": "1"}
    with PgBouncer(folder, postgres.url, settings=settings) as running:
        yield running


@pytest.fixture
def pooled(
    pooler: PgBouncer, database_url: str, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Product]:
    """The whole product in this process, on a database that it reaches through the pooler only."""
    fakes.fakes.reset()
    kept = kept_secrets(secrets_folder)
    app = create_app(from_env(environment(pooler.url_of(database_url), redis_server.url, fakes, kept, SETTINGS)))
    built = Product(app, fakes)
    built.redis.flushall()
    with app.app_context():
        yield built
        db.session.remove()
        db.engine.dispose()
    built.redis.close()


def plainly(pooled: Product, query: str) -> list[tuple[object, ...]]:
    """What somebody finds who gets one of the server's sessions after us, in each of the two."""
    url = pooled.app.extensions["config"].database_url.replace("+psycopg2", "")
    found = []
    with closing(psycopg2.connect(url)) as other, other.cursor() as cursor:
        other.autocommit = True
        for _ in range(4):
            cursor.execute(query)
            found += cursor.fetchall()
    return found


def test_everything_works_through_it_and_leaves_nothing_in_the_servers_sessions(
    pooled: Product, database_url: str
) -> None:
    """Release, web, relay, worker, and the three that one process does at a time; each of them twice."""
    reconfigure(pooled, database_direct_url=database_url)
    for date in ("2031-06-01", "2031-06-02"):
        db.session.remove()
        assert command(pooled, "release").exit_code == 0
        file_claim(pooled, date=date)
        pooled.work()
        for periodic in (housekeeping.sweep, housekeeping.audit_all, housekeeping.retain):
            periodic()
        assert command(pooled, "audit", "--trace", "--repair").exit_code == 0
    assert len(pooled.filed()) == 2
    assert len(pooled.phone(2)) == 2
    runs = "SELECT name, passed_over, holder FROM outbox_leases WHERE ran_at IS NOT NULL ORDER BY name"
    assert [tuple(row) for row in pooled.rows(runs)] == [
        ("audit", 0, None),
        ("retention", 0, None),
        ("sweep", 0, None),
    ]
    assert {row[0] for row in plainly(pooled, LEFT)} == {0}
    assert plainly(pooled, SET_FOR_THE_SESSION) == []


def test_its_time_outs_hold_in_transactions_and_in_single_statements(pooled: Product) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone")
    shown = text("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
    expected = ("25s", "4s", "3500ms", "UTC")
    with transaction() as session:
        assert tuple(session.execute(shown).one()) == expected
        session.execute(text("SELECT 1"))
        assert tuple(session.execute(shown).one()) == expected
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.autocommit = True
        assert tuple(connection.execute(shown).one()) == expected
        raw.autocommit = False


def test_a_statement_that_takes_too_long_is_ended_by_the_server(pooled: Product) -> None:
    target = pooled.app.extensions["database_target"]
    target.settings = {**target.settings, "statement_timeout": "100"}
    db.engine.dispose()
    with pytest.raises(OperationalError) as caught, transaction() as session:
        session.execute(text("SELECT pg_sleep(20)"))
    assert away.reason_of(caught.value) == "PostgreSQL took too long"


def test_it_costs_no_round_trip(
    pooled: Product, product: Product, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings travel in the message of each transaction's first statement. They are counted by themselves."""
    monkeypatch.setattr("flaskapp.db.PING_AFTER_SECONDS", 60.0)
    spent = {}
    for each, date in ((pooled, "2031-06-01"), (product, "2031-06-02")):
        with each.app.app_context(), metering(postgres.admin_url) as meter:
            client = each.sign_in(ADA, date)
            each.value("SELECT 1")
            with meter.step(date):
                assert each.ask(client, ADA, date).status_code == 202
            spent[date] = meter.spent[date].round_trips
    assert len(set(spent.values())) == 1


def test_without_a_direct_url_it_is_said_and_the_relay_does_not_listen_through_the_pooler(
    pooled: Product, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    db.engine.dispose()
    pooled.app.extensions["database_target"].pooled = None
    with caplog.at_level(logging.INFO):
        pooled.value("SELECT 1")
    assert "database.pooler_without_direct_url" in [getattr(record, "event", "") for record in caplog.records]
    config = pooled.app.extensions["config"]
    through = Listener(listening_target(config))
    through.wait(0.01)
    through.wait(0.01)
    assert through.connection is None


def test_a_release_through_it_is_refused_before_anything_changes(pooled: Product) -> None:
    """An index that is built beside the traffic cannot share a message with the settings of its transaction."""
    pooled.rows("UPDATE alembic_version SET version_num = '0010' RETURNING 1")
    refused = command(pooled, "release")
    assert refused.exit_code == 1
    assert "set DATABASE_DIRECT_URL" in refused.output
    assert pooled.value("SELECT version_num FROM alembic_version") == "0010"


def test_two_processes_share_a_lease_through_it(pooled: Product) -> None:
    inner: list[bool] = []
    assert alone("sweep", lambda: inner.append(alone("sweep", lambda: None)))
    assert inner == [False]
    assert alone("sweep", lambda: None)
