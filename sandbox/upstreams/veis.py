"""The fake VEIS: Azure AD's client-credentials token call, v2, with Azure's error bodies."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

FIELDS = ("grant_type", "client_id", "client_secret", "scope")


@dataclass(frozen=True)
class VEISKnobs:
    """`expires_in` is what answers promise, in seconds, and what is kept unless an `expire` fault strikes."""

    expires_in: int


class VEIS(Fake):
    name = "veis"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens("veis")
        super().__init__(settings, cast)

    def first_knobs(self) -> VEISKnobs:
        return VEISKnobs(self.settings.veis_expires_in)

    def routes(self) -> None:
        self.app.add_url_rule("/<tenant>/oauth2/v2.0/token", view_func=self.token, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return self._azure("temporarily_unavailable" if status >= 429 else "invalid_request", 90033, text)

    def token(self, tenant: str) -> Response:
        refusal = self._refusal(tenant)
        if refusal:
            error, code, text, status = refusal
            return answer(self._azure(error, code, text), status)
        promised = self.knobs.expires_in
        early = request.environ.get("sandbox.faults", {}).get("expire")
        token = self.tokens.issue(early.seconds if early else promised)
        return answer(
            {"token_type": "Bearer", "expires_in": promised, "ext_expires_in": promised, "access_token": token}
        )

    def _refusal(self, tenant: str) -> tuple[str, int, str, int] | None:
        """Azure's error, its code, its words and the HTTP status; None when the form is right."""
        form = request.form
        if tenant != self.settings.veis_tenant:
            return "invalid_request", 90002, f"Tenant '{tenant}' not found.", 400
        for name in FIELDS:
            if not form.get(name):
                text = f"The request body must contain the following parameter: '{name}'."
                return "invalid_request", 900144, text, 400
        if form["grant_type"] != "client_credentials":
            return "unsupported_grant_type", 70003, "The app requested an unsupported grant type.", 400
        if form["client_id"] != self.settings.veis_client_id:
            return "unauthorized_client", 700016, "Application was not found in the directory.", 400
        if form["client_secret"] != self.settings.veis_client_secret:
            return "invalid_client", 7000215, "Invalid client secret provided.", 401
        if form["scope"] != self.settings.veis_scope:
            return "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid.", 400
        return None

    def _azure(self, error: str, code: int, text: str) -> dict[str, Any]:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        told = f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        return {
            "error": error,
            "error_description": told,
            "error_codes": [code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }
