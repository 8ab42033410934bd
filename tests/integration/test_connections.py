"""Connections that die between two uses: nobody who asks Postgres afterwards notices."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from flaskapp import db as database
from flaskapp.db import db
from sandbox.servers import EmbeddedPostgres
from tests.house import House
from tests.integration.steps import file_claim

END = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = %s"
BACKEND = "SELECT pg_backend_pid()"


def end_all(postgres: EmbeddedPostgres) -> int:
    """End every session of this test's database, as a restart does; how many there were."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin, admin, admin.cursor() as cursor:
        cursor.execute(END, (db.engine.url.database,))
        (ended,) = cursor.fetchone() or (0,)
    return int(ended)


@pytest.mark.parametrize("ping_after", [0.0, 60.0])
def test_a_connection_that_died_is_replaced_however_short_its_rest_was(
    house: House, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, ping_after: float
) -> None:
    monkeypatch.setattr(database, "PING_AFTER_SECONDS", ping_after)
    before = house.value(BACKEND)
    assert end_all(postgres) == 1
    assert house.value(BACKEND) != before


def test_a_claim_is_accepted_filed_and_told_over_connections_that_died_between_its_steps(
    house: House, postgres: EmbeddedPostgres
) -> None:
    client = house.sign_in()
    assert end_all(postgres) > 0
    assert house.ask(client).status_code == 202
    assert end_all(postgres) > 0
    house.beat()
    house.relay.run_once()
    assert end_all(postgres) > 0
    house.run_queued()
    assert house.value("SELECT count(*) FROM travel_claims WHERE state = 'submitted'") == 1


def test_what_only_reads_gives_its_connection_back_as_it_was(house: House) -> None:
    file_claim(house)
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None and raw.autocommit is False
    with pytest.raises(RuntimeError), database.reading(), database.transaction():
        pass
    assert house.value("SELECT 1") == 1
