"""Client of VEIS, the Azure AD token service in front of BTSSS and of the Travel Pay API."""

from __future__ import annotations

from flaskapp.config import Config
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.tokens.oauth import token_from
from flaskapp.upstreams.transport.http import HTTP, Outgoing

UPSTREAM = "veis"


class VEISClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def fetch_token(self) -> FetchedToken:
        """A new token by client credentials. Raises Unauthorized when Azure names an error, else Unavailable."""
        return self._fetch("oauth2/v2.0/token", {"scope": self._config.veis_scope})

    def fetch_travel_pay_token(self) -> FetchedToken:
        """The same for the Travel Pay API, in the older form of Azure AD: it names a resource, not a scope."""
        wanted = {"resource": self._config.travel_pay_veis_resource, "client_info": "1"}
        return self._fetch("oauth2/token", wanted)

    def _fetch(self, path: str, wanted: dict[str, str]) -> FetchedToken:
        config = self._config
        credentials = {"client_id": config.veis_client_id, "client_secret": config.veis_client_secret}
        request = Outgoing(
            UPSTREAM,
            "token",
            "POST",
            f"{config.veis_base_url}/{config.veis_tenant}/{path}",
            write=False,
            total_seconds=config.veis_total_seconds,
            form={**credentials, "grant_type": "client_credentials", **wanted},
        )
        return token_from(self._http, request)
