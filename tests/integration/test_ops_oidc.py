"""Sign-in of operators by OpenID Connect, against a provider on loopback: who gets in, as what, and what is said when
nobody does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import time_machine
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from flask_login import current_user

from flaskapp import ops
from flaskapp.ops import oidc
from tests.edge_app import CONFIG, OPERATORS, csrf_of, make_app
from tests.integration.steps import listening
from tests.oidc_provider import CLIENT, SECRET, Provider, key

BEA = {"preferred_username": "bea", "roles": ["surefile-operator", "other"]}


def routes(app: Flask) -> None:
    blueprint = Blueprint("me", __name__, url_prefix="/ops/me")
    ops.require_operator(blueprint)
    blueprint.add_url_rule("/", "me", lambda: f"{ops.operator_name()} {current_user.role}")
    blueprint.add_url_rule("/act", "act", lambda: "done", methods=["POST"])
    app.register_blueprint(blueprint)


def app_for(issuer: str, **changes: Any) -> Flask:
    known = {"oidc_issuer": issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    return make_app(replace(CONFIG, **{**known, **changes}), routes, operators=True)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Provider, str]]:
    provider = Provider()
    with listening(provider.app()) as url:
        yield provider, url


@pytest.fixture
def provider(running: tuple[Provider, str]) -> Provider:
    """A truthful one, as which bea signs in."""
    provider, _ = running
    provider.claims, provider.lies, provider.refuses = dict(BEA), {}, None
    provider.signs, provider.keeps_token = None, False
    return provider


@pytest.fixture
def client(provider: Provider, running: tuple[Provider, str]) -> FlaskClient:
    return app_for(running[1]).test_client()


def sign_in(client: FlaskClient, path: str = "/ops/login/oidc") -> Any:
    """Go there and back, as a browser does."""
    there = client.get(path)
    if there.status_code != 302:
        return there
    back = requests.get(there.location, allow_redirects=False, timeout=60).headers["Location"]
    return client.get(f"{urlsplit(back).path}?{urlsplit(back).query}")


def said(answer: Any) -> str:
    """The sentence of the log-in page."""
    assert answer.status_code == 401, answer.text
    return str(answer.text.partition('role="alert">')[2].partition("</p>")[0])


def test_an_operator_signs_in_there_and_comes_back_to_where_they_were(provider: Provider, client: FlaskClient) -> None:
    assert "/ops/login/oidc?next=/ops/me/" in client.get("/ops/login?next=/ops/me/").text
    answer = sign_in(client, "/ops/login/oidc?next=/ops/me/")
    assert (answer.status_code, answer.location) == (303, "/ops/me/")
    assert client.get("/ops/me/").text == "bea operator"
    token = csrf_of(client.get("/ops/").text)
    assert client.post("/ops/me/act", data={"csrf_token": token}).text == "done"
    assert client.post("/ops/logout", data={"csrf_token": token}).status_code == 303
    assert client.get("/ops/me/").status_code == 302


@pytest.mark.parametrize(
    ("roles", "role"),
    [("surefile-viewer", "viewer"), (["surefile-administrator", "surefile-viewer"], "administrator")],
)
def test_the_highest_role_of_the_claim_counts(
    provider: Provider, running: tuple[Provider, str], roles: Any, role: str
) -> None:
    provider.claims = {"email": "c@example.gov", "realm_access": {"roles": roles}}
    app = app_for(running[1], oidc_name_claim="email", oidc_roles_claim="realm_access.roles")
    client = app.test_client()
    sign_in(client)
    assert client.get("/ops/me/").text == f"c@example.gov {role}"
    token = csrf_of(client.get("/ops/").text)
    assert (client.post("/ops/me/act", data={"csrf_token": token}).status_code == 403) == (role == "viewer")


def test_a_sign_in_ends_after_eight_hours_and_with_its_provider(
    provider: Provider, client: FlaskClient, running: tuple[Provider, str]
) -> None:
    sign_in(client)
    client.application.extensions["operators_config"] = replace(CONFIG, oidc_issuer="https://another.example.gov")
    assert client.get("/ops/me/").status_code == 302
    client.application.extensions["operators_config"] = replace(CONFIG, oidc_issuer=running[1], oidc_client_id=CLIENT)
    assert client.get("/ops/me/").text == "bea operator"
    with time_machine.travel(time.time() + 8 * 3600 + 60):
        assert client.get("/ops/me/").status_code == 302


LIES: list[tuple[str, Any]] = [
    ("nonce", "another"),
    ("aud", "another"),
    ("iss", "https://another.example.gov"),
    ("exp", 1_000_000_000),
]


@pytest.mark.parametrize(("claim", "value"), LIES)
def test_a_token_that_is_not_for_us_lets_nobody_in(
    provider: Provider, client: FlaskClient, claim: str, value: Any
) -> None:
    provider.lies = {claim: value}
    assert said(sign_in(client)) == oidc.UNVERIFIED.replace("'", "&#39;")
    assert client.get("/ops/me/").status_code == 302


def test_each_other_failure_has_its_sentence(provider: Provider, client: FlaskClient) -> None:
    def sentence(words: str) -> str:
        return words.replace("'", "&#39;")

    provider.signs = key()
    assert said(sign_in(client)) == sentence(oidc.UNVERIFIED)
    provider.signs, provider.keeps_token = None, True
    assert said(sign_in(client)) == sentence(oidc.UNVERIFIED)
    provider.keeps_token, provider.refuses = False, "access_denied"
    assert said(sign_in(client)) == oidc.DENIED
    provider.refuses = None
    there = client.get("/ops/login/oidc")
    state = parse_qs(urlsplit(there.location).query)["state"][0]
    assert said(client.get("/ops/login/oidc/back?code=x&state=another")) == oidc.NOT_BEGUN_HERE
    assert said(client.get(f"/ops/login/oidc/back?code=x&state={state}")) == sentence(oidc.UNVERIFIED)
    provider.claims = {"preferred_username": "bea", "roles": ["another"]}
    assert said(sign_in(client)) == oidc.NO_ROLE.format(name="bea")
    provider.claims = {"roles": ["surefile-operator"]}
    assert said(sign_in(client)) == sentence(oidc.NO_NAME)
    provider.claims = {**BEA, "preferred_username": next(iter(OPERATORS))}
    assert "logs in here with a password" in said(sign_in(client))
    assert client.get("/ops/me/").status_code == 302


def test_a_provider_that_is_away_or_another_is_said(provider: Provider, running: tuple[Provider, str]) -> None:
    assert said(sign_in(app_for("http://127.0.0.1:9").test_client())) == oidc.AWAY
    provider.lies = {"issuer": "https://another.example.gov"}
    assert said(sign_in(app_for(running[1]).test_client())) == oidc.UNVERIFIED.replace("'", "&#39;")
    without = make_app(CONFIG, routes, operators=True).test_client()
    assert without.get("/ops/login/oidc").status_code == 404
    assert "organisation" not in without.get("/ops/login").text
