"""Every process of the Procfile behind PgBouncer in transaction mode, with a direct URL for LISTEN and migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from sandbox.pgbouncer import PgBouncer, find_pgbouncer
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from tests.forks import ForkedProcess
from tests.memory import postgres_folder
from tests.processes.conftest import ROOT
from tests.processes.running import SUBMIT, Running, events
from tests.product import SETTINGS, eventually

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(find_pgbouncer() is None, reason="PgBouncer is not installed"),
]
RUNS = "SELECT name FROM outbox_leases WHERE ran_at IS NOT NULL"


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    lines: list[tuple[str, str]] = []
    with (
        EmbeddedPostgres(postgres_folder(), settings={"fsync": "off"}) as postgres,
        PgBouncer(tmp_path_factory.mktemp("pgbouncer"), postgres.url) as pooler,
        EmbeddedValkey(tmp_path_factory.mktemp("redis")) as redis_server,
        System(
            ROOT,
            environ={
                **SETTINGS,
                "DATABASE_URL": pooler.url,
                "DATABASE_DIRECT_URL": postgres.url,
                "REDIS_URL": redis_server.url,
            },
            folder=Path(tmp_path_factory.mktemp("product")),
            say=lambda step: None,
            hear=lambda name, line: lines.append((name, line)),
            process=ForkedProcess,
        ) as system,
    ):
        running = Running(system, postgres, redis_server, lines)
        yield running
        running.database.close()
        running.control.close()
        running.redis.close()


def test_a_claim_is_filed_once_notified_once_and_swept_audited_and_kept(pooled: Running) -> None:
    people = [pooled.ask() for _ in range(3)]
    pooled.until_notified(*people)
    for person in people:
        assert (len(pooled.received(SUBMIT, person)), len(pooled.texts(person))) == (1, 1)
    eventually(lambda: {row["name"] for row in pooled.rows(RUNS)} == {"sweep", "audit", "retention"})
    release = pooled.fork("release")
    assert release.wait(120) == 0, release.lines()
    audit = pooled.audit()
    assert audit.returncode == 0, audit.stdout
    worrying = [line for line in events([line for _, line in pooled.lines]) if line["level"] not in ("INFO", "DEBUG")]
    assert worrying == []


def test_the_relay_listens_beside_the_pooler(pooled: Running) -> None:
    listening = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'surefile-listen' AND query LIKE %s"
    assert pooled.value(listening, "LISTEN%") + pooled.value(listening, "SELECT 1%") == 1
    with closing(psycopg2.connect(pooled.postgres.url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)
