"""What another site, or somebody who prepared a browser, can make an operator's browser do on the consoles: nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from redis import Redis

from flaskapp.ops.operators import LOGIN_SECONDS
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import csrf_of, log_in
from tests.hostile.routes import RequestedAppointment, every_request
from tests.product import ADA, Product

SESSION = "surefile_session"
OWN = "http://localhost"
SAFE = ("GET", "HEAD", "OPTIONS")
Sign = dict[str, Any]


@pytest.fixture
def password(secrets_folder: Any) -> str:
    return kept_secrets(secrets_folder).operator_password


@pytest.fixture
def operator(product: Product, password: str) -> FlaskClient:
    """Somebody logged in, with work parked for them to act on."""
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})
    product.ask(product.sign_in())
    product.work()
    client = product.app.test_client()
    assert log_in(client, password, OPERATOR).status_code == 303
    return client


def session_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(SESSION)
    assert cookie is not None
    return str(cookie.value)


def token_of(client: FlaskClient) -> str:
    return csrf_of(client.get("/ops/").text)


def of_consoles(app: Flask, safe: bool) -> Iterator[RequestedAppointment]:
    for requested in every_request(app):
        if requested.path.startswith(("/ops", "/rq")) and (requested.method in SAFE) is safe:
            yield requested


def real_addresses(product: Product) -> dict[str, str]:
    """Addresses at which a change would really change something."""
    (parked,) = [key.decode() for key in product.redis.zrange("rq:failed:travel_claims", 0, -1)]
    return {
        "rq_dashboard.requeue_job_view": f"/rq/job/{parked}/requeue",
        "rq_dashboard.requeue_all": "/rq/requeue/travel_claims",
        "rq_dashboard.compact_queue": "/rq/queue/travel_claims/compact",
    }


def stored(product: Product) -> dict[str, Any]:
    """Everything in Postgres and Redis that an operator's click could change."""
    redis: Redis = product.redis
    kept = {key: redis.dump(key) for key in redis.scan_iter("rq:*")}
    tables = ("outbox_messages", "outbox_attempts", "outbox_history", "cases", "travel_claims", "outbox_breakers")
    tables += ("operator_log_outs",)
    return {"redis": kept, **{name: product.rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}}


def forgeries(product: Product, operator: FlaskClient, password: str) -> dict[str, Callable[[], Sign]]:
    """What a forged change may carry: each is one set of arguments for a request."""
    other = product.app.test_client()
    log_in(other, password, OPERATOR)

    def stale() -> Sign:
        """A token of this session, from longer ago than a log-in lasts."""
        token_of(operator)
        with operator.session_transaction() as session:
            secret = session["csrf_token"]
        with time_machine.travel(datetime.now(UTC) - timedelta(seconds=LOGIN_SECONDS + 60)):
            signer = URLSafeTimedSerializer(str(product.app.secret_key), salt="wtf-csrf-token")
            return {"data": {"csrf_token": str(signer.dumps(secret))}}

    return {
        "nothing": dict,
        "an empty token": lambda: {"data": {"csrf_token": ""}},
        "another session's token": lambda: {"data": {"csrf_token": token_of(other)}},
        "a token from before the log-in": lambda: {"data": {"csrf_token": csrf_of(other.get("/ops/login").text)}},
        "a stale token": stale,
        "the token in the address": lambda: {"query_string": {"csrf_token": token_of(operator)}},
        "the token as JSON": lambda: {"json": {"csrf_token": token_of(operator)}},
        "the token as a cookie": lambda: {"headers": {"Cookie": f"csrf_token={token_of(operator)}"}},
        "another site's origin": lambda: {"headers": {"Origin": "https://evil.example"}},
        "no site's origin": lambda: {"headers": {"Origin": "null", "X-Requested-With": "XMLHttpRequest"}},
        "another site's page": lambda: {
            "headers": {"Referer": f"https://evil.example/?{OWN}/", "X-Requested-With": "XMLHttpRequest"}
        },
        "our name as a prefix": lambda: {
            "headers": {"Origin": f"{OWN}.evil.example", "X-Requested-With": "XMLHttpRequest"}
        },
        "a changed method": lambda: {"headers": {"X-HTTP-Method-Override": "GET"}},
    }


def test_no_forged_change_is_taken_anywhere_on_the_consoles(
    product: Product, operator: FlaskClient, password: str
) -> None:
    before, real = stored(product), real_addresses(product)
    changes = [
        RequestedAppointment(*requested[:2], real.get(requested.endpoint, requested.path))
        for requested in of_consoles(product.app, safe=False)
    ]
    assert {*real, "ops_login.log_in", "ops_login.log_out"} <= {requested.endpoint for requested in changes}
    for name, forged in forgeries(product, operator, password).items():
        arguments = forged()
        for requested in changes:
            answer = operator.open(requested.path, method=requested.method, **arguments)
            assert answer.status_code in (401, 403, 405, 429), (name, requested, answer.status_code)
    assert stored(product) == before
    assert operator.get("/ops/").status_code == 200


def test_the_same_changes_are_taken_from_our_own_pages(product: Product, operator: FlaskClient) -> None:
    before, real = stored(product), real_addresses(product)
    own = {"Origin": OWN, "X-Requested-With": "XMLHttpRequest"}
    assert operator.post(real["rq_dashboard.requeue_job_view"], headers=own).status_code == 200
    assert stored(product)["redis"] != before["redis"]
    assert operator.post("/ops/logout", data={"csrf_token": token_of(operator)}).status_code == 303


def test_reading_changes_nothing_whatever_the_address_says(product: Product, operator: FlaskClient) -> None:
    before, real = stored(product), real_addresses(product)
    looked = [
        *of_consoles(product.app, safe=True),
        *(RequestedAppointment(name, "GET", path) for name, path in real.items()),
    ]
    assert len(looked) > 30
    for requested in looked:
        operator.open(requested.path, method=requested.method, headers={"X-HTTP-Method-Override": "POST"}).close()
        operator.open(f"{requested.path}?_method=POST&csrf_token={token_of(operator)}", method=requested.method).close()
    assert stored(product) == before


def test_a_session_prepared_before_the_log_in_is_worth_nothing_after_it(product: Product, password: str) -> None:
    victim, attacker = product.app.test_client(), product.app.test_client()
    attacker.get("/ops/login")
    planted = session_of(attacker)
    victim.set_cookie(SESSION, planted)
    prepared = csrf_of(victim.get("/ops/login").text)
    form = {"name": OPERATOR, "password": password, "csrf_token": prepared}
    assert victim.post("/ops/login", data=form).status_code == 303
    assert session_of(victim) != planted
    assert attacker.get("/ops/").status_code == 302
    attacker.set_cookie(SESSION, planted)
    assert attacker.get("/ops/").status_code == 302
    assert victim.post("/ops/logout", data={"csrf_token": prepared}).status_code == 403
    assert victim.get("/ops/").status_code == 200


def test_a_log_out_leaves_nothing_in_the_browser(operator: FlaskClient) -> None:
    token = token_of(operator)
    assert operator.post("/ops/logout", data={"csrf_token": token}).status_code == 303
    assert operator.get("/ops/").status_code == 302
    assert operator.post("/ops/logout", data={"csrf_token": token}).status_code == 403
    with operator.session_transaction() as session:
        assert "_user_id" not in session


def test_a_changed_session_is_worth_nothing(operator: FlaskClient) -> None:
    whole = session_of(operator)
    payload, stamp, signature = whole.rsplit(".", 2)
    for forged in (whole[:-1], f"{payload}.{stamp}.", f"{payload}x.{stamp}.{signature}", f".{payload}.x.y", ""):
        operator.set_cookie(SESSION, forged)
        assert operator.get("/ops/").status_code == 302


def test_every_cookie_is_closed_to_scripts_and_sent_over_https_only(product: Product, password: str) -> None:
    product.app.config["SESSION_COOKIE_SECURE"] = True
    client = product.app.test_client()
    token = csrf_of(client.get("/ops/login", base_url="https://localhost").text)
    form = {"name": OPERATOR, "password": password, "csrf_token": token}
    answer = client.post("/ops/login", data=form, base_url="https://localhost")
    cookies = answer.headers.getlist("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {SESSION, "surefile_known"}
    for cookie in cookies:
        assert {"Secure", "HttpOnly"} <= set(cookie.split("; ")), cookie
        assert "SameSite=Lax" in cookie or "SameSite=Strict" in cookie
        assert "Domain=" not in cookie


@pytest.mark.parametrize(
    "target",
    [
        "https:evil.example",
        "///evil.example/ops/",
        "http:/ops/",
        "/rq@evil.example",
        "%2f%2fevil",
    ],
)
def test_a_log_in_leads_to_no_other_site(product: Product, password: str, target: str) -> None:
    answer = log_in(product.app.test_client(), password, OPERATOR, target)
    assert (answer.status_code, answer.location) == (303, "/ops/")
