"""The fake token exchange: what it requires of an assertion, and how it refuses one (contract: travel 5.1)."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.keys import LIGHTHOUSE_CLIENT_KEY
from sandbox.upstreams.scenarios import with_habit, without_email
from sandbox.upstreams.serve import Upstreams
from tests.contract.travel_pay_wire import Chain

ADA = with_habit("ok")


@pytest.fixture
def chain(http: requests.Session, upstreams: Upstreams) -> Chain:
    return Chain(http, upstreams)


def error(answer: requests.Response) -> tuple[int, str]:
    """HTTP status and text of a refusal, whose shape is checked on the way."""
    assert set(answer.json()) == {"errors"}
    assert isinstance(answer.json()["errors"], str)
    return answer.status_code, answer.json()["errors"]


def test_an_assertion_about_a_person_gets_a_token_that_speaks_for_them(chain: Chain, upstreams: Upstreams) -> None:
    answer = chain.exchange(chain.assertion(ADA))
    assert (answer.status_code, set(answer.json()), set(answer.json()["data"])) == (200, {"data"}, {"access_token"})
    assert upstreams.fakes.sts.tokens.holder(answer.json()["data"]["access_token"]) == ADA.icn


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"iss": "https://elsewhere.invalid"}, 401, "Assertion issuer is not valid"),
        ({"aud": "https://elsewhere.invalid/v0/sign_in/token"}, 401, "Assertion audience is not valid"),
        ({"service_account_id": "somebody"}, 401, "Service account is not valid"),
        ({"scopes": []}, 401, "Assertion scopes are not valid"),
        ({"scopes": ["everything"]}, 401, "Assertion scopes are not valid"),
        ({"scopes": "https://sandbox.invalid/v0/travel_pay/read"}, 401, "Assertion scopes are not valid"),
        ({"sub": ""}, 400, "User email is not valid"),
        ({"sub": ADA.icn}, 400, "User email is not valid"),
        ({"user_attributes": {}}, 400, "User attributes are not valid"),
        ({"user_attributes": ADA.icn}, 400, "User attributes are not valid"),
        ({"user_attributes": {"icn": "1V1"}}, 404, "User not found"),
        ({"without": "user_attributes"}, 400, "User attributes are not valid"),
        ({"without": "jti"}, 401, "Assertion is not valid"),
        ({"without": "exp"}, 401, "Assertion is not valid"),
        ({"key": LIGHTHOUSE_CLIENT_KEY}, 401, "Assertion is not valid"),
    ],
)
def test_any_other_assertion_is_refused(chain: Chain, changes: dict[str, Any], status: int, text: str) -> None:
    assert error(chain.exchange(chain.assertion(ADA, **changes))) == (status, text)


@pytest.mark.parametrize(
    ("began", "ends", "text"),
    [(-300, -1, "Assertion has expired"), (0, 301, "Assertion lives too long")],
)
def test_an_assertion_lives_five_minutes_at_most(chain: Chain, began: int, ends: int, text: str) -> None:
    now = int(time.time())
    answer = chain.exchange(chain.assertion(ADA, iat=now + began, exp=now + ends))
    assert error(answer) == (401, text)


def test_its_clock_may_differ(chain: Chain, control: Control) -> None:
    control.turn("sts", clock_offset_seconds=400)
    assert error(chain.exchange(chain.assertion(ADA))) == (401, "Assertion has expired")


def test_somebody_without_an_e_mail_address_gets_no_token(chain: Chain) -> None:
    assert error(chain.exchange(chain.assertion(without_email(), sub=None)))[0] in (400, 401)


def test_the_parameters_are_in_the_query(chain: Chain, http: requests.Session) -> None:
    assert error(chain.exchange(chain.assertion(ADA), "client_credentials")) == (400, "Grant type is not valid")
    assert error(chain.exchange("", "urn:ietf:params:oauth:grant-type:jwt-bearer"))[0] == 401
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": chain.assertion(ADA)}
    assert error(http.post(chain.sts_url, data=form)) == (400, "Grant type is not valid")


def test_a_token_can_die_before_its_time(chain: Chain, control: Control, upstreams: Upstreams) -> None:
    control.set("sts", "expire", times=1)
    early, late = chain.sts(ADA), chain.sts(ADA)
    held = [upstreams.fakes.sts.tokens.holder(token) for token in (early, late)]
    assert held == [None, ADA.icn]


def test_a_fault_is_answered_in_the_services_own_words(chain: Chain, control: Control) -> None:
    control.set("sts", "status", status=503, times=1)
    assert error(chain.exchange(chain.assertion(ADA))) == (503, "Service Unavailable")
    control.set("sts", "throttle", retry_after="3", times=1)
    answer = chain.exchange(chain.assertion(ADA))
    assert (error(answer)[0], answer.headers["Retry-After"]) == (429, "3")
