"""The fake CHIP, where a check-in becomes known to the clinic (contract: travel 1.9).

A success is bare text under a JSON content type, and an unknown check-in has no body at all. For its recorded 500 and
504 without a body, set the fault `empty`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer, json_body
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens


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
        if self._wrong_gateway():
            return answer(self.error_body(403, "Forbidden"), 403)
        if self.bearer(self.tokens) is None:
            return answer(self.error_body(401, "Unauthorized"), 401)
        if self.cast.by_uuid(uuid) is None:
            return Response(status=404, content_type="application/json")
        body = json_body()
        flags = (body.get("isTravelEnabled"), body.get("travelSubmitted"))
        if not body.get("appointmentIEN") or not all(isinstance(flag, bool) for flag in flags):
            return answer(self.error_body(400, "Invalid request"), 400)
        return Response("Checkin successful", content_type="application/json")

    def _wrong_gateway(self) -> bool:
        return request.headers.get("x-apigw-api-id") != self.settings.chip_api_id
