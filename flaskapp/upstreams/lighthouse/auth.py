"""Client of Lighthouse's token services, one for each of its APIs, with an assertion signed by our key."""

from __future__ import annotations

from dataclasses import dataclass

from flaskapp.config import Config
from flaskapp.upstreams.tokens.assertions import signed_assertion, signing_key
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.tokens.oauth import token_from
from flaskapp.upstreams.transport.http import HTTP, Outgoing


@dataclass(frozen=True)
class TokenService:
    """Where an API's tokens come from. `audience` is the authorization server; `total_seconds` limits one fetch."""

    upstream: str
    url: str
    audience: str
    scope: str
    total_seconds: float


def claims_tokens(config: Config) -> TokenService:
    """For Benefits Claims, with only the scopes that reading and creating an ITF need."""
    return TokenService(
        "lighthouse_auth",
        config.lighthouse_token_url,
        config.lighthouse_audience,
        "system/claim.read system/claim.write",
        token_seconds(config),
    )


def documents_tokens(config: Config) -> TokenService:
    """For Benefits Documents: one scope uploads, the other reads statuses."""
    return TokenService(
        "lighthouse_documents_auth",
        config.lighthouse_documents_token_url,
        config.lighthouse_documents_audience,
        "documents.read documents.write",
        config.lighthouse_total_seconds,
    )


class LighthouseAuthClient:
    """Raises ValueError for a key that cannot sign, without repeating the key."""

    def __init__(self, config: Config, http: HTTP, service: TokenService) -> None:
        self._config = config
        self._http = http
        self._service = service
        self._key = signing_key(config.lighthouse_private_key, "LIGHTHOUSE_PRIVATE_KEY")

    def fetch_token(self) -> FetchedToken:
        """A new token. Raises Unauthorized when the service names an error, else Unavailable."""
        return token_from(self._http, self._request())

    def _request(self) -> Outgoing:
        service = self._service
        return Outgoing(
            service.upstream,
            "token",
            "POST",
            service.url,
            write=False,
            total_seconds=service.total_seconds,
            headers={"Accept": "application/json"},
            form={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(),
                "scope": service.scope,
            },
        )

    def _assertion(self) -> str:
        client = self._config.lighthouse_client_id
        return signed_assertion(self._key, {"iss": client, "sub": client, "aud": self._service.audience})


def token_seconds(config: Config) -> float:
    """Total limit on one token call for claims. Jobs and people share the call: it is the shorter of their limits."""
    return min(config.lighthouse_total_seconds, config.itf_sync_seconds)
