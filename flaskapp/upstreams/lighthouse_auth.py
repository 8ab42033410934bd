"""Lighthouse's token service for Benefits Claims: we show who we are by an assertion signed with our private key."""

from __future__ import annotations

import time
from functools import cache

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from flaskapp.config import Config
from flaskapp.upstreams.http import HTTP, Outgoing
from flaskapp.upstreams.oauth import token_from
from flaskapp.upstreams.tokens import FetchedToken

UPSTREAM = "lighthouse_auth"
ASSERTION_SECONDS = 300
# What reading and creating an ITF take, and no more.
SCOPE = "system/claim.read system/claim.write"


class LighthouseAuthClient:
    """A key that cannot sign raises ValueError, without repeating it."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http
        self._key = signing_key(config.lighthouse_private_key)

    def fetch_token(self) -> FetchedToken:
        """A new token. Raises Unauthorized when the service names an error, else Unavailable."""
        return token_from(self._http, self._request())

    def _request(self) -> Outgoing:
        config = self._config
        return Outgoing(
            UPSTREAM,
            "token",
            "POST",
            config.lighthouse_token_url,
            write=False,
            total_seconds=token_seconds(config),
            headers={"Accept": "application/json"},
            form={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(),
                "scope": SCOPE,
            },
        )

    def _assertion(self) -> str:
        client, now = self._config.lighthouse_client_id, int(time.time())
        claims = {
            "iss": client,
            "sub": client,
            "aud": self._config.lighthouse_audience,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm="RS256")


def token_seconds(config: Config) -> float:
    """Total limit on one token call: jobs and people wait for the same one, so the shorter of their limits."""
    return min(config.lighthouse_total_seconds, config.itf_sync_seconds)


@cache
def signing_key(pem: str) -> RSAPrivateKey:
    """The key in that PEM text; remembered, since checking one takes some 50 ms."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("LIGHTHOUSE_PRIVATE_KEY must be an RSA private key without a passphrase")
    return key
