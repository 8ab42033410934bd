"""The fake token exchange: what it requires of an assertion, and how it refuses one (contract: travel 5.1)."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.keys import LIGHTHOUSE_CLIENT_KEY
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.travel_pay_wire import Chain

ADA = with_habit("ok")


@pytest.fixture
def chain(http: requests.Session, upstreams: Upstreams) -> Chain:
    return Chain(http, upstreams)


def refusal(answer: requests.Response) -> str:
    """The text of a refusal. All have the same status, type and shape."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json")
    assert set(answer.json()) == {"errors"}
    assert isinstance(answer.json()["errors"], str)
    return str(answer.json()["errors"])


def holder(upstreams: Upstreams, answer: requests.Response) -> str | None:
    """For whom the token that was given speaks."""
    assert (answer.status_code, set(answer.json()), set(answer.json()["data"])) == (200, {"data"}, {"access_token"})
    return upstreams.fakes.sts.tokens.holder(answer.json()["data"]["access_token"])


def test_an_assertion_about_a_person_gets_a_token_that_speaks_for_them(chain: Chain, upstreams: Upstreams) -> None:
    assert holder(upstreams, chain.exchange(chain.assertion(ADA))) == ADA.icn


ISSUER, AUDIENCE = "Assertion issuer is not valid", "Assertion audience is not valid"
ACCOUNT, SCOPES = "Service account config not found", "Assertion scopes are not valid"
SUBJECT, ATTRIBUTES = "Assertion subject is not valid", "Assertion user attributes are not valid"
ISSUED, EXPIRES = "Assertion issuance timestamp is not valid", "Assertion expiration timestamp is not valid"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"iss": "https://elsewhere.invalid"}, ISSUER),
        ({"without": "iss"}, ISSUER),
        ({"aud": "https://elsewhere.invalid/v0/sign_in/token"}, AUDIENCE),
        ({"aud": []}, AUDIENCE),
        ({"without": "aud"}, AUDIENCE),
        ({"service_account_id": "somebody"}, ACCOUNT),
        ({"without": "service_account_id"}, ACCOUNT),
        ({"scopes": []}, SCOPES),
        ({"scopes": ["https://sandbox.invalid/v0/travel_pay/read", "everything"]}, SCOPES),
        ({"scopes": "https://sandbox.invalid/v0/travel_pay/read"}, SCOPES),
        ({"without": "scopes"}, SCOPES),
        ({"sub": " "}, SUBJECT),
        ({"sub": None}, SUBJECT),
        ({"without": "sub"}, SUBJECT),
        ({"user_attributes": {"icn": ADA.icn, "ssn": "900112233"}}, ATTRIBUTES),
        ({"user_attributes": ADA.icn}, ATTRIBUTES),
        ({"iat": "now"}, ISSUED),
        ({"without": "iat"}, ISSUED),
        ({"exp": True}, EXPIRES),
        ({"without": "exp"}, EXPIRES),
        ({"key": LIGHTHOUSE_CLIENT_KEY}, "Assertion body does not match signature"),
    ],
)
def test_any_other_assertion_is_refused(chain: Chain, changes: dict[str, Any], text: str) -> None:
    assert refusal(chain.exchange(chain.assertion(ADA, **changes))) == text


def test_an_assertion_changed_after_it_was_signed_is_refused(chain: Chain) -> None:
    header, _, signature = chain.assertion(ADA).split(".")
    _, others, _ = chain.assertion(with_habit("filed")).split(".")
    assert refusal(chain.exchange(f"{header}.{others}.{signature}")) == "Assertion body does not match signature"
    unsigned = jwt.encode({"service_account_id": chain.known.sts_service_account_id}, "", algorithm="none")
    assert refusal(chain.exchange(unsigned)) == "Assertion body does not match signature"


def test_neither_the_person_nor_the_id_nor_the_lifetime_is_looked_at(chain: Chain, upstreams: Upstreams) -> None:
    now = int(time.time())
    for changes, icn in (
        ({"sub": ADA.icn}, ADA.icn),
        ({"aud": ["https://elsewhere.invalid", chain.sts_url]}, ADA.icn),
        ({"without": "jti"}, ADA.icn),
        ({"jti": 7}, ADA.icn),
        ({"exp": now + 30 * 86_400}, ADA.icn),
        ({"user_attributes": {"icn": "1V1"}}, "1V1"),
        ({"user_attributes": {"icn": None}}, ""),
        ({"user_attributes": {}}, ""),
        ({"user_attributes": None}, ""),
        ({"without": "user_attributes"}, ""),
    ):
        assert holder(upstreams, chain.exchange(chain.assertion(ADA, **changes))) == icn, changes


@pytest.mark.parametrize(
    ("offset", "text"), [(-5, ISSUED), (-3600, ISSUED), (0, None), (290, None), (300, "Assertion has expired")]
)
def test_its_own_clock_judges_both_times_without_leeway(
    chain: Chain, control: Control, upstreams: Upstreams, offset: int, text: str | None
) -> None:
    control.turn("sts", clock_offset_seconds=offset)
    answer = chain.exchange(chain.assertion(ADA))
    if text is None:
        assert holder(upstreams, answer) == ADA.icn
    else:
        assert refusal(answer) == text


def test_the_parameters_are_in_the_query(chain: Chain, http: requests.Session) -> None:
    assert refusal(chain.exchange(chain.assertion(ADA), "client_credentials")) == "Grant type is not valid"
    for nonsense in ("", "one.two.three"):
        assert refusal(chain.exchange(nonsense)) == "Assertion is malformed"
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": chain.assertion(ADA)}
    assert refusal(http.post(chain.sts_url, data=form)) == "Grant type is not valid"


def test_a_token_can_die_before_its_time(chain: Chain, control: Control, upstreams: Upstreams) -> None:
    control.set("sts", "expire", times=1)
    early, late = chain.sts(ADA), chain.sts(ADA)
    held = [upstreams.fakes.sts.tokens.holder(token) for token in (early, late)]
    assert held == [None, ADA.icn]


def test_a_fault_is_answered_in_the_services_own_words(chain: Chain, control: Control) -> None:
    control.set("sts", "status", status=400, times=1)
    assert refusal(chain.exchange(chain.assertion(ADA))) == "Bad Request"
    control.set("sts", "status", status=503, times=1)
    (entry,) = chain.exchange(chain.assertion(ADA)).json()["errors"]
    assert entry == {
        "title": "Service Unavailable",
        "detail": "Service Unavailable",
        "code": "503",
        "status": "503",
    }
    control.set("sts", "throttle", retry_after="3", times=1)
    answer = chain.exchange(chain.assertion(ADA))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
