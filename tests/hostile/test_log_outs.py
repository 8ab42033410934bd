"""A log-out ends the log-in at the server: whoever copied its cookie before has nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event

from flaskapp.db import db
from flaskapp.ops.operators import LOGIN_SECONDS
from jobs import housekeeping
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import csrf_of, log_in
from tests.hostile.test_consoles import OWN, SESSION, of_consoles, session_of
from tests.hostile.test_written_down import postgres_away
from tests.house import House

HOUR = 3600
QUEUES = "/rq/0/data/queues.json"


@pytest.fixture
def password(secrets_folder: Path) -> str:
    return kept_secrets(secrets_folder).operator_password


def operator(house: House, password: str) -> FlaskClient:
    client = house.app.test_client()
    assert log_in(client, password, OPERATOR).status_code == 303
    return client


def copied(house: House, client: FlaskClient) -> FlaskClient:
    """Another browser with the same session."""
    other = house.app.test_client()
    other.set_cookie(SESSION, session_of(client))
    return other


def log_out(client: FlaskClient) -> int:
    token = csrf_of(client.get("/ops/").text)
    return client.post("/ops/logout", data={"csrf_token": token}).status_code


def answers(house: House, client: FlaskClient, token: str) -> dict[tuple[str, str], int]:
    """What every page and every change of the consoles answers; a change carries all that it needs."""
    own = {"X-CSRFToken": token, "Origin": OWN, "X-Requested-With": "XMLHttpRequest"}
    told = {}
    for asked in (*of_consoles(house.app, safe=True), *of_consoles(house.app, safe=False)):
        if asked.endpoint not in ("ops_login.log_in", "ops_login.log_out"):
            with client.open(asked.path, method=asked.method, headers=own) as answer:
                told[asked.method, asked.path] = answer.status_code
    return told


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every statement that Postgres is sent meanwhile."""
    sent: list[str] = []

    def note(*given: Any) -> None:
        sent.append(given[2])

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def test_a_copy_of_the_cookie_is_nobodys_after_the_log_out(house: House, password: str) -> None:
    client, stranger = operator(house, password), house.app.test_client()
    copy = copied(house, client)
    token = csrf_of(copy.get("/ops/").text)
    assert [copy.get(path).status_code for path in ("/ops/", "/rq/", QUEUES)] == [200] * 3
    assert log_out(client) == 303
    refused = answers(house, copy, token)
    assert refused == answers(house, stranger, token)
    assert len(refused) > 30 and {refused["GET", "/rq/"], refused["GET", "/ops/"]} == {401}
    assert copy.get("/ops/login").status_code == 200


def test_another_log_in_of_the_same_operator_goes_on_and_so_does_the_next_one(house: House, password: str) -> None:
    first, second = operator(house, password), operator(house, password)
    assert log_out(first) == 303
    assert second.get("/ops/").status_code == 200
    assert log_in(first, password, OPERATOR).status_code == 303
    assert (first.get("/ops/").status_code, second.get("/rq/").status_code) == (200, 200)


def test_a_log_out_that_is_repeated_or_comes_from_the_copy_ends_it_too(house: House, password: str) -> None:
    client = operator(house, password)
    token = csrf_of(client.get("/ops/").text)
    copy = copied(house, client)
    for browser in (copy, client):
        assert browser.post("/ops/logout", data={"csrf_token": token}).status_code == 303
    assert house.value("SELECT count(*) FROM operator_log_outs") == 1
    assert client.get("/ops/").status_code == 302


def test_it_costs_one_statement_and_strangers_cost_none(house: House, password: str) -> None:
    client, stranger = operator(house, password), house.app.test_client()
    stranger.set_cookie(SESSION, f"{session_of(client)}x")
    with counted() as sent:
        assert client.get(QUEUES).status_code == 200
    assert len(sent) == 1 and "operator_log_outs" in sent[0]
    with counted() as sent:
        for path in ("/ops/", QUEUES, "/docs", "/ops/login", "/ops/nowhere"):
            stranger.get(path)
        client.get("/docs")
    assert sent == []


def test_while_postgres_is_away_nobody_gets_in_and_nobody_is_told_that_they_are_out(
    house: House, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = operator(house, password)
    copy, token = copied(house, client), csrf_of(client.get("/ops/").text)
    with postgres_away(monkeypatch, house):
        for path in ("/ops/", "/rq/"):
            answer = client.get(path)
            assert (answer.status_code, answer.mimetype, bool(answer.headers["Retry-After"])) == (
                503,
                "text/html",
                True,
            )
        assert (
            client.get(QUEUES, headers={"X-Requested-With": "XMLHttpRequest"}).get_json()["errors"][0]["status"]
            == "503"
        )
        assert client.post("/ops/logout", data={"csrf_token": token}).status_code == 503
    assert (client.get("/ops/").status_code, copy.get("/ops/").status_code) == (200, 200)
    assert log_out(client) == 303
    assert copy.get("/ops/").status_code == 302


def test_an_ended_log_in_is_remembered_for_longer_than_it_could_have_lasted(house: House, password: str) -> None:
    assert log_out(operator(house, password)) == 303
    for seconds, kept in ((LOGIN_SECONDS + HOUR, 1), (25 * HOUR, 0)):
        house.move_clock(timedelta(seconds=seconds))
        housekeeping.retain()
        assert house.value("SELECT count(*) FROM operator_log_outs") == kept
