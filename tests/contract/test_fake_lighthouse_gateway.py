"""What every call to the fake Lighthouse passes first: tokens (contract: benefits 1) and limits (contract: benefits
2.2).

Also scopes, error families and the admin API.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.keys import OLD_KEY
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.lighthouse_wire import SCOPE, Caller, error

ICN = with_habit("ok").icn
LIMITS = {
    "X-RateLimit-Limit-Minute",
    "X-RateLimit-Remaining-Minute",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
}


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> Caller:
    return Caller(http, upstreams)


# -- the token endpoint --------------------------------------------------------


def test_a_correct_assertion_gets_a_token_for_ten_minutes(caller: Caller) -> None:
    answer = caller.ask_token()
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "token_type", "scope", "expires_in", "state"}
    assert (body["token_type"], body["expires_in"], body["state"]) == ("Bearer", 600, None)
    assert sorted(body["scope"].split()) == sorted(SCOPE.split())
    assert body["scope"] != SCOPE
    caller.headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert caller.create(ICN).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"sub": "somebody"},
        {"aud": None},
        {"aud": "https://authorization.example"},
        {"exp": None},
        {"iat": None},
        pytest.param({"exp": int(time.time()) - 1}, id="exp=past"),
        pytest.param({"exp": int(time.time()) + 3600}, id="exp=too far away"),
        {"iat": "now"},
        {"key": OLD_KEY},
        {"key": "a secret of thirty-two bytes or so", "algorithm": "HS256"},
    ],
    ids=lambda changes: "-".join(f"{name}={str(value)[:12]}" for name, value in changes.items()),
)
def test_a_wrong_assertion_is_refused(caller: Caller, changes: dict[str, Any]) -> None:
    answer = caller.ask_token(caller.assertion(**changes))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert set(answer.json()) == {"error", "error_description"}


@pytest.mark.parametrize("name", ["iss", "sub"])
def test_an_assertion_without_the_clients_id_is_a_bad_request(caller: Caller, name: str) -> None:
    answer = caller.ask_token(caller.assertion(**{name: None}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_the_token_url_is_not_the_audience(caller: Caller) -> None:
    assert caller.ask_token(caller.assertion(aud=caller.token_url)).status_code == 401
    assert caller.ask_token(caller.assertion(aud=[caller.known.lighthouse_audience])).status_code == 200


@pytest.mark.parametrize("assertion", ["nonsense", "a.b.c"])
def test_what_is_not_a_token_is_refused(caller: Caller, assertion: str) -> None:
    assert caller.ask_token(assertion).status_code == 401


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"grant_type": ""}, "invalid_request"),
        ({"client_assertion_type": ""}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_request"),
        ({"scope": ""}, "invalid_request"),
        ({"client_assertion_type": "urn:saml"}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "system/claim.read system/everything"}, "invalid_scope"),
    ],
)
def test_a_wrong_form_is_refused(caller: Caller, changes: dict[str, str], name: str) -> None:
    answer = caller.ask_token(**changes)
    assert (answer.status_code, answer.json()["error"]) == (400, name)


def test_the_authorization_server_has_a_clock_of_its_own(caller: Caller, control: Control) -> None:
    control.turn("lighthouse", clock_offset_seconds=3600, expires_in=7)
    assert caller.ask_token().json()["expires_in"] == 7
    control.turn("lighthouse", token_clock_offset_seconds=3600)
    assert caller.ask_token().status_code == 401


# -- tokens and scopes at the API ----------------------------------------------


@pytest.mark.parametrize("authorization", [None, "Bearer made-up", "Basic c3VyZWZpbGU6eA=="])
def test_without_a_live_token_nothing_is_answered(caller: Caller, authorization: str | None) -> None:
    caller.headers = {"Authorization": authorization} if authorization else {}
    assert error(caller.read(ICN)) == (401, "Not authorized", "Not authorized")
    assert error(caller.create(ICN))[0] == 401


@pytest.mark.parametrize(
    ("scope", "read", "create"),
    [(SCOPE, 404, 200), ("system/claim.read", 404, 403), ("system/claim.write", 403, 403)],
)
def test_a_token_is_good_for_its_scopes(caller: Caller, scope: str, read: int, create: int) -> None:
    caller.take_token(scope)
    assert (caller.read(ICN).status_code, caller.create(ICN).status_code) == (read, create)


def test_a_token_can_die_before_its_time(caller: Caller, control: Control) -> None:
    control.set("lighthouse", "expire", times=1, operation="intent-to-file")
    assert [caller.read(ICN).status_code for _ in range(2)] == [401, 401]
    caller.headers = {"Authorization": f"Bearer {caller.ask_token().json()['access_token']}"}
    assert caller.read(ICN).status_code == 404


# -- the rate limit ------------------------------------------------------------


def test_every_answer_of_the_api_shows_the_limit(caller: Caller, control: Control) -> None:
    control.turn("lighthouse", minute_limit=60)
    answers = [caller.read(ICN), caller.create(ICN), caller.read(ICN, "burial"), caller.read("", "")]
    assert [answer.status_code for answer in answers] == [404, 200, 400, 404]
    assert all(answer.headers.keys() >= LIMITS for answer in answers)
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["59", "58", "57", "56"]
    assert answers[0].headers["X-RateLimit-Limit-Minute"] == "60"


def test_beyond_the_limit_the_gateway_says_how_long_to_wait(caller: Caller, control: Control) -> None:
    control.turn("lighthouse", minute_limit=1)
    caller.read(ICN)
    refused = caller.create(ICN)
    assert (refused.status_code, refused.json()) == (429, {"message": "API rate limit exceeded"})
    assert 0 < int(refused.headers["RateLimit-Reset"]) <= 60
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert "Retry-After" not in refused.headers
    assert control.call("GET", "lighthouse", "itfs", params={"icn": ICN}) == []
    control.turn("lighthouse", minute_seconds=0)
    assert caller.create(ICN).status_code == 200


# -- the families of errors ----------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, {"message": "Request size limit exceeded"}),
        (429, {"message": "API rate limit exceeded"}),
        (503, {"message": "Service Unavailable"}),
        (504, {"message": "The server took too long to respond"}),
        (403, {"errors": [{"title": "Forbidden", "detail": "Forbidden"}]}),
        (502, {"errors": [{"title": "Bad Gateway", "detail": "Bad Gateway", "status": "502", "code": "502"}]}),
    ],
)
def test_a_fault_is_answered_in_the_family_of_its_status(
    caller: Caller, control: Control, status: int, body: dict[str, Any]
) -> None:
    control.set("lighthouse", "status", status=status)
    answer = caller.create(ICN)
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize(
    ("family", "keys"), [("api", {"errors"}), ("kong", {"message"}), ("gateway", {"status", "error", "path"})]
)
def test_the_family_can_be_chosen(caller: Caller, control: Control, family: str, keys: set[str]) -> None:
    control.turn("lighthouse", error_family=family)
    control.set("lighthouse", "status", status=504, times=1)
    assert set(caller.read(ICN).json()) == keys
    caller.headers = {}
    rejected = caller.read(ICN)
    assert (rejected.status_code, set(rejected.json())) == (401, keys)
    if family == "gateway":
        assert rejected.json()["path"].endswith(f"/{ICN}/intent-to-file/compensation")
        assert rejected.json()["status"] == 401


def test_an_unknown_path_is_no_404_about_an_itf(caller: Caller) -> None:
    for path in (f"{caller.base}/{ICN}/intents", f"{caller.base}/typo/{ICN}/intent-to-file/compensation"):
        answer = caller.http.get(path, headers=caller.headers)
        assert (answer.status_code, answer.json()) == (404, {"message": "no Route matched with those values"})


# -- the admin API -------------------------------------------------------------


def test_ten_thousand_can_be_added_in_one_call_and_read_at_once(caller: Caller, control: Control) -> None:
    many = [{"icn": f"1{number:09d}V000000", "age_days": number % 300} for number in range(10_000)]
    started = time.monotonic()
    planted = control.call("POST", "lighthouse", "itfs", json=many)
    assert all(caller.read(each["icn"]).status_code == 200 for each in many[::500])
    assert time.monotonic() - started < 15
    assert len({itf["id"] for itf in planted}) == 10_000


def test_an_itf_can_be_used_moved_and_removed(caller: Caller, control: Control) -> None:
    itf = control.call("POST", "lighthouse", "itfs", json={"icn": ICN})
    path = f"itfs/{itf['id']}"
    moved = control.call("PATCH", "lighthouse", path, json={"created_at": "2001-02-03T04:05:06-06:00"})
    assert moved["created_at"] == "2001-02-03T10:05:06.000Z"
    assert caller.read(ICN).json()["data"]["attributes"]["creationDate"].startswith("2001-02-03T04:05:06")
    assert control.call("PATCH", "lighthouse", path, json={"status": "used"})["status"] == "claim_recieved"
    assert caller.read(ICN).status_code == 404
    control.call("DELETE", "lighthouse", path)
    assert control.call("GET", "lighthouse", "itfs", params={"icn": ICN}) == []
    with pytest.raises(Refused, match="no ITF"):
        control.call("DELETE", "lighthouse", path)


@pytest.mark.parametrize(
    "wrong", [{}, {"icn": ICN, "colour": "red"}, {"icn": ICN, "created_at": "yesterday"}, [{"type": "pension"}]]
)
def test_a_plant_that_makes_no_sense_is_refused(control: Control, wrong: Any) -> None:
    with pytest.raises(Refused, match="HTTP 400"):
        control.call("POST", "lighthouse", "itfs", json=wrong)


def test_a_reset_forgets_what_was_filed(caller: Caller, control: Control) -> None:
    caller.create(ICN)
    control.turn("lighthouse", minute_limit=0)
    control.call("POST", "lighthouse", "reset")
    assert control.call("GET", "lighthouse", "itfs", params={"icn": ICN}) == []
    assert caller.read(ICN).status_code == 401
