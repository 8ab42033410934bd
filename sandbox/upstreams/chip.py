"""The fake CHIP, where a check-in becomes known to the clinic (contract: travel 1.8, 1.9).

A check-in's success is bare text under a JSON content type, and an unknown check-in has no body at all. For its
recorded 500 and 504 without a body, set the fault `empty`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer, json_body
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

CONFIRMED = ("demographics", "nextOfKin", "emergencyContact")
NEEDS = tuple(f"{name}NeedsUpdate" for name in CONFIRMED)
TIMES = tuple(f"{name}ConfirmedAt" for name in CONFIRMED)


@dataclass(frozen=True)
class CHIPKnobs:
    """How long a token lives, in seconds."""

    token_seconds: float = 900


class CHIP(Fake):
    name = "chip"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens("chip")
        super().__init__(settings, cast)

    def first_knobs(self) -> CHIPKnobs:
        return CHIPKnobs()

    def routes(self) -> None:
        self.app.add_url_rule("/token", view_func=self.token, methods=["POST"])
        self.app.add_url_rule("/actions/check-in/<uuid>", view_func=self.check_in, methods=["POST"])
        confirm = self.confirm_demographics
        self.app.add_url_rule("/actions/confirm-demographics", view_func=confirm, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"title": text, "status": str(status)}

    def token(self) -> Response:
        user = request.authorization
        known = (self.settings.chip_username, self.settings.chip_password)
        if user is None or user.type != "basic" or (user.username, user.password) != known:
            return answer(self.error_body(401, "Unauthorized"), 401)
        if self._wrong_gateway():
            return answer(self.error_body(403, "Forbidden"), 403)
        return answer({"token": self.tokens.issue(self.knobs.token_seconds)})

    def check_in(self, uuid: str) -> Response:
        body = json_body()
        if refusal := self._refusal(uuid):
            return refusal
        flags = (body.get("isTravelEnabled"), body.get("travelSubmitted"))
        if not body.get("appointmentIEN") or not all(isinstance(flag, bool) for flag in flags):
            return answer(self.error_body(400, "Invalid request"), 400)
        return Response("Checkin successful", content_type="application/json")

    def confirm_demographics(self) -> Response:
        body = json_body()
        if refusal := self._refusal(str(body.get("uuid"))):
            return refusal
        confirmed = body.get("demographicConfirmations")
        named = all(isinstance(body.get(name), str) and body[name] for name in ("patientDfn", "stationNo"))
        if not named or not isinstance(confirmed, dict) or not _confirmed(confirmed):
            return answer(self.error_body(400, "Invalid request"), 400)
        dfn = body["patientDfn"]
        told = {name: confirmed[name] for name in (*NEEDS, *TIMES)}
        attributes = {"id": 5, "patientDfn": dfn, **told, "insuranceVerificationNeeded": None}
        return answer({"data": {"attributes": attributes, "id": dfn}})

    def _refusal(self, uuid: str) -> Response | None:
        """What stops any action: a wrong gateway id, a dead token, a check-in that nobody has."""
        if self._wrong_gateway():
            return answer(self.error_body(403, "Forbidden"), 403)
        if self.bearer(self.tokens) is None:
            return answer(self.error_body(401, "Unauthorized"), 401)
        if self.cast.by_uuid(uuid) is None:
            return Response(status=404, content_type="application/json")
        return None

    def _wrong_gateway(self) -> bool:
        return request.headers.get("x-apigw-api-id") != self.settings.chip_api_id


def _confirmed(told: dict[str, Any]) -> bool:
    """Whether each of the three is there: true or false, and an instant."""
    try:
        timed = all(datetime.fromisoformat(told[name]).tzinfo is not None for name in TIMES)
    except (KeyError, TypeError, ValueError):
        return False
    return timed and all(isinstance(told.get(name), bool) for name in NEEDS)
