"""What every call to the fake Benefits Documents passes first: its own tokens, scopes and limits (contract: benefits
1).

Also error families and a shared host (contract: benefits 4.4).
"""

from __future__ import annotations

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.documents_wire import (
    FILE,
    RIGHT,
    SCOPE,
    DocumentsCaller,
    problem,
    whole,
)
from tests.contract.lighthouse_wire import Caller

ADA = with_habit("ok")


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> DocumentsCaller:
    return DocumentsCaller(http, upstreams)


# -- the token endpoint --------------------------------------------------------


def test_a_correct_assertion_gets_a_token_that_opens_the_api(caller: DocumentsCaller) -> None:
    body = caller.ask_token().json()
    assert set(body) == {"access_token", "token_type", "scope", "expires_in", "state"}
    assert (body["token_type"], body["expires_in"], body["state"]) == ("Bearer", 600, None)
    assert (sorted(body["scope"].split()), body["scope"] != SCOPE) == (sorted(SCOPE.split()), True)
    caller.headers = {"Authorization": f"Bearer {body['access_token']}"}
    assert caller.upload().status_code == 200


def test_the_audience_is_this_authorization_servers_own(caller: DocumentsCaller) -> None:
    for audience in (caller.known.lighthouse_audience, caller.token_url):
        answer = caller.ask_token(caller.assertion(aud=audience))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("scope", ["system/claim.read", "documents.read system/claim.write", "documents.delete"])
def test_scopes_of_another_api_are_refused(caller: DocumentsCaller, scope: str) -> None:
    assert caller.ask_token(scope=scope).json()["error"] == "invalid_scope"


def test_a_token_is_worth_nothing_at_the_other_api(
    caller: DocumentsCaller, http: requests.Session, upstreams: Upstreams
) -> None:
    other = Caller(http, upstreams)
    caller.headers, other.headers = other.headers, caller.headers
    assert caller.upload().status_code == 401
    assert other.read(ADA.icn).status_code == 401


def test_each_call_needs_its_scope(caller: DocumentsCaller) -> None:
    taken = caller.uploaded()
    caller.take_token("documents.read")
    assert (caller.upload().status_code, caller.ask(taken).status_code) == (403, 200)
    caller.take_token("documents.write")
    assert (caller.upload().status_code, caller.ask(taken).status_code) == (200, 403)
    assert caller.ask_one(taken).status_code == 403
    caller.headers = {}
    assert [call.status_code for call in (caller.upload(), caller.ask(taken), caller.ask_one(taken))] == [401] * 3


def test_a_token_can_die_before_its_time(caller: DocumentsCaller, control: Control) -> None:
    control.set("documents", "expire", operation="/documents", times=1)
    assert [caller.upload().status_code for _ in range(2)] == [401, 401]


# -- the gateway ----------------------------------------------------------------


def test_the_gateway_refuses_a_request_that_is_too_large(caller: DocumentsCaller, control: Control) -> None:
    control.turn("documents", largest_bytes=len(whole(RIGHT, FILE)) - 1)
    answer = caller.upload()
    assert (answer.status_code, answer.json()) == (413, {"message": "Request size limit exceeded"})


def test_beyond_the_limit_calls_are_throttled(caller: DocumentsCaller, control: Control) -> None:
    control.turn("documents", minute_limit=1)
    assert caller.upload().headers["X-RateLimit-Remaining-Minute"] == "0"
    answer = caller.upload()
    assert (answer.status_code, answer.json()) == (429, {"message": "API rate limit exceeded"})
    assert int(answer.headers["RateLimit-Reset"]) <= 60
    assert caller.ask_token().status_code == 200


@pytest.mark.parametrize("status", [404, 500, 502])
def test_the_status_of_the_apis_own_errors_is_a_number(caller: DocumentsCaller, control: Control, status: int) -> None:
    control.set("documents", "status", status=status)
    assert problem(caller.upload())[0] == problem(caller.ask(1))[0] == status


@pytest.mark.parametrize("status", [503, 504])
def test_other_errors_have_the_gateways_form(caller: DocumentsCaller, control: Control, status: int) -> None:
    control.set("documents", "status", status=status)
    assert (caller.upload().status_code, set(caller.upload().json())) == (status, {"message"})


def test_a_path_that_leads_to_no_api_never_looks_like_an_unknown_upload(caller: DocumentsCaller) -> None:
    caller.base += "/typo"
    assert (caller.ask(1).status_code, set(caller.ask(1).json())) == (404, {"message"})


def test_lighthouses_own_host_answers_for_it_too(
    caller: DocumentsCaller, control: Control, upstreams: Upstreams
) -> None:
    caller.base = caller.base.replace(upstreams["documents"], upstreams["lighthouse"])
    taken = caller.uploaded()
    assert caller.status(taken)["requestId"] == taken
    control.set("lighthouse", "status", status=503)
    assert caller.ask(taken).status_code == 200
    control.set("documents", "status", status=502)
    assert caller.ask(taken).status_code == 502
    assert (len(control.received("documents")), control.received("lighthouse")) == (4, [])


def test_a_lost_reply_leaves_an_upload_whose_number_nobody_knows(caller: DocumentsCaller, control: Control) -> None:
    control.set("documents", "drop", times=1)
    with pytest.raises(requests.ConnectionError):
        caller.upload()
    assert len(control.call("GET", "documents", "uploads")) == 1
