"""VEIS: the Azure AD token service in front of BTSSS. A token fetch does nothing, so it is never "unanswered"."""

from __future__ import annotations

from flaskapp.config import Config
from flaskapp.upstreams.errors import Unauthorized, Unavailable
from flaskapp.upstreams.http import HTTP, Outgoing, failure
from flaskapp.upstreams.tokens import FetchedToken

UPSTREAM = "veis"
# RFC 6749 lets a service leave `expires_in` out; then its token is kept only briefly.
UNSTATED_LIFETIME_SECONDS = 300.0
LONGEST_LIFETIME_SECONDS = 86_400.0


class VEISClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def fetch_token(self) -> FetchedToken:
        """A new token by client credentials. Raises Unauthorized when Azure names an error, else Unavailable."""
        answer = self._http.call(self._request())
        payload = answer.json()
        payload = payload if isinstance(payload, dict) else {}
        token = payload.get("access_token")
        if answer.status == 200 and isinstance(token, str) and token:
            return FetchedToken(token, lifetime_seconds(payload.get("expires_in")))
        named = answer.status in (400, 401) and isinstance(payload.get("error"), str)
        raise failure(Unauthorized if named else Unavailable, UPSTREAM, answer)

    def _request(self) -> Outgoing:
        config = self._config
        return Outgoing(
            UPSTREAM,
            "token",
            "POST",
            f"{config.veis_base_url}/{config.veis_tenant}/oauth2/v2.0/token",
            write=False,
            total_seconds=config.veis_total_seconds,
            form={
                "client_id": config.veis_client_id,
                "client_secret": config.veis_client_secret,
                "scope": config.veis_scope,
                "grant_type": "client_credentials",
            },
        )


def lifetime_seconds(expires_in: object) -> float:
    """`expires_in` as v2 (number) or v1 (text) of Azure AD writes it."""
    text = str(expires_in)
    if isinstance(expires_in, bool) or not text.isascii() or not text.isdecimal():
        return UNSTATED_LIFETIME_SECONDS
    return min(float(text), LONGEST_LIFETIME_SECONDS)
