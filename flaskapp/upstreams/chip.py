"""Client of CHIP, which marks a person as checked in and keeps what they confirmed (contract: travel 1.3, 1.8, 1.9).

Its answers go to the front end, mapped as that expects them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.upstreams.errors import Unauthorized, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.refusals import refused

UPSTREAM = "chip"

# What a person confirms, as CHIP names it.
CONFIRMED = ("demographics", "nextOfKin", "emergencyContact")
_OF_ERRORS = frozenset({"error", "errors", "fault", "message"})
# The word alone may stand in the sentence of a failure.
_SUCCESS = re.compile(r"^(?!.*\b(?:no|not|never|without|error|fail\w*)\b).*\bsuccess(?:ful|fully)?\b", re.S)


class CHIPClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def check_in(
        self, uuid: str, appointment_ien: str, is_travel_enabled: bool, travel_submitted: bool
    ) -> tuple[int, Any]:
        """Check the person in; CHIP's success is the bare text `Checkin successful`. Answers and raises like `_act`."""
        body = {
            "appointmentIEN": appointment_ien,
            "isTravelEnabled": is_travel_enabled,
            "travelSubmitted": travel_submitted,
        }
        return self._act("check_in", f"/actions/check-in/{quote(uuid, safe='')}", body)

    def confirm_demographics(
        self, uuid: str, patient_dfn: str, station: str, up_to_date: Mapping[str, bool]
    ) -> tuple[int, Any]:
        """Tell CHIP which of `CONFIRMED` the person found up to date; what is not named was not confirmed.

        Answers and raises like `_act`.
        """
        confirmed_at = clock.now().isoformat(timespec="seconds")
        confirmations: dict[str, Any] = {}
        for name in CONFIRMED:
            confirmations[f"{name}NeedsUpdate"] = not up_to_date.get(name, False)
            confirmations[f"{name}ConfirmedAt"] = confirmed_at
        body = {
            "patientDfn": patient_dfn,
            "stationNo": station,
            "uuid": uuid,
            "demographicConfirmations": confirmations,
        }
        return self._act("confirm_demographics", "/actions/confirm-demographics", body)

    def _act(self, operation: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """CHIP's status and, of its own 200 and 400, the body: JSON or bare text. Else the body is None.

        Raises Unavailable when no whole answer came, or one that is not CHIP's, and Unauthorized when CHIP refuses our
        own log-in or token.
        """
        answer = self._send(operation, path, {"Authorization": f"Bearer {self._token()}"}, body)
        said = _said(answer)
        if (answer.status == 200 and _is_a_yes(said)) or (answer.status == 400 and said):
            return answer.status, said
        # CHIP's own 404 has no body (contract: travel 1.9): any other is about our address.
        if answer.status < 400 or answer.status in (401, 403) or (answer.status == 404 and answer.body):
            raise refused(UPSTREAM, answer, None, write=False)
        return answer.status, None

    def _token(self) -> str:
        """A token for this one call: check-ins are rare, and a token that is kept would have to be dropped some day."""
        log_in = f"{self._config.chip_username}:{self._config.chip_password}".encode()
        answer = self._send("token", "/token", {"Authorization": f"Basic {base64.b64encode(log_in).decode()}"}, None)
        payload = answer.json()
        token = payload.get("token") if answer.status == 200 and isinstance(payload, dict) else None
        if not isinstance(token, str) or not token:
            raise failure(Unauthorized if answer.status in (401, 403) else Unavailable, UPSTREAM, answer)
        return token

    def _send(self, operation: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        """Send it, but not as a write: doing any of it twice does no harm, so a lost answer is only Unavailable."""
        return self._http.send(
            Outgoing(
                UPSTREAM,
                operation,
                "POST",
                f"{self._config.chip_base_url}{path}",
                write=False,
                total_seconds=self._config.check_in_total_seconds,
                headers={**headers, "x-apigw-api-id": self._config.chip_api_id},
                json=body,
            )
        )


def _is_a_yes(said: Any) -> bool:
    """Whether the body of a 200 is CHIP's: what stands in between says 200 with texts and JSON of its own, too.

    It speaks of success, has `data` as recorded, or says nothing at all, and then the status is what counts
    (docs/assumptions.md).
    """
    if isinstance(said, dict):
        return not said or ("data" in said and not said.keys() & _OF_ERRORS) or _speaks_of_success(said.get("message"))
    return isinstance(said, str) and (said.strip().upper() in ("", "OK") or _speaks_of_success(said))


def _speaks_of_success(text: Any) -> bool:
    return isinstance(text, str) and _SUCCESS.search(text.lower()) is not None


def _said(answer: Answer) -> Any:
    """The body as JSON, else its text, whatever its content type says; None for a page, which a gateway sent."""
    payload = answer.json()
    text = answer.body.decode(errors="replace")
    if payload is not None:
        return payload
    return None if text.lstrip().startswith("<") else text
