"""A log-out ends the log-in at the server: a cookie copied before is worth nothing after it."""

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
from tests.product import Product

HOUR = 3600
QUEUES = "/rq/0/data/queues.json"


@pytest.fixture
def password(secrets_folder: Path) -> str:
    return kept_secrets(secrets_folder).operator_password


def operator(product: Product, password: str) -> FlaskClient:
    client = product.app.test_client()
    assert log_in(client, password, OPERATOR).status_code == 303
    return client


def copied(product: Product, client: FlaskClient) -> FlaskClient:
    """Another browser with the same session."""
    other = product.app.test_client()
    other.set_cookie(SESSION, session_of(client))
    return other


def log_out(client: FlaskClient) -> int:
    token = csrf_of(client.get("/ops/").text)
    return client.post("/ops/logout", data={"csrf_token": token}).status_code


def answers(product: Product, client: FlaskClient, token: str) -> dict[tuple[str, str], int]:
    """The answers of every page and every change of the consoles; a change carries everything that it needs."""
    own = {"X-CSRFToken": token, "Origin": OWN, "X-Requested-With": "XMLHttpRequest"}
    statuses = {}
    for each in (*of_consoles(product.app, safe=True), *of_consoles(product.app, safe=False)):
        if each.endpoint not in ("ops_login.log_in", "ops_login.log_out"):
            with client.open(each.path, method=each.method, headers=own) as answer:
                statuses[each.method, each.path] = answer.status_code
    return statuses


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every statement that is sent to Postgres meanwhile."""
    sent: list[str] = []

    def note(*given: Any) -> None:
        sent.append(given[2])

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def test_a_copy_of_the_cookie_is_worth_nothing_after_the_log_out(product: Product, password: str) -> None:
    client, stranger = operator(product, password), product.app.test_client()
    copy = copied(product, client)
    token = csrf_of(copy.get("/ops/").text)
    assert [copy.get(path).status_code for path in ("/ops/", "/rq/", QUEUES)] == [200] * 3
    assert log_out(client) == 303
    refused = answers(product, copy, token)
    assert refused == answers(product, stranger, token)
    assert len(refused) > 30 and {refused["GET", "/rq/"], refused["GET", "/ops/"]} == {401}
    assert copy.get("/ops/login").status_code == 200


def test_another_log_in_of_the_same_operator_goes_on_and_so_does_the_next_one(product: Product, password: str) -> None:
    first, second = operator(product, password), operator(product, password)
    assert log_out(first) == 303
    assert second.get("/ops/").status_code == 200
    assert log_in(first, password, OPERATOR).status_code == 303
    assert (first.get("/ops/").status_code, second.get("/rq/").status_code) == (200, 200)


def test_a_log_out_that_is_repeated_or_comes_from_the_copy_ends_it_too(product: Product, password: str) -> None:
    client = operator(product, password)
    token = csrf_of(client.get("/ops/").text)
    copy = copied(product, client)
    for browser in (copy, client):
        assert browser.post("/ops/logout", data={"csrf_token": token}).status_code == 303
    assert product.value("SELECT count(*) FROM operator_log_outs") == 1
    assert client.get("/ops/").status_code == 302


def test_it_costs_one_statement_and_strangers_cost_none(product: Product, password: str) -> None:
    client, stranger = operator(product, password), product.app.test_client()
    stranger.set_cookie(SESSION, f"{session_of(client)}x")
    with counted() as sent:
        assert client.get(QUEUES).status_code == 200
    assert len(sent) == 1 and "operator_log_outs" in sent[0]
    with counted() as sent:
        for path in ("/ops/", QUEUES, "/docs", "/ops/login", "/ops/nowhere"):
            stranger.get(path)
        client.get("/docs")
    assert sent == []


def test_while_postgres_is_away_nobody_gets_in_and_no_log_out_is_confirmed(
    product: Product, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = operator(product, password)
    copy, token = copied(product, client), csrf_of(client.get("/ops/").text)
    with postgres_away(monkeypatch, product):
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


def test_an_ended_log_in_is_remembered_for_longer_than_it_could_have_lasted(product: Product, password: str) -> None:
    assert log_out(operator(product, password)) == 303
    for seconds, kept in ((LOGIN_SECONDS + HOUR, 1), (25 * HOUR, 0)):
        product.move_clock(timedelta(seconds=seconds))
        housekeeping.retain()
        assert product.value("SELECT count(*) FROM operator_log_outs") == kept
