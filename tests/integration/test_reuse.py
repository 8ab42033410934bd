"""What one test's application leaves to the next: sessions as good as new, and no state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from requests.utils import get_environ_proxies
from sqlalchemy import Connection, create_engine, text

from flaskapp.config import read_database_url
from sandbox.databases import LentDatabase
from sandbox.servers import EmbeddedPostgres
from tests.product import Product
from tests.reuse import PROXIES, CompiledRule, Sessions

PID = text("SELECT pg_backend_pid()")
LEFT_BEHIND = ("SET search_path TO nowhere", "CREATE TEMP TABLE left_behind ()", "SELECT pg_advisory_lock(526)")
SEEN = text("""
    SELECT current_setting('search_path') = 'nowhere', to_regclass('pg_temp.left_behind') IS NOT NULL,
           EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
""")


def raw(connection: Connection) -> Any:
    connection.rollback()
    return connection.connection.dbapi_connection


@contextmanager
def connected(sessions: Sessions, url: str) -> Iterator[Connection]:
    """The connection that a new engine opens first."""
    engine = create_engine(read_database_url(url))
    with sessions.warm(engine), engine.connect() as connection:
        yield connection


def test_a_session_is_handed_on_with_nothing_of_its_last_user(ledger_database_url: str) -> None:
    sessions = Sessions(1)
    with connected(sessions, ledger_database_url) as connection:
        first = connection.execute(PID).scalar_one()
        for statement in LEFT_BEHIND:
            connection.execute(text(statement))
        connection.commit()
        assert connection.execute(SEEN).one() == (True, True, True)
        raw(connection).isolation_level = "SERIALIZABLE"
    with connected(sessions, ledger_database_url) as connection:
        assert connection.execute(PID).scalar_one() == first
        assert connection.execute(SEEN).one() == (False, False, False)
        assert raw(connection).isolation_level is None, "one statement more at every change to autocommit"


def test_a_session_that_has_ended_is_not_handed_on(ledger_database_url: str, postgres: EmbeddedPostgres) -> None:
    sessions = Sessions(1)
    with connected(sessions, ledger_database_url) as connection:
        first = connection.execute(PID).scalar_one()
    postgres._administer(f"SELECT pg_terminate_backend({first}, 5000)")
    with connected(sessions, ledger_database_url) as connection:
        assert connection.execute(PID).scalar_one() != first


def test_a_session_that_somebody_still_uses_is_not_handed_on(ledger_database_url: str) -> None:
    sessions = Sessions(1)
    engine = create_engine(read_database_url(ledger_database_url))
    with sessions.warm(engine):
        straggler = engine.connect()
        straggler.execute(PID)
    assert sessions.pids() == []
    straggler.close()


def test_only_the_first_connections_of_an_engine_were_opened_before(ledger_database_url: str) -> None:
    sessions = Sessions(1)
    with connected(sessions, ledger_database_url) as connection:
        first = connection.execute(PID).scalar_one()
    with connected(sessions, ledger_database_url) as connection:
        connection.invalidate()
        assert connection.execute(PID).scalar_one() != first


def test_a_lent_database_keeps_the_sessions_that_are_handed_on_and_ends_the_others(spare: LentDatabase) -> None:
    sessions = Sessions(1)
    with spare.lent(sessions.pids) as url:
        with connected(sessions, url) as connection:
            first = connection.execute(PID).scalar_one()
            connection.execute(text("INSERT INTO accounts (id) VALUES (gen_random_uuid())"))
            connection.commit()
        straggler = create_engine(read_database_url(url)).connect()
        straggler.execute(PID)
    with spare.lent() as url, connected(sessions, url) as connection:
        found = connection.execute(text("SELECT pg_backend_pid(), current_database(), (SELECT count(*) FROM accounts)"))
        assert found.one() == (first, url.rpartition("/")[2], 0)
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
        assert connection.execute(text(others)).scalar_one() == 1
    straggler.invalidate()


def test_url_rules_of_two_applications_share_only_what_is_compiled(product: Product) -> None:
    other = Flask("other")
    other.add_url_rule("/healthz/live", "elsewhere", lambda: "here")
    assert other.url_rule_class is CompiledRule
    assert other.test_client().get("/healthz/live").text == "here"
    assert product.app.test_client().get("/healthz/live").status_code == 200
    (rule,) = [rule for rule in other.url_map.iter_rules() if rule.endpoint == "elsewhere"]
    with other.test_request_context():
        assert rule.build({}) == ("", "/healthz/live")


def test_a_proxy_is_found_as_soon_as_the_environment_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    assert get_environ_proxies("https://upstream.example", None) == {}
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert get_environ_proxies("https://upstream.example", None) == {"https": "http://proxy.example:3128"}
    monkeypatch.setenv("NO_PROXY", "upstream.example")
    assert get_environ_proxies("https://upstream.example", None) == {}
