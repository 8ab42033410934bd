"""Postgres that is there and takes no writes: read-only, full, its rights taken away; and answers that are overdue.

One answer to all of it: 503 with Retry-After, readiness that says why, answers kept in hand, recovery by itself.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from flaskapp import create_app, logs
from flaskapp import db as database
from flaskapp.config import from_env, read_database_url
from flaskapp.crypto import vault
from flaskapp.db import db, is_passing, transaction
from flaskapp.upstreams.transport.http import within
from jobs import housekeeping, processes
from jobs.engine import settle
from outbox import Target, away, connections, rescue
from sandbox.server import free_port
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import OPERATOR, environment, kept_secrets
from tests.conftest import NOWHERE
from tests.edge_app import log_in
from tests.integration.form526_steps import grant as grant_of
from tests.integration.steps import command, file_claim, sweeping
from tests.product import Product

ATTEMPTS = "SELECT purpose, status FROM outbox_attempts WHERE job LIKE '%%check_in_claim' ORDER BY id"


@pytest.fixture
def administer(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Runs a statement as the superuser, `{name}` being this test's database."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        yield lambda statement: cursor.execute(statement.format(name=db.engine.url.database))


@contextmanager
def read_only(administer: Callable[[str], None]) -> Iterator[None]:
    """As on a managed plan whose disk is full: every session from now on is read-only, and the present ones are."""
    administer("ALTER DATABASE {name} SET default_transaction_read_only = on")
    demote()
    yield
    administer("ALTER DATABASE {name} RESET default_transaction_read_only")


def demote() -> None:
    """The pooled connections of this process find themselves on a server that takes no writes."""
    db.session.remove()
    with db.engine.connect() as connection:
        connection.execute(text("SET SESSION default_transaction_read_only = on"))
        connection.commit()


@contextmanager
def revoked(administer: Callable[[str], None]) -> Iterator[None]:
    """As on a managed plan with too many rows: nothing may be inserted."""
    with closing(psycopg2.connect(db.engine.url.render_as_string(False).replace("+psycopg2", ""))) as owner:
        owner.autocommit = True
        with owner.cursor() as cursor:
            cursor.execute("REVOKE INSERT ON ALL TABLES IN SCHEMA public FROM CURRENT_USER")
            yield
            cursor.execute("GRANT INSERT ON ALL TABLES IN SCHEMA public TO CURRENT_USER")


TROUBLES = {
    "read-only": (read_only, "PostgreSQL is read-only"),
    "revoked": (revoked, "PostgreSQL refuses to be written to: our rights were taken away"),
}


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_post_is_answered_503_readiness_says_why_and_all_is_well_when_it_is_over(
    product: Product, administer: Callable[[str], None], kind: str
) -> None:
    trouble, reason = TROUBLES[kind]
    client = product.sign_in()
    with trouble(administer):
        refused = product.ask(client)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        unready = product.app.test_client().get("/healthz/ready")
        assert (unready.status_code, unready.get_json()["reason"]) == (503, reason)
        assert product.app.test_client().get("/healthz/live").status_code == 200
    assert product.ask(client).status_code == 202
    assert product.app.test_client().get("/healthz/ready").status_code == 200
    product.work()
    assert len(product.filed()) == 1


def test_pooled_connections_to_what_is_now_a_standby_are_renewed_and_nobody_notices(product: Product) -> None:
    client = product.sign_in()
    demote()
    assert product.ask(client).status_code == 202
    demote()
    with pytest.raises(DBAPIError):
        rescue.beat(db.engine, "worker-1", "worker")
    rescue.beat(db.engine, "worker-1", "worker")


@pytest.mark.parametrize("kind", TROUBLES)
def test_an_answer_stays_in_hand_until_postgres_takes_writes_however_long_that_is(
    product: Product, administer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Dropped, it would have to be looked up; and what cannot be looked up would be sent a second time."""
    file_claim(product)
    settle_first, struck, waits = settle.settle_first, [], []
    trouble = TROUBLES[kind][0](administer)

    def strike(session: Any, answered: Any) -> Any:
        if not struck and answered[0].grant.job.endswith("check_in_claim"):
            struck.append(trouble.__enter__())
        return settle_first(session, answered)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            trouble.__exit__(None, None, None)

    monkeypatch.setattr(settle, "settle_first", strike)
    monkeypatch.setattr(settle, "time", SimpleNamespace(sleep=wait))
    product.work()
    assert (len(waits), max(waits)) == (12, 4.0)
    assert product.rows(ATTEMPTS) == [("write", "success")]
    assert len(product.submits()) == 1


def test_each_beat_prolongs_the_lease_of_an_answer_in_hand(product: Product, administer: Callable[[str], None]) -> None:
    """Also where nothing may be inserted, while relays may still take back what seems lost."""
    claim, process, over = file_claim(product), product.app.extensions["process"], threading.Event()
    product.beat()
    granted = grant_of(product, claim.id)
    product.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() + interval '1 s' RETURNING 1")
    process.keep(granted)
    over.set()
    with revoked(administer):
        processes.beat_until(db.engine, vault(), process, "worker", None, over)
    assert product.value("SELECT lease_expires_at > outbox_now() + interval '20 s' FROM outbox_messages")
    process.release(granted)
    assert process.kept_grants() == []


# -- what counts as away --------------------------------------------------------------


class Told(psycopg2.OperationalError):
    def __init__(self, sqlstate: str, said: str = "") -> None:
        super().__init__(said)
        self.sqlstate = sqlstate

    @property
    def pgcode(self) -> str:  # type: ignore[override]
        return self.sqlstate


@pytest.mark.parametrize(
    "sqlstate",
    ["", "08006", "25006", "25P03", "53100", "53200", "53300", "55P03", "57014", "57P01", "57P03", "58030", "XX001"],
)
def test_these_errors_say_that_postgres_is_away(sqlstate: str) -> None:
    error = OperationalError("INSERT INTO x", {}, Told(sqlstate))
    assert (away.is_away(error), away.is_away(Told(sqlstate)), is_passing(error)) == (True, True, True)


def test_only_a_write_that_was_refused_is_about_rights_that_were_taken_away() -> None:
    assert away.is_away(ProgrammingError("INSERT INTO x", {}, Told("42501")))
    assert not away.is_away(ProgrammingError("SELECT 1 FROM x", {}, Told("42501")))


@pytest.mark.parametrize("sqlstate", ["23505", "42P01", "22001", "40P01"])
def test_these_errors_are_about_the_statement(sqlstate: str) -> None:
    assert not away.is_away(OperationalError("INSERT INTO x", {}, Told(sqlstate)))


def test_a_fault_of_our_own_is_answered_500_and_not_called_an_outage(product: Product) -> None:
    def read() -> str:
        with transaction() as session:
            return str(session.execute(text("SELECT * FROM a_table_that_is_not_there")).all())

    product.app._got_first_request = False
    product.app.add_url_rule("/healthz/broken", view_func=read)
    assert product.app.test_client().get("/healthz/broken").status_code == 500


# -- limits ---------------------------------------------------------------------------


def test_a_request_waits_for_one_answer_only_so_long_and_its_connection_is_not_used_again(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(database, "LEAST_SECONDS", 0.1)
    backend = product.value("SELECT pg_backend_pid()")
    began = time.monotonic()
    with product.app.test_request_context("/"), pytest.raises(OperationalError) as caught, transaction() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    assert (away.reason_of(caught.value), is_passing(caught.value)) == ("PostgreSQL does not answer", True)
    assert time.monotonic() - began < 30
    assert product.value("SELECT pg_backend_pid()") != backend


def test_a_watch_that_ended_begins_again(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that nobody watches would wait for a hung server without end."""
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    product.value("SELECT 1")
    monkeypatch.setattr(connections.WATCH, "thread", ended)
    monkeypatch.setattr(database.Patience, "seconds", 0.2)
    with pytest.raises(OperationalError) as caught, transaction() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    assert away.reason_of(caught.value) == "PostgreSQL does not answer"
    assert connections.WATCH.is_looking


def test_a_request_has_one_limit_for_all_its_statements(product: Product) -> None:
    with product.app.test_request_context("/"):
        assert database.answer_seconds() == database.ANSWER_SECONDS
        with within(5):
            assert 4 < database.answer_seconds() <= 5
        with within(-75):
            assert database.answer_seconds() == database.LEAST_SECONDS
    with database.long_work():
        assert database.answer_seconds() == database.LONG_SECONDS


def test_a_transaction_that_failed_late_is_not_run_again(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def work(session: Any) -> None:
        tries.append(1)
        raise OperationalError("INSERT INTO x", {}, Told("40P01"))

    with pytest.raises(OperationalError):
        database.durably(work)
    monkeypatch.setattr(database, "RERUN_WITHIN_SECONDS", 0.0)
    with pytest.raises(OperationalError):
        database.durably(work)
    assert len(tries) == 3


def test_a_host_that_goes_silent_is_noticed_by_every_connection(product: Product) -> None:
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        with socket.socket(fileno=socket.dup(raw.fileno())) as line:
            kept = [
                line.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            ]
    assert kept == [5, 3, 3, 15_000]


# -- the URL --------------------------------------------------------------------------


def test_options_in_the_url_are_honoured_beside_ours(
    database_url: str, redis_server: EmbeddedValkey, secrets_folder: Any
) -> None:
    url = f"{database_url}?options=-csearch_path%3Delsewhere%2Cpublic%20-c%20application_name%3Dours"
    app = create_app(from_env(environment(url, redis_server.url, NOWHERE, kept_secrets(secrets_folder))))
    with app.app_context(), db.engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("search_path", "statement_timeout", "lock_timeout", "timezone")
        ]
        db.engine.dispose()
    assert shown == ["elsewhere,public", "25s", "4s", "UTC"]


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "password": (lambda url: re.sub(r":[^:@]+@", ":wrong@", url), "PostgreSQL refuses this user's password"),
    "user": (lambda url: re.sub(r"//\w+:", "//nobody:", url), "PostgreSQL refuses this user's password"),
    "database": (lambda url: f"{url}_gone", "PostgreSQL has no such database"),
    "TLS": (lambda url: f"{url}?sslmode=require", "TLS is wanted, and PostgreSQL does not offer it"),
    "port": (lambda url: re.sub(r":\d+/", ":1/", url), "nobody listens at PostgreSQL's address"),
    "value": (
        lambda url: f"{url}?options=-c%20work_mem%3Dmuch",
        "PostgreSQL refuses the value of a parameter in the URL's options",
    ),
    "parameter": (
        lambda url: f"{url}?options=-c%20no_such%3D1",
        "PostgreSQL does not know a parameter in the URL's options",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_each_reason_why_there_is_no_connection_has_a_line_of_its_own(
    database_url: str, kind: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    change, reason = REFUSED[kind]
    target = Target(read_database_url(change(database_url)), "test", {}, lambda: 30.0)
    with pytest.raises(psycopg2.OperationalError) as caught:
        target.connect()
    with pytest.raises(psycopg2.OperationalError):
        target.connect()
    assert [record.getMessage() for record in caplog.records] == [reason]
    # A command that ends with it says no more than that.
    logs.configure()
    logs.log_uncaught(caught.type, caught.value, caught.tb)
    assert f'"message": "{reason}"' in capsys.readouterr().out


# -- readiness ------------------------------------------------------------------------


def test_a_later_migration_is_right_as_well(product: Product) -> None:
    """The release before runs on while the new one has migrated already."""
    product.rows("UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    assert product.app.test_client().get("/healthz/ready").status_code == 200
    product.rows("UPDATE alembic_version SET version_num = '0001' RETURNING 1")
    assert product.app.test_client().get("/healthz/ready").get_json()["reason"] == "the database is not migrated"


def standing_still(product: Product) -> tuple[int, str, list[str]]:
    ready = product.app.test_client().get("/healthz/ready")
    return ready.status_code, ready.get_json()["status"], ready.get_json().get("standing_still", [])


def test_what_stands_still_is_said_in_words_and_turns_no_web_process_away(
    product: Product, secrets_folder: Path
) -> None:
    for kind in ("relay", "worker", "scheduler"):
        rescue.beat(db.engine, f"{kind}-1", kind)
    assert standing_still(product) == (200, "ready", [])
    product.rows("UPDATE outbox_processes SET beat_at = beat_at - interval '20 s' WHERE kind = 'relay' RETURNING 1")
    rescue.end_process(db.engine, "worker-1")
    product.rows("INSERT INTO outbox_leases (name, ran_at) VALUES ('sweep', now() - interval '1 hour') RETURNING 1")
    status, words, found = standing_still(product)
    assert (status, words, [re.sub(r"\d+", "N", each) for each in found]) == (
        200,
        "degraded",
        [
            "no worker is running: nothing is sent to an upstream",
            "no relay has beaten for N s: work waits in Postgres",
            "the sweep has not run for N s",
        ],
    )
    operator = product.app.test_client()
    log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR)
    page = operator.get("/ops/").text
    assert "No worker is running: nothing is sent to an upstream." in page


def test_work_that_finds_its_lease_taken_is_counted_and_after_a_while_a_fault(product: Product) -> None:
    housekeeping.sweep()
    assert command(product, "audit").exit_code == 0
    with sweeping(product):
        housekeeping.sweep()
        housekeeping.sweep()
        passed = "SELECT passed_over FROM outbox_leases WHERE name = 'sweep'"
        assert product.value(passed) == 2
        assert 'surefile_passed_over_total{work="sweep"} 2.0' in product.metrics()
        product.rows("UPDATE outbox_leases SET passed_over_since = now() - interval '6 minutes' RETURNING 1")
        audit = command(product, "audit")
        assert (audit.exit_code, "work sweep: sweep_stands_still" in audit.stdout) == (1, True)
    housekeeping.sweep()
    assert command(product, "audit").exit_code == 0


def test_a_lease_that_nobody_renews_ends_by_itself(product: Product) -> None:
    with sweeping(product):
        assert not database.alone("sweep", lambda: None)
        product.rows("UPDATE outbox_leases SET held_until = now() - interval '1 s' RETURNING 1")
        assert database.alone("sweep", lambda: None)


def test_redis_that_takes_no_writes_is_called_so(product: Product) -> None:
    full = ("maxmemory", "1")
    product.redis.config_set(*full)
    try:
        ready = product.app.test_client().get("/healthz/ready")
    finally:
        product.redis.config_set("maxmemory", "0")
    assert (ready.status_code, ready.get_json()["redis"]) == (200, "read-only")
    assert product.app.test_client().get("/healthz/ready").get_json()["redis"] == "ok"


def test_a_redis_cluster_is_refused_in_one_sentence(
    product: Product, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its second port would be the first plus 10,000, which somebody's outgoing connection may have.
    settings = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with EmbeddedValkey(tmp_path_factory.mktemp("cluster"), settings=settings) as cluster:
        monkeypatch.setitem(product.app.extensions, "redis", redis := Redis.from_url(cluster.url))
        refused = command(product, "release")
        with pytest.raises(SystemExit, match="REDIS_URL is a Redis Cluster"):
            processes.start_process(product.app, "relay")
        redis.close()
    assert refused.exit_code == 1
    assert "REDIS_URL is a Redis Cluster" in str(refused.exception)
