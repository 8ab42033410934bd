"""Token fetch by client credentials (RFC 6749): the answers of all token services mean the same.

A fetch changes nothing, so it is never "unanswered".
"""

from __future__ import annotations

from flaskapp.upstreams.errors import NO_ANSWER, Unauthorized, Unavailable
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.transport.http import HTTP, Outgoing, failure

# RFC 6749 lets a service leave `expires_in` out; then its token is kept only briefly.
UNSTATED_LIFETIME_SECONDS = 300.0
LONGEST_LIFETIME_SECONDS = 86_400.0


def token_from(http: HTTP, request: Outgoing) -> FetchedToken:
    """The token that this request gets. Raises Unauthorized when the service names an error, else Unavailable."""
    answer = http.call(request)
    payload = answer.json()
    payload = payload if isinstance(payload, dict) else {}
    token = payload.get("access_token")
    if answer.status == 200 and isinstance(token, str) and token:
        return FetchedToken(token, lifetime_seconds(payload.get("expires_in")))
    named = answer.status in (400, 401) and isinstance(payload.get("error"), str)
    # Without a token nobody gets any further, so this is not about one person's record.
    code = NO_ANSWER if answer.status < 400 else None
    raise failure(Unauthorized if named else Unavailable, request.upstream, answer, code)


def lifetime_seconds(expires_in: object, unstated: float = UNSTATED_LIFETIME_SECONDS) -> float:
    """`expires_in` as a number or, as v1 of Azure AD writes it, a text."""
    text = str(expires_in)
    if isinstance(expires_in, bool) or not text.isascii() or not text.isdecimal():
        return unstated
    return min(float(text), LONGEST_LIFETIME_SECONDS)
