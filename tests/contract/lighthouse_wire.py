"""A caller of Lighthouse's token endpoint and ITF API that knows only the wire (contract: benefits 2.1)."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import jwt
import requests

from sandbox.upstreams.keys import private_key
from sandbox.upstreams.serve import Upstreams

SCOPE = "system/claim.read system/claim.write system/526-pdf.override"


class Caller:
    """Correct by default, with a live token for every scope."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http, self.known = http, upstreams.fakes.settings
        self.tokens = upstreams.fakes.lighthouse.tokens
        self.token_url = f"{upstreams['lighthouse']}/oauth2/claims/system/v1/token"
        self.base = f"{upstreams['lighthouse']}/services/claims/v2/veterans"
        self.take_token(SCOPE)

    def take_token(self, scope: str) -> None:
        self.headers = {"Authorization": f"Bearer {self.tokens.issue(600, scope)}", "Accept": "application/json"}

    def assertion(self, key: str | None = None, algorithm: str = "RS256", **changes: Any) -> str:
        """Changes replace claims; a claim of None is left out."""
        client, now = self.known.lighthouse_client_id, int(time.time())
        claims: dict[str, Any] = {"iss": client, "sub": client, "aud": self.known.lighthouse_audience, "iat": now}
        claims = {"exp": claims["iat"] + 300} | claims | changes
        signing = private_key(key or self.known.lighthouse_client_key) if algorithm == "RS256" else key
        return jwt.encode({name: it for name, it in claims.items() if it is not None}, signing, algorithm)

    def ask_token(self, assertion: str | None = None, **changes: str) -> requests.Response:
        """Changes replace fields of the form; an empty one is left out."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": assertion or self.assertion(),
            "scope": SCOPE,
        }
        return self.http.post(self.token_url, data={name: it for name, it in (form | changes).items() if it})

    def read(self, icn: str, itf_type: str = "compensation") -> requests.Response:
        return self.http.get(f"{self.base}/{icn}/intent-to-file/{itf_type}", headers=self.headers)

    def create(self, icn: str, **attributes: Any) -> requests.Response:
        given = {"type": "compensation", "claimantSsn": ""} | attributes
        return self.post(icn, {"data": {"type": "intent_to_file", "attributes": given}})

    def post(self, icn: str, body: Any, path: str = "") -> requests.Response:
        return self.http.post(f"{self.base}/{icn}/intent-to-file{path}", json=body, headers=self.headers)


def attributes(answer: requests.Response) -> dict[str, Any]:
    """The attributes of a 200's resource, whose shape is checked on the way."""
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"data"}
    assert set(body["data"]) == {"id", "type", "attributes"}
    assert body["data"]["id"].isdigit()
    assert body["data"]["type"] == "intent_to_file"
    assert set(body["data"]["attributes"]) == {"creationDate", "expirationDate", "type", "status"}
    return dict(body["data"]["attributes"])


def error(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, title and detail of an error in the API's own family."""
    (only,) = answer.json()["errors"]
    assert all(isinstance(text, str) for text in only.values())
    return answer.status_code, only["title"], only["detail"]


def when(text: str) -> datetime:
    """A date of an answer, which has a numeric offset."""
    timestamp = datetime.fromisoformat(text)
    assert text[-6] in "+-"
    assert timestamp.utcoffset() in (timedelta(hours=-5), timedelta(hours=-6))
    return timestamp
