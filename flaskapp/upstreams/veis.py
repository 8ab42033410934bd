"""VEIS: the Azure AD token service in front of BTSSS."""

from __future__ import annotations

from flaskapp.config import Config
from flaskapp.upstreams.http import HTTP, Outgoing
from flaskapp.upstreams.oauth import token_from
from flaskapp.upstreams.tokens import FetchedToken

UPSTREAM = "veis"


class VEISClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def fetch_token(self) -> FetchedToken:
        """A new token by client credentials. Raises Unauthorized when Azure names an error, else Unavailable."""
        return token_from(self._http, self._request())

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
