"""The fake VEIS: Azure AD's client-credentials token call with its errors (contract: travel 3).

It has v2 (for a scope) and v1 (for a resource). Their tokens are of different kinds: a token that opens one API opens
no other.
"""

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

FIELDS = ("grant_type", "client_id", "client_secret")
# Azure's error, its code, its text and the HTTP status.
Refusal = tuple[str, int, str, int]


@dataclass(frozen=True)
class VEISKnobs:
    """`expires_in` is the lifetime that answers promise, in seconds; the token keeps it unless an `expire` fault
    strikes. v1 answers have it as a text while `expires_in_as_text` is on."""

    expires_in: int
    expires_in_as_text: bool = False


class VEIS(Fake):
    name = "veis"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens("veis")
        self.resource_tokens = Tokens("veis-v1")
        super().__init__(settings, cast)

    def first_knobs(self) -> VEISKnobs:
        return VEISKnobs(self.settings.veis_expires_in)

    def routes(self) -> None:
        self.app.add_url_rule("/<tenant>/oauth2/v2.0/token", view_func=self.token, methods=["POST"])
        self.app.add_url_rule("/<tenant>/oauth2/token", view_func=self.resource_token, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()
        self.resource_tokens.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return self._azure("temporarily_unavailable" if status >= 429 else "invalid_request", 90033, text)

    def token(self, tenant: str) -> Response:
        refusal = self._refusal(tenant, "scope") or self._wrong_scope()
        return self._refused(*refusal) if refusal else self._issued(self.tokens, self.knobs.expires_in)

    def resource_token(self, tenant: str) -> Response:
        refusal = self._refusal(tenant, "resource", "client_info") or self._wrong_resource()
        if refusal:
            return self._refused(*refusal)
        promised = self.knobs.expires_in
        return self._issued(self.resource_tokens, str(promised) if self.knobs.expires_in_as_text else promised)

    def _issued(self, tokens: Tokens, expires_in: int | str) -> Response:
        early = request.environ.get("sandbox.faults", {}).get("expire")
        token = tokens.issue(early.seconds if early else self.knobs.expires_in)
        return answer(
            {"token_type": "Bearer", "expires_in": expires_in, "ext_expires_in": expires_in, "access_token": token}
        )

    def _refusal(self, tenant: str, *more: str) -> Refusal | None:
        """What is wrong with the tenant, the client or a missing parameter; None when nothing is."""
        form = request.form
        if tenant != self.settings.veis_tenant:
            return "invalid_request", 90002, f"Tenant '{tenant}' not found.", 400
        for name in (*FIELDS, *more):
            if not form.get(name):
                text = f"The request body must contain the following parameter: '{name}'."
                return "invalid_request", 900144, text, 400
        if form["grant_type"] != "client_credentials":
            return "unsupported_grant_type", 70003, "The app requested an unsupported grant type.", 400
        if form["client_id"] != self.settings.veis_client_id:
            return "unauthorized_client", 700016, "Application was not found in the directory.", 400
        if form["client_secret"] != self.settings.veis_client_secret:
            return "invalid_client", 7000215, "Invalid client secret provided.", 401
        return None

    def _wrong_scope(self) -> Refusal | None:
        if request.form["scope"] == self.settings.veis_scope:
            return None
        return "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid.", 400

    def _wrong_resource(self) -> Refusal | None:
        if request.form["resource"] == self.settings.travel_pay_veis_resource:
            return None
        return "invalid_resource", 500011, "The resource principal was not found in the tenant.", 400

    def _refused(self, error: str, code: int, text: str, status: int) -> Response:
        return answer(self._azure(error, code, text), status)

    def _azure(self, error: str, code: int, text: str) -> dict[str, Any]:
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        description = f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}"
        return {
            "error": error,
            "error_description": description,
            "error_codes": [code],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }
