"""The fake token exchange of the Sign-in Service (STS): our assertion about a person, for a token of theirs.

It checks who vouches, and never whom for: the values of `user_attributes`, `jti` and the length of a lifetime are not
looked at. Every refusal is a 400 with a text in `errors` (contract: travel 5.1). Where older and newer code of the
service differ, the stricter rule counts.
"""

from __future__ import annotations

import json
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


@dataclass(frozen=True)
class STSKnobs:
    """`clock_offset_seconds` moves the clock that judges assertions; `token_seconds` is a token's life."""

    clock_offset_seconds: float = 0.0
    token_seconds: float = 300.0


class Refusal(Exception):
    """An exchange that is refused. The text says why."""


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
        """A text when the exchange itself refuses; anything else is the API's general list (contract: travel 1.7)."""
        if status == 400:
            return {"errors": text}
        return {"errors": [{"title": text, "detail": text, "code": str(status), "status": str(status)}]}

    def exchange(self) -> Response:
        try:
            icn = self._vouched_for()
        except Refusal as refusal:
            return answer(self.error_body(400, str(refusal)), 400)
        early = request.environ.get("sandbox.faults", {}).get("expire")
        token = self.tokens.issue(early.seconds if early else self.knobs.token_seconds, icn)
        return answer({"data": {"access_token": token}})

    def _vouched_for(self) -> str:
        """The ICN in a valid assertion, empty when there is none; raises Refusal."""
        if request.args.get("grant_type") != GRANT_TYPE:
            raise Refusal("Grant type is not valid")
        claims = self._signed_claims(request.args.get("assertion", ""))
        self._check_times(claims)
        self._check_client(claims)
        if not isinstance(claims.get("sub"), str) or not claims["sub"].strip():
            raise Refusal("Assertion subject is not valid")
        return self._icn(claims.get("user_attributes"))

    def _signed_claims(self, assertion: str) -> dict[str, Any]:
        """The claims once the account's key has signed them. Whose key to take is in the claims themselves."""
        try:
            claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            raise Refusal("Assertion is malformed") from None
        if claims.get("service_account_id") != self.settings.sts_service_account_id:
            raise Refusal("Service account config not found")
        try:
            signed = jwt.PyJWS().decode(assertion, public_key(self.settings.sts_client_key), algorithms=["RS256"])
        except jwt.InvalidTokenError:
            raise Refusal("Assertion body does not match signature") from None
        checked: dict[str, Any] = json.loads(signed)
        return checked

    def _check_times(self, claims: dict[str, Any]) -> None:
        """Both times against this server's own clock, in whole seconds and without leeway."""
        now = int(time.time() + self.knobs.clock_offset_seconds)
        if not _is_number(claims.get("exp")):
            raise Refusal("Assertion expiration timestamp is not valid")
        if claims["exp"] <= now:
            raise Refusal("Assertion has expired")
        if not _is_number(claims.get("iat")) or claims["iat"] > now:
            raise Refusal("Assertion issuance timestamp is not valid")

    def _check_client(self, claims: dict[str, Any]) -> None:
        known, audience, scopes = self.settings, claims.get("aud"), claims.get("scopes")
        if claims.get("iss") != known.sts_issuer:
            raise Refusal("Assertion issuer is not valid")
        if request.base_url not in (audience if isinstance(audience, list) else [audience]):
            raise Refusal("Assertion audience is not valid")
        # An empty list is right only for an account without scopes.
        if not isinstance(scopes, list) or (known.sts_scopes and not scopes) or not _all_in(scopes, known.sts_scopes):
            raise Refusal("Assertion scopes are not valid")

    def _icn(self, attributes: Any) -> str:
        """Only names are checked: an unknown ICN, or none, passes here and is the next service's affair."""
        if attributes is None:
            return ""
        if not isinstance(attributes, dict) or not set(attributes) <= set(self.settings.sts_user_attributes):
            raise Refusal("Assertion user attributes are not valid")
        return str(attributes.get("icn") or "")


def _all_in(values: list[Any], known: tuple[str, ...]) -> bool:
    return all(each in known for each in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
