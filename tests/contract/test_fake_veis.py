"""The fake VEIS: the v2 call, Azure's error bodies, tokens that die early (contract: travel 3)."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams

AZURE_FIELDS = {"error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id"}


def form(upstreams: Upstreams, **changes: str) -> dict[str, str]:
    known = upstreams.fakes.settings
    fields = {
        "grant_type": "client_credentials",
        "client_id": known.veis_client_id,
        "client_secret": known.veis_client_secret,
        "scope": known.veis_scope,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value}


def ask(http: requests.Session, upstreams: Upstreams, tenant: str | None = None, **changes: str) -> requests.Response:
    tenant = tenant or upstreams.fakes.settings.veis_tenant
    return http.post(f"{upstreams['veis']}/{tenant}/oauth2/v2.0/token", data=form(upstreams, **changes))


def test_a_correct_form_gets_a_bearer_token_and_its_lifetime(http: requests.Session, upstreams: Upstreams) -> None:
    answer = ask(http, upstreams)
    body = answer.json()
    assert answer.status_code == 200
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == body["ext_expires_in"] == 3599
    assert upstreams.fakes.veis.tokens.holder(body["access_token"]) is not None


def test_every_token_is_a_new_one(http: requests.Session, upstreams: Upstreams) -> None:
    assert ask(http, upstreams).json()["access_token"] != ask(http, upstreams).json()["access_token"]


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"client_secret": ""}, 400, "invalid_request", 900144),
        ({"scope": ""}, 400, "invalid_request", 900144),
        ({"tenant": "elsewhere"}, 400, "invalid_request", 90002),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"client_id": "somebody"}, 400, "unauthorized_client", 700016),
        ({"scope": "everything"}, 400, "invalid_scope", 70011),
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
    ],
)
def test_a_wrong_form_gets_azures_error_body(
    http: requests.Session, upstreams: Upstreams, changes: dict[str, str], status: int, error: str, code: int
) -> None:
    answer = ask(http, upstreams, **changes)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code])
    assert set(body) == AZURE_FIELDS
    assert body["error_description"].startswith(f"AADSTS{code}: ")


def test_json_instead_of_a_form_lacks_its_parameters(http: requests.Session, upstreams: Upstreams) -> None:
    url = f"{upstreams['veis']}/{upstreams.fakes.settings.veis_tenant}/oauth2/v2.0/token"
    answer = http.post(url, json=form(upstreams))
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [900144])


def test_a_token_can_die_before_its_time(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.set("veis", "expire", times=1)
    early, late = ask(http, upstreams).json(), ask(http, upstreams).json()
    assert early["expires_in"] == 3599
    assert upstreams.fakes.veis.tokens.holder(early["access_token"]) is None
    assert upstreams.fakes.veis.tokens.holder(late["access_token"]) is not None


def test_the_promised_lifetime_can_be_changed(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.turn("veis", expires_in=7)
    assert ask(http, upstreams).json()["expires_in"] == 7
