"""The fake Sign-in Service: claims, keys and their rotation, cookies, refresh, the page (contract: travel 7)."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import jwt
import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.scenarios import with_habit, without_icn
from sandbox.upstreams.serve import Upstreams

ADA = with_habit("ok")
CLAIMS = {
    "iss",
    "aud",
    "client_id",
    "jti",
    "sub",
    "exp",
    "iat",
    "session_handle",
    "refresh_token_hash",
    "parent_refresh_token_hash",
    "anti_csrf_token",
    "device_secret_hash",
    "last_regeneration_time",
    "version",
    "user_attributes",
}


def issue(control: Control, **wanted: Any) -> dict[str, Any]:
    return dict(control.call("POST", "sign_in", "tokens", json={"uuid": ADA.uuid, **wanted}))


def published(http: requests.Session, upstreams: Upstreams) -> list[jwt.PyJWK]:
    url = upstreams.fakes.settings.environment(upstreams)["SIS_JWKS_URL"]
    keys = http.get(url).json()["keys"]
    assert all((key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256") for key in keys)
    assert not any({"d", "p", "q"} & key.keys() for key in keys)
    return [jwt.PyJWK(key) for key in keys]


def opened(token: str, keys: list[jwt.PyJWK]) -> dict[str, Any] | None:
    """The claims, when one of the keys verifies the signature."""
    for key in keys:
        try:
            return jwt.decode(token, key, algorithms=["RS256"], options={"verify_exp": False, "verify_aud": False})
        except jwt.InvalidSignatureError:
            continue
    return None


def test_a_token_has_the_claims_of_the_contract(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    token = issue(control)["access_token"]
    claims = opened(token, published(http, upstreams)) or {}
    assert set(claims) == CLAIMS
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT"}
    assert (claims["iss"], claims["aud"], claims["client_id"]) == ("va.gov sign in", ["va.gov"], "vaweb")
    assert (claims["sub"], claims["version"]) == (ADA.account, "V0")
    assert all(uuid.UUID(claims[name]) for name in ("jti", "sub", "session_handle"))
    assert abs(claims["iat"] - time.time()) < 5
    assert claims["exp"] - claims["iat"] in (1800, 1801)
    assert claims["user_attributes"]["first_name"] == ADA.first_name


@pytest.mark.parametrize(
    ("wanted", "claim", "value"),
    [
        ({"audience": "vamobile"}, "aud", "vamobile"),
        ({"audience": ["a", "b"]}, "aud", ["a", "b"]),
        ({"client_id": "vamobile"}, "client_id", "vamobile"),
        (
            {"uuid": None, "account": "7e0f6c1e-0000-4000-8000-000000000001"},
            "sub",
            "7e0f6c1e-0000-4000-8000-000000000001",
        ),
        ({"account": "nobody's"}, "sub", "nobody's"),
    ],
)
def test_a_wrong_token_can_be_requested(
    http: requests.Session, upstreams: Upstreams, control: Control, wanted: dict[str, Any], claim: str, value: Any
) -> None:
    claims = opened(issue(control, **wanted)["access_token"], published(http, upstreams)) or {}
    assert claims[claim] == value


def test_a_token_can_live_as_long_as_requested_or_be_expired(control: Control) -> None:
    for seconds in (-60, 5, 10**8):
        issued = issue(control, seconds=seconds)
        ends = jwt.decode(issued["access_token"], options={"verify_signature": False})["exp"]
        assert abs(ends - time.time() - seconds) < 5
        assert int(datetime.fromisoformat(issued["expires_at"]).timestamp()) == ends


def test_many_tokens_can_be_requested_at_once(control: Control) -> None:
    people = [{"uuid": ADA.uuid}, {"account": without_icn().account}]
    tokens = [each["access_token"] for each in control.call("POST", "sign_in", "tokens", json=people)]
    subjects = [jwt.decode(token, options={"verify_signature": False})["sub"] for token in tokens]
    assert subjects == [ADA.account, without_icn().account]


@pytest.mark.parametrize("wrong", [{"uuid": "nobody"}, {}, {"uuid": ADA.uuid, "key": "skeleton"}])
def test_a_token_for_nobody_is_refused(control: Control, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="HTTP 400"):
        control.call("POST", "sign_in", "tokens", json=wrong)


# -- keys ----------------------------------------------------------------------


def test_the_old_key_is_published_and_a_foreign_one_is_not(
    http: requests.Session, upstreams: Upstreams, control: Control
) -> None:
    keys = published(http, upstreams)
    assert len({key.key_id for key in keys}) == 2
    assert opened(issue(control, key="old")["access_token"], keys)
    assert opened(issue(control, key="foreign")["access_token"], keys) is None


@pytest.mark.parametrize(
    ("rotate", "earlier_opens", "later_opens"),
    [("no", True, True), ("both", True, True), ("only_new", False, True), ("unpublished", True, False)],
)
def test_a_rotation_can_be_at_any_step(
    http: requests.Session,
    upstreams: Upstreams,
    control: Control,
    rotate: str,
    earlier_opens: bool,
    later_opens: bool,
) -> None:
    earlier, known = issue(control)["access_token"], published(http, upstreams)
    control.turn("sign_in", rotate=rotate)
    later, keys = issue(control)["access_token"], published(http, upstreams)
    assert (opened(earlier, keys) is not None, opened(later, keys) is not None) == (earlier_opens, later_opens)
    assert (opened(later, known) is not None) == (rotate == "no")


def test_an_unknown_rotation_is_refused(control: Control) -> None:
    with pytest.raises(Refused, match="rotate"):
        control.turn("sign_in", rotate="twice")


def test_the_keys_can_be_unavailable(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.set("sign_in", "status", operation="GET /sign_in/openid_connect")
    url = upstreams.fakes.settings.environment(upstreams)["SIS_JWKS_URL"]
    assert (http.get(url).status_code, http.get(url).json()) == (503, {"errors": "Service Unavailable"})
    assert http.get(upstreams["sign_in"]).status_code == 200


# -- the page, its cookies, the refresh ----------------------------------------


def sign_in(http: requests.Session, upstreams: Upstreams, onward: str = "") -> requests.Response:
    query = {"next": onward} if onward else {}
    form = {"account": ADA.account}
    return http.post(f"{upstreams['sign_in']}/", params=query, data=form, allow_redirects=False)


def test_the_page_offers_everybody_by_name(http: requests.Session, upstreams: Upstreams) -> None:
    page = http.get(upstreams["sign_in"]).text
    for person in upstreams.fakes.cast.everybody():
        assert f'value="{person.account}"' in page
    assert f"Sign in as {ADA.name}" in page
    assert "the account has no ICN" in page


def test_signing_in_sets_the_cookies_of_the_contract(http: requests.Session, upstreams: Upstreams) -> None:
    answer = sign_in(http, upstreams)
    assert (answer.status_code, f"You are signed in as {ADA.name}" in answer.text) == (200, True)
    set_cookies = {line.partition("=")[0]: line for line in answer.raw.headers.getlist("Set-Cookie")}
    hidden = {name for name, line in set_cookies.items() if "HttpOnly" in line}
    assert (set(set_cookies) - hidden, hidden) == (
        {"vagov_info_token"},
        {"vagov_access_token", "vagov_refresh_token"},
    )
    claims = opened(http.cookies["vagov_access_token"], published(http, upstreams)) or {}
    info = json.loads(unquote(http.cookies["vagov_info_token"]))
    assert claims["sub"] == ADA.account
    assert set(info) == {"access_token_expiration", "refresh_token_expiration"}
    assert int(datetime.fromisoformat(info["access_token_expiration"]).timestamp()) == claims["exp"]


@pytest.mark.parametrize("onward", ["http://127.0.0.1:8000/docs?x=1", "http://localhost:3000/", "http://[::1]:3000/"])
def test_signing_in_goes_on_to_an_address_of_this_machine(
    http: requests.Session, upstreams: Upstreams, onward: str
) -> None:
    answer = sign_in(http, upstreams, onward)
    assert (answer.status_code, answer.headers["Location"]) == (303, onward)
    assert "vagov_access_token" in http.cookies


@pytest.mark.parametrize(
    "onward",
    [
        "https://example.com/",
        "//example.com/",
        "http://127.0.0.1@example.com/",
        "http://127.0.0.1.example.com/",
        "http://example.com\\@127.0.0.1/",
        "javascript:alert(1)//127.0.0.1",
        "http://[127.0.0.1/",
        "/docs",
    ],
)
def test_signing_in_leads_nowhere_else(http: requests.Session, upstreams: Upstreams, onward: str) -> None:
    answer = sign_in(http, upstreams, onward)
    assert (answer.status_code, "Location" in answer.headers) == (200, False)


def test_only_known_people_can_be_signed_in(http: requests.Session, upstreams: Upstreams) -> None:
    answer = http.post(f"{upstreams['sign_in']}/", data={"account": "nobody"})
    assert (answer.status_code, http.cookies.get_dict()) == (400, {})


def test_a_refresh_gives_new_tokens_once(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.turn("sign_in", access_seconds=-1)
    sign_in(http, upstreams)
    control.turn("sign_in", access_seconds=300)
    used = http.cookies["vagov_refresh_token"]
    url = f"{upstreams['sign_in']}/v0/sign_in/refresh"
    answer = http.post(url, params={"type": "logingov"})
    assert (answer.status_code, answer.json()) == (200, {})
    claims = jwt.decode(http.cookies["vagov_access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["exp"] > time.time()) == (ADA.account, True)
    again = requests.post(url, cookies={"vagov_refresh_token": used})
    assert (again.status_code, again.json()) == (401, {"errors": "Refresh token is not valid"})
