"""What every call to Travel Pay passes first: the gateway's keys and count, and two tokens (contract: travel 5.1).

The gateway reads the VEIS token and refuses in its own words. BTSSS reads its own token and refuses in its envelope.
How a token and an unknown person are refused is an assumption (docs/assumptions.md).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, request

from sandbox.upstreams import travel_pay_answers as words
from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.minute_limit import MinuteLimit
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

TOKEN_PATH = "/api/v2/Auth/access-token"


@dataclass(frozen=True, kw_only=True)
class TravelPayGatewayKnobs:
    """`token_seconds` is how long a BTSSS token lives, sent as `expiresIn` while `tell_expiry` is on. `minute_limit`
    calls pass in `minute_seconds`."""

    token_seconds: float = 3599
    tell_expiry: bool = True
    minute_limit: int = 60_000
    minute_seconds: float = 60.0


class TravelPayGateway(Fake):
    """The token call, and the checks of all others. A call that passed has its person in `g.icn`."""

    name = "travel_pay"

    def __init__(self, settings: FakeSettings, cast: Cast, veis_tokens: Tokens, sts_tokens: Tokens) -> None:
        self._veis, self._sts = veis_tokens, sts_tokens
        self.tokens = Tokens("btsss")
        self._limit = MinuteLimit()
        super().__init__(settings, cast)

    def first_knobs(self) -> TravelPayGatewayKnobs:
        return TravelPayGatewayKnobs()

    def routes(self) -> None:
        self.app.add_url_rule(TOKEN_PATH, view_func=self.token, methods=["POST"])
        self.app.register_error_handler(404, _no_route)
        self.app.before_request(self._checked)
        self.app.after_request(self._tell_limit)

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/revoke", view_func=self.revoke, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()
        self._limit.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return words.worded(status, text)

    def token(self) -> Response:
        """A token for the person for whom the STS token speaks. An `expire` fault lets it live for `seconds`."""
        if request.headers.get("BTSSS-API-Client-Number") != self.settings.travel_pay_client_number:
            return words.refused("The client number is not known.")
        icn = self._sts.holder(str(json_body().get("authJwt")))
        if icn is None:
            return words.refused("Unauthorized. The authJwt is not valid.", 401)
        if self.cast.by_icn(icn) is None:
            return words.refused("Forbidden. The person has no profile.", 403)
        early = request.environ.get("sandbox.faults", {}).get("expire")
        expiry = {"expiresIn": int(self.knobs.token_seconds)} if self.knobs.tell_expiry else {}
        token = self.tokens.issue(early.seconds if early else self.knobs.token_seconds, icn)
        return words.good("Access token created successfully.", {"accessToken": token, **expiry})

    def revoke(self) -> Response:
        """End every live token of one kind early: JSON `token`, `veis` or `btsss`."""
        kinds = {"veis": self._veis, "btsss": self.tokens}
        revoked = json_body().get("token")
        if revoked not in kinds:
            raise BadRequest(f"token must be one of {', '.join(kinds)}")
        kinds[revoked].reset()
        return answer({"revoked": revoked})

    def _checked(self) -> Response | None:
        if not request.path.startswith("/api/"):
            return None
        g.standing = self._limit.take(self.knobs.minute_limit, self.knobs.minute_seconds)
        if g.standing.refused:
            return answer(self.error_body(429, ""), 429)
        return self._stopped_at_gateway() or self._without_correlation() or self._stopped_at_btsss()

    def _stopped_at_gateway(self) -> Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._wrong_subscription():
            return answer(words.gateway(401, words.NO_SUBSCRIPTION), 401)
        if scheme.lower() != "bearer" or self._veis.holder(token) is None:
            return answer(words.gateway(401, words.UNAUTHORIZED), 401)
        return None

    def _wrong_subscription(self) -> bool:
        keys = self.settings.travel_pay_subscription_keys
        names = ["Ocp-Apim-Subscription-Key"] if len(keys) == 1 else [f"Ocp-Apim-Subscription-Key-{x}" for x in "ES"]
        return any(request.headers.get(name) != key for name, key in zip(names, keys, strict=True))

    def _without_correlation(self) -> Response | None:
        try:
            uuid.UUID(request.headers.get("X-Correlation-ID", ""))
        except ValueError:
            return words.refused("X-Correlation-ID must be a UUID.")
        return None

    def _stopped_at_btsss(self) -> Response | None:
        """The check of every call but the token's own. An `expire` fault kills the token first."""
        if request.path == TOKEN_PATH:
            return None
        token = request.headers.get("BTSSS-Access-Token", "")
        if "expire" in request.environ.get("sandbox.faults", {}):
            self.tokens.revoke(token)
        g.icn = self.tokens.holder(token)
        return words.refused("Unauthorized. The BTSSS access token is not valid.", 401) if g.icn is None else None

    def _tell_limit(self, response: Response) -> Response:
        if "standing" in g:
            response.headers.update(g.standing.headers())
        return response


def _no_route(_: Exception) -> Response:
    """A path that does not exist is answered by the gateway, so differently from a claim that does not exist."""
    return answer(words.gateway(404, "Resource not found"), 404)
