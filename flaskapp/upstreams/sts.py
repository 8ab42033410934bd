"""Client of the Sign-in Service's token endpoint, which vouches for a person to another service."""

from __future__ import annotations

import time
import uuid

import jwt

from flaskapp.config import Config
from flaskapp.upstreams.errors import Rejected, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.auth import ASSERTION_SECONDS, signing_key
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure

UPSTREAM = "sts"


class STSClient:
    """Raises ValueError for a key that cannot sign, without repeating the key."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http
        self._url = f"{config.sts_base_url}/v0/sign_in/token"
        self._key = signing_key(config.sts_private_key, "STS_PRIVATE_KEY")

    def exchange(self, icn: str, email: str) -> str:
        """A token that says who the person is. The call changes nothing, so it is never "unanswered".

        Raises Unauthorized when our assertion is refused, Rejected when this person is, Throttled, and Unavailable for
        every other answer.
        """
        assertion = self._assertion(icn, email)
        request = Outgoing(
            UPSTREAM,
            "exchange",
            "POST",
            self._url,
            write=False,
            total_seconds=self._config.sts_total_seconds,
            headers={"Accept": "application/json"},
            params={"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion},
            unquoted=(assertion, email),
        )
        return _token(self._http.call(request))

    def _assertion(self, icn: str, email: str) -> str:
        config, now = self._config, int(time.time())
        claims = {
            "iss": config.sts_issuer,
            "sub": email,
            "aud": self._url,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "scopes": list(config.sts_scopes),
            "service_account_id": config.sts_service_account_id,
            "jti": str(uuid.uuid4()),
            "user_attributes": {"icn": icn},
        }
        return jwt.encode(claims, self._key, algorithm="RS256")


def _token(answer: Answer) -> str:
    payload = answer.json()
    data = payload.get("data") if isinstance(payload, dict) else None
    token = data.get("access_token") if isinstance(data, dict) else None
    if answer.status == 200 and isinstance(token, str) and token:
        return token
    raise failure(_refusal(answer.status, payload), UPSTREAM, answer)


def _refusal(status: int, payload: object) -> type[UpstreamError]:
    """The class of a refusal. Only the service itself, which lists `errors`, can refuse a person; a gateway cannot."""
    if status == 401:
        return Unauthorized
    refuses = isinstance(payload, dict) and "errors" in payload
    return Rejected if 400 <= status != 408 and refuses else Unavailable
