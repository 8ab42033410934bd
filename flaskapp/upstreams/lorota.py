"""Client of LoROTA, which knows who is checking in (contract: travel 1.9).

Its recorded answers were made by hand. So its answers are read in every form that we know, and checked before they are
used. It compares what a person typed, and counts no tries: see `flaskapp/check_in/tries.py`.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any
from urllib.parse import quote

from flaskapp.clock import DAY_SECONDS
from flaskapp.config import Config
from flaskapp.upstreams.errors import PERSON_TOKEN_REFUSED, Rejected, Unauthorized, Unavailable
from flaskapp.upstreams.tokens.assertions import signed_assertion, signing_key
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.refusals import plain_error

UPSTREAM = "lorota"

# Who the claims are for, and what they allow.
_AUDIENCE, _SCOPES = "lorota", ["read.full"]
# As the known client has it. How long LoROTA's own token lives may follow from it.
_CLAIMS_SECONDS = int(DAY_SECONDS)
# What a 401 says, in any case: the check-in is unknown, or something of what the person typed does not match.
_UNKNOWN = "uuid not found"
# The whole sentence counts: our own claims may not match either, and of our body `dob` may be missing.
_MISMATCH = re.compile(r"\b(?:last ?name|dob|ssn4) does not match\b")
# All that a 401 says about a bad or expired token. More words are about our own claims or address.
_TOKEN_REFUSED = "unauthorized"
# What a 404 says about data that are no longer there.
_NO_SUCH_ID = "id not found"


class LorotaClient:
    """Raises ValueError for a key that cannot sign, without repeating the key."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http
        self._key = signing_key(config.lorota_private_key, "LOROTA_PRIVATE_KEY")

    def token(self, uuid: str, dob: date, last_name: str) -> str:
        """The token of a check-in whose person named the right date of birth and last name.

        Raises Rejected with code `no_match` or `not_found`; Unauthorized when our own key or claims are refused.
        """
        body = {"lastName": last_name, "dob": dob.isoformat()}
        answer = self._call("token", "POST", "/token", {"x-lorota-claims": self._claims(uuid)}, json=body)
        payload = _object(answer)
        code = None if payload is None else _refusal(answer.status, payload)
        if code is not None:
            raise failure(Rejected, UPSTREAM, answer, code)
        token = payload.get("token") if payload and answer.status == 200 else None
        if not isinstance(token, str) or not token:
            ours = answer.status == 403 or (answer.status == 401 and payload is not None)
            raise failure(Unauthorized if ours else Unavailable, UPSTREAM, answer)
        return token

    def data(self, uuid: str, token: str) -> dict[str, Any]:
        """Everything known about that check-in; at least the list `appointments` is there.

        Raises Unauthorized, with the code PERSON_TOKEN_REFUSED for a bad or expired token and without for every other
        401 and 403, and Rejected with code `not_found`.
        """
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._call("data", "GET", f"/data/{quote(uuid, safe='')}", headers)
        payload = _object(answer)
        if answer.status in (401, 403):
            # That code ends a session, so only LoROTA's own words have it (docs/assumptions.md).
            theirs = answer.status == 401 and plain_error(payload) == _TOKEN_REFUSED
            raise failure(Unauthorized, UPSTREAM, answer, PERSON_TOKEN_REFUSED if theirs else None)
        if answer.status == 404 and _NO_SUCH_ID in plain_error(payload):
            raise failure(Rejected, UPSTREAM, answer, "not_found")
        found = None if payload is None or answer.status != 200 else _check_in(payload, uuid)
        if found is None:
            raise failure(Unavailable, UPSTREAM, answer)
        return found

    def _claims(self, uuid: str) -> str:
        """Which check-in it is about. The body does not say it."""
        claims = {"aud": _AUDIENCE, "iss": self._config.lorota_issuer, "sub": uuid, "scopes": _SCOPES}
        return signed_assertion(self._key, claims, _CLAIMS_SECONDS)

    def _call(self, operation: str, method: str, path: str, headers: dict[str, str], json: Any = None) -> Answer:
        config = self._config
        return self._http.call(
            Outgoing(
                UPSTREAM,
                operation,
                method,
                f"{config.lorota_base_url}{path}",
                write=False,
                total_seconds=config.check_in_total_seconds,
                headers={"x-api-key": config.lorota_api_key, "x-apigw-api-id": config.lorota_api_id, **headers},
                json=json,
            )
        )


def _object(answer: Answer) -> dict[str, Any] | None:
    payload = answer.json()
    return payload if isinstance(payload, dict) else None


def _refusal(status: int, payload: dict[str, Any]) -> str | None:
    """The code for what LoROTA itself refuses, a 401 with a plain `error`; None where it refuses nothing, or not
    because of the person. It has no 404 here (contract: travel 1.9): that is about our address."""
    said = plain_error(payload)
    if status != 401 or not said:
        return None
    if _UNKNOWN in said:
        return "not_found"
    return "no_match" if _MISMATCH.search(said) else None


def _check_in(payload: dict[str, Any], uuid: str) -> dict[str, Any] | None:
    """The data, under `payload` or at the top; None where they lack what we need, or are somebody else's."""
    inner = payload.get("payload")
    data: dict[str, Any] = inner if isinstance(inner, dict) else payload
    if payload.get("id") not in (None, uuid) or data.get("uuid") not in (None, uuid):
        return None
    appointments = data.get("appointments")
    whole = isinstance(appointments, list) and all(isinstance(entry, dict) for entry in appointments)
    return data if whole else None
