"""The fake Travel Pay's tokens, keys and counts: who gets in, and how others are refused (contract: travel 5.1)."""

from __future__ import annotations

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.travel_pay_wire import Chain, Traveler, data, not_found, refusal

ADA = with_habit("ok")
APIM = {"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}
OPERATIONS = {
    "POST /api/v3/appointments/find-or-add": ("POST", "v3/appointments/find-or-add"),
    "GET /api/v2/appointments": ("GET", "v2/appointments"),
    "POST /api/v3/claims": ("POST", "v3/claims"),
    "POST /api/v3/expenses/mileage": ("POST", "v3/expenses/mileage"),
    "/submit": ("PATCH", "v3/claims/x/submit"),
    "GET /api/v3/claims/": ("GET", "v3/claims/x"),
    "GET /api/v2/claims": ("GET", "v2/claims"),
    "search-by-appointment-date": ("GET", "v2/claims/search-by-appointment-date"),
    "/documents": ("GET", "v2/claims/x/documents"),
    "/documents/": ("GET", "v2/claims/x/documents/y"),
    "/contacts": ("GET", "v2/contacts"),
}


@pytest.fixture
def chain(http: requests.Session, upstreams: Upstreams) -> Chain:
    return Chain(http, upstreams)


@pytest.fixture
def ada(chain: Chain) -> Traveler:
    return Traveler(chain, ADA)


def test_veis_gives_a_token_for_a_resource(chain: Chain) -> None:
    answer = chain.ask_veis()
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer")
    assert answer.json()["expires_in"] == answer.json()["ext_expires_in"] == 3599


def test_veis_may_give_the_lifetime_as_a_text(chain: Chain, control: Control) -> None:
    control.turn("veis", expires_in_as_text=True)
    assert chain.ask_veis().json()["expires_in"] == "3599"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"resource": ""}, 400, 900144),
        ({"client_info": ""}, 400, 900144),
        ({"resource": "api://elsewhere"}, 400, 500011),
        ({"client_secret": "wrong"}, 401, 7000215),
    ],
)
def test_veis_refuses_a_wrong_form(chain: Chain, changes: dict[str, str], status: int, code: int) -> None:
    answer = chain.ask_veis(**changes)
    assert (answer.status_code, answer.json()["error_codes"]) == (status, [code])


def test_a_token_of_one_api_opens_no_other(chain: Chain, http: requests.Session, ada: Traveler) -> None:
    form = chain.veis_form(resource="") | {"scope": chain.known.veis_scope}
    scoped = http.post(f"{chain.urls['veis']}/{chain.known.veis_tenant}/oauth2/v2.0/token", data=form).json()
    headers = {
        "Authorization": f"Bearer {ada.veis}",
        "Ocp-Apim-Subscription-Key": chain.known.btsss_subscription_keys[0],
    }
    claim_ingest = http.post(f"{chain.urls['btsss']}/api/ClaimIngest/submitclaim", json={}, headers=headers)
    assert claim_ingest.status_code == 401
    ada.veis = scoped["access_token"]
    assert ada.claims().status_code == 401


@pytest.mark.parametrize("has_expiry", [True, False])
def test_btsss_gives_a_token_and_may_give_its_lifetime(chain: Chain, control: Control, has_expiry: bool) -> None:
    control.turn("travel_pay", token_seconds=3000, tell_expiry=has_expiry)
    held = data(chain.ask_btsss(chain.veis(), chain.sts(ADA)))
    assert held.pop("accessToken")
    assert held == ({"expiresIn": 3000} if has_expiry else {})


def test_btsss_refuses_a_token_call_in_its_envelope_and_its_gateway_in_its_own_words(chain: Chain) -> None:
    veis, sts = chain.veis(), chain.sts(ADA)
    assert refusal(chain.ask_btsss(veis, "nobody's"))[0] == 401
    assert refusal(chain.ask_btsss(veis, sts, **{"BTSSS-API-Client-Number": "9"}))[0] == 400
    stranger = chain.exchange(chain.assertion(ADA, user_attributes=None)).json()["data"]["access_token"]
    assert refusal(chain.ask_btsss(veis, stranger)) == (403, "Forbidden. The person has no profile.")
    answer = chain.ask_btsss("nobody's", sts)
    assert (answer.status_code, answer.json()) == (401, APIM)


def test_a_call_that_lacks_one_of_its_headers_is_refused(ada: Traveler) -> None:
    ada.headers = {"BTSSS-Access-Token": "nobody's"}
    assert refusal(ada.claims()) == (401, "Unauthorized. The BTSSS access token is not valid.")
    ada.headers = {"Authorization": "Bearer nobody's"}
    assert (ada.claims().status_code, ada.claims().json()) == (401, APIM)
    ada.headers = {"Ocp-Apim-Subscription-Key": "wrong"}
    assert "subscription key" in ada.claims().json()["message"]
    ada.headers = {"X-Correlation-ID": "one"}
    assert refusal(ada.claims()) == (400, "X-Correlation-ID must be a UUID.")


def test_the_correlation_id_comes_back(ada: Traveler) -> None:
    ada.headers = {"X-Correlation-ID": "5b0c5a1e-93c1-4a0b-8a63-0d6c5b1f7e55"}
    assert ada.claims().json()["correlationId"] == ada.headers["X-Correlation-ID"]


def test_each_of_the_two_tokens_can_end_without_the_other(ada: Traveler, chain: Chain, control: Control) -> None:
    control.call("POST", "travel_pay", "revoke", json={"token": "btsss"})
    assert refusal(ada.claims())[0] == 401
    ada = Traveler(chain, ADA)
    control.call("POST", "travel_pay", "revoke", json={"token": "veis"})
    assert ada.claims().json() == APIM
    ada.veis = chain.veis()
    assert data(ada.claims()) == []


def test_a_token_can_die_in_use_or_be_dead_from_the_start(ada: Traveler, chain: Chain, control: Control) -> None:
    control.set("travel_pay", "expire", operation="/contacts", times=1)
    assert ada.claims().status_code == 200
    assert refusal(ada.call("GET", "v2/contacts"))[0] == 401
    assert refusal(ada.claims())[0] == 401
    control.set("travel_pay", "expire", operation="access-token", times=1)
    assert refusal(Traveler(chain, ADA).claims())[0] == 401
    assert data(Traveler(chain, ADA).claims()) == []


def test_calls_are_counted_by_the_minute(ada: Traveler, control: Control) -> None:
    ada.claims()
    control.turn("travel_pay", minute_limit=3)
    answer = ada.claims()
    limit = [answer.headers[f"X-Ratelimit-{name}-Minute"] for name in ("Limit", "Remaining")]
    assert (answer.status_code, limit) == (200, ["3", "0"])
    answer = ada.claims()
    assert (answer.status_code, answer.json()["statusCode"]) == (429, 429)
    assert 0 < int(answer.headers["Ratelimit-Reset"]) <= 60


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call_can_be_struck_by_its_name(ada: Traveler, control: Control, operation: str) -> None:
    control.set("travel_pay", "status", operation=operation, status=502, times=1)
    assert ada.call(*OPERATIONS[operation]).status_code == 502
    assert ada.call(*OPERATIONS[operation]).status_code in (200, 400, 404)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_a_fault_has_the_shape_that_errors_of_its_status_have(ada: Traveler, control: Control, status: int) -> None:
    control.set("travel_pay", "status", status=status, times=1)
    answer = ada.claims()
    assert answer.status_code == status
    if status == 400:
        assert refusal(answer)[0] == 400
    elif status == 404:
        assert not_found(answer) == "Claim not found."
    elif status in (401, 429):
        assert set(answer.json()) == {"statusCode", "message"}
    else:
        (only,) = answer.json()["errors"]
        assert set(only["error"]) == {"code", "message", "details"}


def test_an_unknown_path_never_looks_like_no_claim(ada: Traveler) -> None:
    answer = ada.call("GET", "v9/claims/x")
    assert (answer.status_code, answer.json()) == (404, {"statusCode": 404, "message": "Resource not found"})
