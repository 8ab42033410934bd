"""A primary that dies while its standby takes over, and a server that hangs: nobody waits for long, and all goes on."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.exc import SQLAlchemyError

from flaskapp import create_app
from flaskapp import db as database
from flaskapp.config import from_env
from flaskapp.db import db, listening_target
from jobs.processes import Listener
from outbox import rescue
from sandbox import unprivileged
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.integration.steps import command, file_claim
from tests.memory import new_folder, postgres_folder
from tests.product import ADA, SETTINGS, Product, eventually


def standby_of(primary: EmbeddedPostgres, folder: Path) -> EmbeddedPostgres:
    """A stopped primary's copy that will follow it when both run."""
    source = f"host=127.0.0.1 port={primary.port} user=postgres password={(primary.folder / 'password').read_text()}"
    standby = EmbeddedPostgres(folder, settings={"fsync": "off", "primary_conninfo": source})
    shutil.copy2(primary.folder / "password", folder / "password")
    subprocess.run(["cp", "-a", str(primary.data), str(standby.data)], check=True)
    signal = standby.data / "standby.signal"
    signal.touch()
    unprivileged.own(signal)
    return standby


@dataclass
class Pair:
    """A primary and the standby that follows it. Faults stay: the second test finds the standby promoted."""

    product: Product
    primary: EmbeddedPostgres
    standby: EmbeddedPostgres

    def replicate(self) -> None:
        """Wait until the standby has everything that is committed now."""
        written = self.product.value("SELECT pg_current_wal_insert_lsn()::text")
        with closing(psycopg2.connect(self.standby.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def replayed() -> bool:
                cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [written])
                return cursor.fetchone() == (True,)

            eventually(replayed)

    @contextmanager
    def hung(self) -> Iterator[None]:
        """The server neither answers nor goes away."""
        stopped = self.standby._processes()
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()


@pytest.fixture(scope="module")
def pair(redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path) -> Iterator[Pair]:
    primary = EmbeddedPostgres(postgres_folder("primary"), settings={"fsync": "off"})
    # What it was set up with cannot be replicated.
    primary.start()
    primary.stop()
    standby = standby_of(primary, new_folder("standby"))
    with primary, standby:
        url = primary.url.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/")
        kept = kept_secrets(secrets_folder)
        app = create_app(from_env(environment(url, redis_server.url, fakes, kept, SETTINGS)))
        with app.app_context():
            built = Product(app, fakes)
            built.redis.flushall()
            built.control.reset()
            assert command(built, "release").exit_code == 0
            yield Pair(built, primary, standby)
            db.session.remove()
            db.engine.dispose()


def test_after_a_failover_everything_goes_on_by_itself(pair: Pair) -> None:
    product = pair.product
    claim = file_claim(product, date="2031-06-01")
    client = product.sign_in(ADA, "2031-06-02")
    pair.replicate()
    pair.primary.kill()
    away = product.ask(client, ADA, "2031-06-02")
    assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
    # The standby is there and takes no writes yet: it is not mistaken for the primary.
    assert product.app.test_client().get("/healthz/ready").status_code == 503
    pair.standby._administer("SELECT pg_promote()")
    assert product.ask(client, ADA, "2031-06-02").status_code == 202
    assert product.app.test_client().get("/healthz/ready").status_code == 200
    product.work()
    assert len(product.filed()) == 2
    assert product.value("SELECT state FROM travel_claims WHERE id = :id", id=claim.id) == "submitted"


def test_a_server_that_hangs_holds_no_request_and_no_process(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    product = pair.product
    client = product.sign_in(ADA, "2031-06-03")
    for name in ("ANSWER_SECONDS", "LEAST_SECONDS", "HEARTBEAT_ANSWER_SECONDS"):
        monkeypatch.setattr(database, name, 0.3)
    monkeypatch.setattr(database.Patience, "seconds", 0.3)
    listener = Listener(listening_target(product.app.extensions["config"]))
    listener.wait(0.01)
    listener.heard_at = 0.0
    for target in (product.app.extensions["database_target"], listener.target):
        monkeypatch.setitem(target.args, "connect_timeout", 2)
    product.value("SELECT 1")
    db.session.remove()
    began = time.monotonic()
    with pair.hung():
        away = product.ask(client, ADA, "2031-06-03")
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
        unready = product.app.test_client().get("/healthz/ready")
        assert (unready.status_code, unready.get_json()["reason"]) == (503, "PostgreSQL does not answer")
        for step in (product.relay.run_once, lambda: rescue.beat(db.engine, "worker-1", "worker")):
            with pytest.raises(SQLAlchemyError):
                step()
        listener.wait(0.01)
        assert listener.connection is None
    # Without these limits it would last until the server goes on.
    assert time.monotonic() - began < 60
    assert product.ask(client, ADA, "2031-06-03").status_code == 202
    product.work()
    listener.wait(0.01)
    assert listener.connection is not None
    listener.close()
