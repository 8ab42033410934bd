"""Sign-in: checks the Sign-in Service's access token for everything that only a signed-in person may do.

A browser sends its token cookie with whatever any page makes it send. So a change must also name the front end's or our
own `Origin`, which no other page can, or carry the CSRF token, which only our own answers contain. Only the Sign-in
Service knows whether the session behind a token still exists; a token lasts minutes.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request
from flask_wtf.csrf import generate_csrf, validate_csrf
from jwt import InvalidSignatureError, PyJWS, PyJWTError
from wtforms import ValidationError

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.errors import Unavailable
from flaskapp.web import access, rate_limits
from flaskapp.web.cross_origin import own_origin
from flaskapp.web.errors import CHALLENGE, ERRORS_SHAPE, RETRY_AFTER_SECONDS, Problem
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer
from flaskapp.web.shapes import TEXT, any_of, thing

log = logging.getLogger(__name__)

TOKEN_COOKIE = "vagov_access_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ALGORITHMS = ["RS256"]
# About what a web server takes as one header; a real token has some 900 characters.
LONGEST_TOKEN = 8_192
# A session value of its own: a token that the front end's scripts can read must not pass on the operators' forms.
CSRF_KEY = "sign_in_csrf"
# Flask-WTF would read None as its setting, which is the consoles' eight hours. A form may stay open for days.
CSRF_SECONDS = math.inf
# A web process waits so long for the keys before it accepts anybody. Without them it would refuse whoever comes first.
KEYS_AT_START_SECONDS = 2.0

EXPIRED = "Access token has expired"
MALFORMED = "Access token JWT is malformed"
NOT_SIGNED = "Access token signature is not valid"
NOT_FOR_US = "Access token audience is not accepted"

# What the API's description says of every route behind a sign-in.
CALLER = access.Access(
    "Sign-in Service access token: bearer header or cookie",
    {
        "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "accessTokenCookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": TOKEN_COOKIE,
            "description": "Changes also need the front end's `Origin`, or `X-CSRF-Token` from an earlier answer.",
        },
    },
)
TOKEN_FAULT = thing("TokenFault", {"errors": TEXT})
TOKEN_ANSWERS = {
    401: Answer("No valid access token; `errors` is a text.", TOKEN_FAULT, example={"errors": MALFORMED}),
    403: Answer(
        "The access token has expired (`errors` is a text), or a cookie caller sent neither an `Origin` that may call"
        " nor a valid `X-CSRF-Token`.",
        any_of(TOKEN_FAULT, ERRORS_SHAPE),
        example={"errors": EXPIRED},
    ),
}

# Only the signature: PyJWT would judge the claims too, by a clock that is not ours.
jws = PyJWS(ALGORITHMS)


@dataclass(frozen=True)
class Caller:
    """A signed-in person. `account_id` is the account's UUID in lower case (no ICN); `by_cookie`: sent by a browser."""

    account_id: str
    by_cookie: bool


class TokenFault(Exception):
    """The token identifies nobody. `text` is ours and holds nothing of the token; a 403 makes the client refresh it."""

    def __init__(self, text: str, status: int = 401) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def caller() -> Caller:
    """Who is calling. Only for routes of a blueprint given to `require_sign_in`, which let nobody else in."""
    found: Caller = g.caller
    return found


def require_sign_in(blueprint: Blueprint) -> None:
    """Let only signed-in people reach this blueprint. Its answers carry the CSRF token for the next change, unless
    HAND_OUT_CSRF_TOKENS is off.

    Token faults are answered in the Sign-in Service's own shape, with `errors` as a text (contract: travel 7).
    Everything else is answered in ours: 403 `CSRF`, and 503 when no key to check a signature with is known.
    """
    access.declare(blueprint, "signed-in people: Sign-in Service access token, by bearer header or cookie")
    blueprint.before_request(guard)
    blueprint.after_request(add_session_headers)


def fetch_keys(app: Flask) -> None:
    """Call when a web process starts."""
    upstreams: Upstreams = app.extensions["upstreams"]
    upstreams.sign_in_keys.fetch_within(KEYS_AT_START_SECONDS)


def guard() -> Response | None:
    if request.method == "OPTIONS":
        return None
    token, by_cookie = sent_token()
    try:
        account_id, expires_at = read_token(token)
    except TokenFault as fault:
        return refusal(fault)
    g.caller = Caller(account_id, by_cookie)
    g.token_expires_at = expires_at
    rate_limits.count_caller("account", account_id)
    if by_cookie and request.method not in SAFE_METHODS and not comes_from_our_pages():
        check_csrf()
    return None


def add_session_headers(response: Response) -> Response:
    """Add both headers to errors too: the front end takes them from any answer. A preflight has no session."""
    config: Config = current_app.extensions["config"]
    if request.method != "OPTIONS" and config.hand_out_csrf_tokens:
        response.headers["X-CSRF-Token"] = generate_csrf(token_key=CSRF_KEY)
    if "token_expires_at" in g:
        response.headers["X-Session-Expiration"] = g.token_expires_at.isoformat(timespec="seconds")
    return response


def refusal(fault: TokenFault) -> Response:
    """The front end compares the whole body with the text for an expired token, so nothing is added to it."""
    log.info("sign-in refused", extra={"event": "sign_in.refused", "reason": fault.text})
    headers = {"WWW-Authenticate": CHALLENGE} if fault.status == 401 else {}
    return answer({"errors": fault.text}, fault.status, headers)


def comes_from_our_pages() -> bool:
    """Whether the browser says that one of our pages sent this. The page keeps one token for all backends of its host,
    so the token that it sends may be another's (contract: frontend 1.4)."""
    config: Config = current_app.extensions["config"]
    return request.headers.get("Origin") in {own_origin(), *config.frontend_origins}


def check_csrf() -> None:
    """Refuse a change without this session's token. Without one the front end sends the text `null` or `undefined`."""
    try:
        validate_csrf(request.headers.get("X-CSRF-Token"), time_limit=CSRF_SECONDS, token_key=CSRF_KEY)
    except ValidationError as error:
        raise Problem(403, detail="This page is out of date. Load it again and repeat.", code="CSRF") from error


def sent_token() -> tuple[str, bool]:
    """The access token, empty for none, and whether a cookie brought it. A bearer header wins even when it is bad."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), False
    return request.cookies.get(TOKEN_COOKIE, ""), True


def read_token(token: str) -> tuple[str, datetime]:
    """Account id and end (UTC) of a token that is good now; raises TokenFault, or Problem 503 without any key.

    The signature is checked first, so that only a token that was once good is called expired.
    """
    config: Config = current_app.extensions["config"]
    claims = signed_claims(token)
    expires_at = read_timestamp(claims.get("exp"))
    if expires_at <= clock.now():
        raise TokenFault(EXPIRED, 403)
    if not any(audience in config.sis_audiences for audience in listed(claims.get("aud"))):
        raise TokenFault(NOT_FOR_US)
    return read_account(claims.get("sub")), expires_at


def signed_claims(token: str) -> dict[str, Any]:
    if not token or len(token) > LONGEST_TOKEN:
        raise TokenFault(MALFORMED)
    try:
        claims = json.loads(signed_bytes(token))
    except (PyJWTError, ValueError, RecursionError):
        raise TokenFault(MALFORMED) from None
    if not isinstance(claims, dict):
        raise TokenFault(MALFORMED)
    return claims


def signed_bytes(token: str) -> bytes:
    """The token's content, if one of the keys fits. If none does, the keys are fetched again for the next one: there
    may be a new one. Nobody waits for that."""
    upstreams: Upstreams = current_app.extensions["upstreams"]
    try:
        keys = upstreams.sign_in_keys.current()
    except Unavailable as error:
        raise Problem(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from error
    for key in keys:
        with suppress(InvalidSignatureError):
            return bytes(jws.decode(token, key, ALGORITHMS))
    upstreams.sign_in_keys.fetch_soon()
    raise TokenFault(NOT_SIGNED)


def read_timestamp(value: Any) -> datetime:
    """The time of epoch seconds. A text, a truth value or a number beyond the calendar is malformed."""
    if type(value) not in (int, float):
        raise TokenFault(MALFORMED)
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise TokenFault(MALFORMED) from None


def listed(audience: Any) -> list[Any]:
    """The audiences as a list: older tokens name one as a text."""
    if isinstance(audience, str):
        return [audience]
    return audience if isinstance(audience, list) else []


def read_account(subject: Any) -> str:
    """The account's id in its one spelling, since rows are found by it."""
    text = subject.lower() if isinstance(subject, str) else ""
    try:
        known = str(uuid.UUID(text)) == text
    except ValueError:
        known = False
    if not known:
        raise TokenFault(MALFORMED)
    return text
