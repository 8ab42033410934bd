"""Client of the Sign-in Service's token endpoint, which vouches for a person to another service.

It does not look at who the person is. Whatever it refuses is about our key, clock, registration or settings, and never
about the person (contract: travel 5.1).
"""

from __future__ import annotations

import uuid

from flaskapp.config import Config
from flaskapp.upstreams.errors import NO_ANSWER, Unauthorized, Unavailable
from flaskapp.upstreams.tokens.assertions import signed_assertion, signing_key
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure

UPSTREAM = "sts"
# The service itself refuses with a 400 only; the others come from something in front that does not know us either.
_REFUSALS = frozenset({400, 401, 403})


class STSClient:
    """Raises ValueError for a key that cannot sign, without repeating the key."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http
        self._url = f"{config.sts_base_url}/v0/sign_in/token"
        self._key = signing_key(config.sts_private_key, "STS_PRIVATE_KEY")

    def exchange(self, icn: str, email: str) -> str:
        """A token that says who the person is. The call changes nothing, so it is never "unanswered".

        Raises Unauthorized when our assertion is refused, Throttled, and Unavailable for every other answer.
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
        config = self._config
        claims = {
            "iss": config.sts_issuer,
            "sub": email,
            "aud": self._url,
            "scopes": list(config.sts_scopes),
            "service_account_id": config.sts_service_account_id,
            "jti": str(uuid.uuid4()),
            "user_attributes": {"icn": icn},
        }
        return signed_assertion(self._key, claims)


def _token(answer: Answer) -> str:
    payload = answer.json()
    data = payload.get("data") if isinstance(payload, dict) else None
    token = data.get("access_token") if isinstance(data, dict) else None
    if answer.status == 200 and isinstance(token, str) and token:
        return token
    kind = Unauthorized if answer.status in _REFUSALS else Unavailable
    # Without a token nobody gets any further, so this is not about one person's record.
    raise failure(kind, UPSTREAM, answer, NO_ANSWER if answer.status < 400 else None)
