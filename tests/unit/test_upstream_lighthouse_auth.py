"""Lighthouse's token call: the client assertion, and what each answer means for both APIs (contract: benefits 1)."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from flaskapp.upstreams.errors import Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.auth import (
    LighthouseAuthClient,
    claims_tokens,
    documents_tokens,
    token_seconds,
)
from flaskapp.upstreams.tokens.assertions import signing_key
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Reply, reset, serving, whole
from tests.unit.upstream_settings import SIGNING_KEY, settings

GIVEN = {"access_token": "lighthouse-1", "token_type": "Bearer", "scope": "x", "expires_in": 600, "state": None}
NAMED = {"error": "invalid_client", "error_description": "The audience of the assertion is wrong."}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(whole(200, GIVEN)) as running:
        yield running


@pytest.fixture
def auth(server: Loopback) -> LighthouseAuthClient:
    url = f"{server.url}/oauth2/claims/system/v1/token"
    config = settings(lighthouse_token_url=url, lighthouse_total_seconds=30)
    return LighthouseAuthClient(config, HTTP(10), claims_tokens(config))


def test_a_token_is_requested_with_a_signed_assertion(server: Loopback, auth: LighthouseAuthClient) -> None:
    before = int(time.time())
    assert auth.fetch_token() == FetchedToken("lighthouse-1", 600)
    (sent,) = server.received
    assert sent.line == "POST /oauth2/claims/system/v1/token HTTP/1.1"
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert sent.headers["accept"] == "application/json"
    form = {name: value for name, (value,) in parse_qs(sent.body.decode()).items()}
    assertion = form.pop("client_assertion")
    assert form == {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "scope": "system/claim.read system/claim.write",
    }
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "typ": "JWT"}
    audience = "https://authorization.example/oauth2/claims"
    claims = jwt.decode(assertion, SIGNING_KEY.public_key(), algorithms=["RS256"], audience=audience)
    assert before - 30 <= claims["iat"] <= time.time() - 30
    assert claims == {
        "iss": "lighthouse-client",
        "sub": "lighthouse-client",
        "aud": audience,
        "iat": claims["iat"],
        "exp": claims["iat"] + 300,
    }


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(400, NAMED), Unauthorized),
        (whole(401, NAMED), Unauthorized),
        (whole(401, {"status": 401, "error": "Invalid token.", "path": "/token"}), Unauthorized),
        (whole(400, "<html>"), Unavailable),
        (whole(403, NAMED), Unavailable),
        (whole(404, {"message": "no Route matched"}), Unavailable),
        (whole(200, {"expires_in": 600}), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(429, {"message": "API rate limit exceeded"}), Throttled),
        (whole(503, ""), Unavailable),
        (reset, Unavailable),
    ],
)
def test_a_token_failure_is_never_unanswered(
    server: Loopback, auth: LighthouseAuthClient, reply: Reply, kind: type[UpstreamError]
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        auth.fetch_token()
    assert type(caught.value) is kind and caught.value.upstream == "lighthouse_auth"


def test_the_documents_api_has_its_own_token_service_audience_and_scopes(server: Loopback) -> None:
    url = f"{server.url}/oauth2/benefits-documents/system/v1/token"
    config = settings(lighthouse_documents_token_url=url, lighthouse_total_seconds=30)
    service = documents_tokens(config)
    assert LighthouseAuthClient(config, HTTP(10), service).fetch_token() == FetchedToken("lighthouse-1", 600)
    (sent,) = server.received
    assert sent.line == "POST /oauth2/benefits-documents/system/v1/token HTTP/1.1"
    form = {name: value for name, (value,) in parse_qs(sent.body.decode()).items()}
    assert form["scope"] == "documents.read documents.write"
    audience = "https://authorization.example/oauth2/documents"
    jwt.decode(form["client_assertion"], SIGNING_KEY.public_key(), algorithms=["RS256"], audience=audience)
    assert (service.total_seconds, service.upstream) == (30, "lighthouse_documents_auth")


def pem_of_another_kind() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def pem_that_signs_for_nobody() -> str:
    """A key with one wrong bit in the modulus: it can be read, and nobody can verify what it signs."""
    der = SIGNING_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    modulus = SIGNING_KEY.private_numbers().public_numbers.n
    size = SIGNING_KEY.key_size // 8
    torn = der.replace(modulus.to_bytes(size), (modulus ^ 4).to_bytes(size))
    return f"-----BEGIN PRIVATE KEY-----\n{b64encode(torn).decode()}\n-----END PRIVATE KEY-----\n"


MADE = {"elliptic": pem_of_another_kind, "torn": pem_that_signs_for_nobody}


@pytest.mark.parametrize(
    "pem", ["", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "elliptic", "torn"]
)
def test_a_key_that_cannot_sign_stops_the_start_and_only_its_name_is_shown(pem: str) -> None:
    with pytest.raises(ValueError, match="^LIGHTHOUSE_PRIVATE_KEY must be an RSA private key") as caught:
        signing_key(MADE[pem]() if pem in MADE else pem, "LIGHTHOUSE_PRIVATE_KEY")
    assert "c2VjcmV0" not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.parametrize(("job", "person", "seconds"), [(60, 20, 20), (5, 20, 5)])
def test_a_token_call_ends_within_the_shorter_of_both_limits(job: float, person: float, seconds: float) -> None:
    assert token_seconds(settings(lighthouse_total_seconds=job, itf_sync_seconds=person)) == seconds
