"""The fake token exchange of the Sign-in Service (STS): our assertion about a person, for a token of theirs.

Its checks are those of the contract (contract: travel 5.1). How it refuses is still an assumption
(docs/assumptions.md): the plain-text `errors` of the Sign-in Service.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt
from flask import Response, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer
from sandbox.upstreams.keys import public_key
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

TOKEN_PATH = "/v0/sign_in/token"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONGEST_SECONDS = 300
CLAIMS = ["iss", "sub", "aud", "iat", "exp", "scopes", "service_account_id", "jti"]


@dataclass(frozen=True)
class STSKnobs:
    """`clock_offset_seconds` moves the clock that judges assertions; `token_seconds` is a token's life."""

    clock_offset_seconds: float = 0.0
    token_seconds: float = 300.0


@dataclass
class Refusal(Exception):
    """How an exchange is refused: the text and the HTTP status."""

    text: str
    status: int = 401


class STS(Fake):
    """`tokens` holds the live tokens, each with the ICN it speaks for."""

    name = "sts"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens("sts")
        super().__init__(settings, cast)

    def first_knobs(self) -> STSKnobs:
        return STSKnobs()

    def routes(self) -> None:
        self.app.add_url_rule(TOKEN_PATH, view_func=self.exchange, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"errors": text}

    def exchange(self) -> Response:
        try:
            icn = self._vouched_for()
        except Refusal as refusal:
            return answer(self.error_body(refusal.status, refusal.text), refusal.status)
        early = request.environ.get("sandbox.faults", {}).get("expire")
        token = self.tokens.issue(early.seconds if early else self.knobs.token_seconds, icn)
        return answer({"data": {"access_token": token}})

    def _vouched_for(self) -> str:
        """The ICN of the person whom a valid assertion is about; raises Refusal."""
        if request.args.get("grant_type") != GRANT_TYPE:
            raise Refusal("Grant type is not valid", 400)
        claims = self._claims(request.args.get("assertion", ""))
        self._check_client(claims)
        self._check_times(claims)
        if not isinstance(claims["sub"], str) or "@" not in claims["sub"]:
            raise Refusal("User email is not valid", 400)
        attributes = claims.get("user_attributes")
        icn = attributes.get("icn") if isinstance(attributes, dict) else None
        if not icn:
            raise Refusal("User attributes are not valid", 400)
        if self.cast.by_icn(icn) is None:
            raise Refusal("User not found", 404)
        return str(icn)

    def _claims(self, assertion: str) -> dict[str, Any]:
        # Times and audience are checked below, with the server's own clock and name.
        options: Any = {
            "require": CLAIMS,
            **dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud"), False),
        }
        try:
            key = public_key(self.settings.sts_client_key)
            return jwt.decode(assertion, key, algorithms=["RS256"], options=options)
        except jwt.InvalidTokenError:
            raise Refusal("Assertion is not valid") from None

    def _check_client(self, claims: dict[str, Any]) -> None:
        known = self.settings
        if claims["iss"] != known.sts_issuer:
            raise Refusal("Assertion issuer is not valid")
        if claims["aud"] != request.base_url:
            raise Refusal("Assertion audience is not valid")
        if claims["service_account_id"] != known.sts_service_account_id:
            raise Refusal("Service account is not valid")
        scopes = claims["scopes"]
        if not isinstance(scopes, list) or not scopes or not set(scopes) <= set(known.sts_scopes):
            raise Refusal("Assertion scopes are not valid")

    def _check_times(self, claims: dict[str, Any]) -> None:
        began, ends = claims["iat"], claims["exp"]
        if not all(isinstance(timestamp, int | float) for timestamp in (began, ends)):
            raise Refusal("Assertion times are not valid")
        if ends <= time.time() + self.knobs.clock_offset_seconds:
            raise Refusal("Assertion has expired")
        if ends > began + LONGEST_SECONDS:
            raise Refusal("Assertion lives too long")
