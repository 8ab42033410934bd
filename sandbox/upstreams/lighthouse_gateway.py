"""What every call to a fake Lighthouse API passes first: its token endpoint, scopes, and count (contract: benefits 1).

The APIs share the client and its key. Audience, scopes and live tokens are each API's own, so a token of one is worth
nothing at another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from flask import Response, g, request

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import Fake, answer
from sandbox.upstreams.lighthouse_errors import FAMILIES, OF_AN_ITF, error_json, no_route
from sandbox.upstreams.lighthouse_tokens import TokenRefusal, TokenRules, scope_granted
from sandbox.upstreams.minute_limit import MinuteLimit
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class GatewayKnobs:
    """`clock_offset_seconds` moves the API's clock, `token_clock_offset_seconds` that of its authorization server.

    `expires_in` is a token's life in seconds. `minute_limit` calls pass in `minute_seconds`. `error_family` words every
    fault and every refused token as `api`, `kong` or `gateway` do, instead of what fits the status.
    """

    clock_offset_seconds: float = 0.0
    token_clock_offset_seconds: float = 0.0
    expires_in: int = 600
    minute_limit: int = 60_000
    minute_seconds: float = 60.0
    error_family: str | None = None

    def __post_init__(self) -> None:
        if self.error_family not in (None, *FAMILIES):
            raise ValueError(f"error_family must be null or one of {', '.join(FAMILIES)}")


class LighthouseAPI(Fake):
    """One API. `base` is the path under which calls are counted, `scopes` what its clients may have."""

    base: ClassVar[str] = ""
    token_path: ClassVar[str] = ""
    scopes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens(self.name)
        self._limit = MinuteLimit()
        super().__init__(settings, cast)

    def audience(self) -> str:
        """The authorization server's own name, for which an assertion must be made."""
        raise NotImplementedError

    def routes(self) -> None:
        self.app.add_url_rule(self.token_path, view_func=self.token, methods=["POST"])
        self.app.register_error_handler(404, no_route)
        self.app.before_request(self._count)
        self.app.after_request(self._tell_limit)

    def reset(self) -> None:
        super().reset()
        self.tokens.reset()
        self._limit.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return error_json(status, OF_AN_ITF.get(status, text), self.knobs.error_family)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.knobs.clock_offset_seconds)

    def token(self) -> Response:
        known = self.settings
        rules = TokenRules(known.lighthouse_client_id, known.lighthouse_client_key, self.audience(), self.scopes)
        try:
            scope = scope_granted(request.form, rules, time.time() + self.knobs.token_clock_offset_seconds)
        except TokenRefusal as refusal:
            body = {"error": refusal.error, "error_description": refusal.description}
            return answer(body, refusal.status)
        promised = self.knobs.expires_in
        early = request.environ.get("sandbox.faults", {}).get("expire")
        token = self.tokens.issue(early.seconds if early else promised, scope)
        return answer(
            {"access_token": token, "token_type": "Bearer", "scope": scope, "expires_in": promised, "state": None}
        )

    def unauthorized(self, *needed: str) -> Response | None:
        """The refusal of a call without a live token, or with a token that lacks a scope."""
        scope = self.bearer(self.tokens)
        if scope is None:
            return answer(self.error_body(401, "Not authorized"), 401)
        if not set(needed) <= set(scope.split()):
            return answer(self.error_body(403, "Forbidden"), 403)
        return None

    def _count(self) -> Response | None:
        if not request.path.startswith(self.base):
            return None
        g.standing = self._limit.take(self.knobs.minute_limit, self.knobs.minute_seconds)
        return answer(self.error_body(429, ""), 429) if g.standing.refused else None

    def _tell_limit(self, response: Response) -> Response:
        if "standing" in g:
            response.headers.update(g.standing.headers())
        return response
