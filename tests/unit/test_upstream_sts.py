"""The token exchange's client: our assertion about a person, and that no answer refuses them (contract: travel 5.1)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from flaskapp.upstreams import errors
from flaskapp.upstreams.errors import (
    DOUBTFUL,
    FAILING,
    Throttled,
    Unauthorized,
    Unavailable,
    UpstreamError,
    breaker_signal,
)
from flaskapp.upstreams.sts import STSClient
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Reply, reset, serving, whole
from tests.unit.upstream_settings import SIGNING_KEY, settings

ICN, EMAIL = "1012345678V123456", "ada@example.test"
GIVEN = {"data": {"access_token": "vouched-1"}}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(whole(200, GIVEN)) as running:
        yield running


def exchange(server: Loopback, *replies: Reply) -> str:
    server.replies[:] = replies or server.replies
    return STSClient(settings(sts_base_url=server.url, sts_total_seconds=30), HTTP(10)).exchange(ICN, EMAIL)


def test_the_signed_assertion_names_the_person(server: Loopback) -> None:
    before = int(time.time())
    assert [exchange(server), exchange(server)] == ["vouched-1"] * 2
    sent, again = (urlsplit(received.line.split()[1]) for received in server.received)
    assert server.received[0].line.startswith("POST ") and sent.path == "/v0/sign_in/token"
    query = parse_qs(sent.query)
    assert query["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"] and len(query) == 2
    url = f"{server.url}/v0/sign_in/token"
    claims, others = (
        jwt.decode(parse_qs(one.query)["assertion"][0], SIGNING_KEY.public_key(), ["RS256"], audience=url)
        for one in (sent, again)
    )
    assert before - 30 <= claims["iat"] <= time.time() - 30 and claims["jti"] != others["jti"]
    assert claims == {
        "iss": "https://surefile.example",
        "sub": EMAIL,
        "aud": url,
        "iat": claims["iat"],
        "exp": claims["iat"] + 300,
        "scopes": ["https://sts.example/scope/one", "https://sts.example/scope/two"],
        "service_account_id": "service-account-1",
        "jti": claims["jti"],
        "user_attributes": {"icn": ICN},
    }


REFUSED = {"errors": "Assertion issuance timestamp is not valid"}
LISTED = {"errors": [{"title": "Forbidden", "detail": "Forbidden", "code": "403", "status": "403"}]}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(400, REFUSED), Unauthorized),
        (whole(400, {"errors": "Assertion is malformed"}), Unauthorized),
        (whole(400, {"errors": "Invalid subject"}), Unauthorized),
        (whole(400, {"error": "invalid_request"}), Unauthorized),
        (whole(400, "<html>"), Unauthorized),
        (whole(400, ""), Unauthorized),
        (whole(401, REFUSED), Unauthorized),
        (whole(401, "<html>"), Unauthorized),
        (whole(403, LISTED), Unauthorized),
        (whole(404, {"errors": "User not found"}), Unavailable),
        (whole(404, {"statusCode": 404, "message": "Resource not found"}), Unavailable),
        (whole(408, {"errors": "Timed out"}), Unavailable),
        (whole(413, "<html>"), Unavailable),
        (whole(422, REFUSED), Unavailable),
        (whole(200, {"data": {}}), Unavailable),
        (whole(200, {"data": {"access_token": ""}}), Unavailable),
        (whole(200, {"access_token": "beside the point"}), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(302, GIVEN), Unavailable),
        (whole(429, {"errors": "Slow down"}), Throttled),
        (whole(500, LISTED), Unavailable),
        (whole(503, ""), Unavailable),
        (reset, Unavailable),
    ],
)
def test_no_answer_is_about_the_person(server: Loopback, reply: Reply, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        exchange(server, reply)
    assert type(caught.value) is kind and caught.value.upstream == "sts"
    # Nobody gets any further without a token. What three people meet alike is the service's trouble, or ours.
    assert breaker_signal(caught.value) in (DOUBTFUL, errors.REFUSED, FAILING)


def test_a_refusal_names_nobody(server: Loopback) -> None:
    with pytest.raises(Unauthorized) as caught:
        exchange(server, whole(400, {"errors": f"{EMAIL} ({ICN}) is unknown"}))
    assert caught.value.detail == "[withheld] ([icn]) is unknown"


def test_a_key_that_cannot_sign_stops_the_start_by_its_settings_name() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ValueError, match="^STS_PRIVATE_KEY must be an RSA private key"):
        STSClient(settings(sts_private_key=pem), HTTP(10))
