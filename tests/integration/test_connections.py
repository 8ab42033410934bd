"""Connections that die between two uses: the next user of the pool gets a working one."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from flaskapp import db as database
from flaskapp.db import db, is_passing
from outbox import connect_plainly
from sandbox.servers import OWNER, EmbeddedPostgres
from tests.integration.steps import file_claim
from tests.product import Product

END = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = %s AND usename = %s"
BACKEND = "SELECT pg_backend_pid()"
READ_ONLY = text("DO $$ BEGIN RAISE EXCEPTION 'as a standby says it' USING ERRCODE = '25006'; END $$")
NAMED = text("SELECT CAST(:name AS text) AS name")


def end_all(postgres: EmbeddedPostgres) -> int:
    """End every session of the product in this test's database, as a restart does; returns how many there were."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin, admin, admin.cursor() as cursor:
        cursor.execute(END, (db.engine.url.database, OWNER))
        (ended,) = cursor.fetchone() or (0,)
    return int(ended)


@pytest.mark.parametrize("ping_after", [0.0, 60.0])
def test_a_dead_connection_is_replaced_however_short_it_was_idle(
    product: Product, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, ping_after: float
) -> None:
    monkeypatch.setattr(database, "PING_AFTER_SECONDS", ping_after)
    before = product.value(BACKEND)
    assert end_all(postgres) == 1
    assert product.value(BACKEND) != before


def test_a_claim_is_accepted_filed_and_notified_although_connections_die_between_its_steps(
    product: Product, postgres: EmbeddedPostgres
) -> None:
    client = product.sign_in()
    assert end_all(postgres) > 0
    assert product.ask(client).status_code == 202
    assert end_all(postgres) > 0
    product.beat()
    product.relay.run_once()
    assert end_all(postgres) > 0
    product.run_queued()
    assert product.value("SELECT count(*) FROM travel_claims WHERE state = 'submitted'") == 1


def test_a_read_only_use_returns_its_connection_unchanged(product: Product) -> None:
    file_claim(product)
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None and raw.autocommit is False
    with pytest.raises(RuntimeError), database.reading(), database.transaction():
        pass
    assert product.value("SELECT 1") == 1


def test_a_plain_connection_that_died_raises_as_sqlalchemy_does_and_the_next_one_works(
    product: Product, postgres: EmbeddedPostgres
) -> None:
    with connect_plainly(db.engine) as connection:
        assert connection.execute(NAMED, {"name": "Zebediah"}).one().name == "Zebediah"
        end_all(postgres)
        with pytest.raises(DBAPIError) as caught:
            connection.execute(NAMED, {"name": "Zebediah"})
    assert caught.value.connection_invalidated and is_passing(caught.value)
    assert "Zebediah" not in str(caught.value)
    with connect_plainly(db.engine) as connection:
        assert connection.execute(NAMED, {"name": "100 %"}).one().name == "100 %"
    with db.engine.connect() as usual:
        raw = usual.connection.dbapi_connection
        assert raw is not None and raw.autocommit is False


def test_a_database_that_cannot_be_reached_is_the_same_error_on_a_plain_connection(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = product.app.extensions["database_target"]
    db.engine.dispose()
    monkeypatch.setitem(target.args, "port", 1)
    with pytest.raises(OperationalError) as caught, connect_plainly(db.engine):
        pass
    assert is_passing(caught.value)


def test_all_connections_are_made_anew_when_a_plain_one_leads_to_a_standby(product: Product) -> None:
    before = product.value(BACKEND)
    with pytest.raises(DBAPIError), connect_plainly(db.engine) as connection:
        connection.execute(READ_ONLY)
    assert product.value(BACKEND) != before
