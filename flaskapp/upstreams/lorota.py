"""Client of LoROTA, which knows who is checking in.

Its interface is our assumption (docs/assumptions.md), so its answers are checked before they are used.
"""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.errors import Rejected, Unauthorized, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure

UPSTREAM = "lorota"

_REFUSED = {401: "no_match", 404: "not_found", 410: "too_many"}


class LorotaClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def token(self, uuid: str, dob: date, last_name: str) -> str:
        """The token of a check-in whose person named the right date of birth and last name.

        Raises Rejected with code `no_match`, `too_many` or `not_found`; Unauthorized when our own key is refused.
        """
        body = {"uuid": uuid, "dob": dob.isoformat(), "lastName": last_name}
        headers = {"x-api-key": self._config.lorota_api_key}
        answer = self._call("token", "POST", "/token", headers, json=body)
        payload = _object(answer)
        if answer.status in _REFUSED and payload is not None:
            raise failure(Rejected, UPSTREAM, answer, _REFUSED[answer.status])
        token = payload.get("token") if payload and answer.status == 200 else None
        if not isinstance(token, str) or not token:
            raise failure(Unauthorized if answer.status == 403 else Unavailable, UPSTREAM, answer)
        return token

    def data(self, uuid: str, token: str) -> dict[str, Any]:
        """Everything known about that check-in; at least `icn` and the list `appointments` are there.

        Raises Unauthorized for a bad or expired token, Rejected with code `not_found`.
        """
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._call("data", "GET", f"/data/{quote(uuid, safe='')}", headers)
        payload = _object(answer)
        if answer.status in (401, 403):
            raise failure(Unauthorized, UPSTREAM, answer)
        if answer.status == 404 and payload is not None:
            raise failure(Rejected, UPSTREAM, answer, "not_found")
        if answer.status != 200 or payload is None or not _is_check_in(payload, uuid):
            raise failure(Unavailable, UPSTREAM, answer)
        return payload

    def _call(self, operation: str, method: str, path: str, headers: dict[str, str], json: Any = None) -> Answer:
        return self._http.call(
            Outgoing(
                UPSTREAM,
                operation,
                method,
                f"{self._config.lorota_base_url}{path}",
                write=False,
                total_seconds=self._config.check_in_total_seconds,
                headers=headers,
                json=json,
            )
        )


def _object(answer: Answer) -> dict[str, Any] | None:
    payload = answer.json()
    return payload if isinstance(payload, dict) else None


def _is_check_in(payload: dict[str, Any], uuid: str) -> bool:
    """Whether it has what we need, and is not somebody else's."""
    icn, appointments = payload.get("icn"), payload.get("appointments")
    if not isinstance(icn, str) or not icn or payload.get("uuid", uuid) != uuid:
        return False
    return isinstance(appointments, list) and all(isinstance(entry, dict) for entry in appointments)
