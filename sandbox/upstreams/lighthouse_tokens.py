"""What Lighthouse's authorization servers require of a token request: a client assertion that is really checked.

Refusals have the shape and the error names of the OAuth standard (contract: benefits 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from sandbox.upstreams.keys import public_key

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FIELDS = ("grant_type", "client_assertion_type", "client_assertion", "scope")
LONGEST_SECONDS = 300


@dataclass
class TokenRefusal(Exception):
    """An OAuth error: its name, its text and the HTTP status."""

    error: str
    description: str
    status: int = 400


@dataclass(frozen=True)
class TokenRules:
    """The one client that an authorization server knows, its key and scopes, and the server's own name."""

    client_id: str
    client_key: str
    audience: str
    scopes: tuple[str, ...]


def scope_granted(form: Mapping[str, str], rules: TokenRules, now: float) -> str:
    """The scope that a valid request gets, in the server's own order; raises TokenRefusal. `now` is in epoch
    seconds."""
    for name in FIELDS:
        if not form.get(name):
            raise TokenRefusal("invalid_request", f"The parameter '{name}' is required.")
    if form["grant_type"] != "client_credentials":
        raise TokenRefusal("unsupported_grant_type", "The grant type is not supported.")
    if form["client_assertion_type"] != ASSERTION_TYPE:
        raise TokenRefusal("invalid_request", "The client_assertion_type is not supported.")
    _check_assertion(form["client_assertion"], rules, now)
    requested = form["scope"].split()
    if not set(requested) <= set(rules.scopes):
        raise TokenRefusal("invalid_scope", "One or more scopes are not configured for the client.")
    return " ".join(sorted(requested, reverse=True))


def _check_assertion(assertion: str, rules: TokenRules, now: float) -> None:
    claims = _claims(assertion, rules)
    if not claims["iss"] == claims["sub"] == rules.client_id:
        raise _bad_client("The issuer and subject of the client_assertion must be the client's id.")
    audience = claims["aud"]
    if rules.audience not in (audience if isinstance(audience, list) else [audience]):
        raise _bad_client("The audience of the client_assertion must be the authorization server.")
    if not all(isinstance(claims[name], int | float) for name in ("iat", "exp")):
        raise _bad_client("The times of the client_assertion must be numbers.")
    if claims["exp"] <= now:
        raise _bad_client("The client_assertion is expired.")
    if claims["exp"] > claims["iat"] + LONGEST_SECONDS:
        raise _bad_client("The client_assertion lives too long.")


def _claims(assertion: str, rules: TokenRules) -> dict[str, Any]:
    # The caller checks the times, with the server's own clock.
    options: Any = {
        "require": ["iss", "sub", "aud", "iat", "exp"],
        **dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud"), False),
    }
    try:
        key = public_key(rules.client_key)
        return jwt.decode(assertion, key, algorithms=["RS256"], options=options)
    except jwt.MissingRequiredClaimError as missing:
        # Without a client id it is a bad request (contract: benefits 1).
        status = 400 if missing.claim in ("iss", "sub") else 401
        raise _bad_client("The client_assertion token is not valid.", status) from None
    except jwt.InvalidTokenError:
        raise _bad_client("The client_assertion token is not valid.") from None


def _bad_client(description: str, status: int = 401) -> TokenRefusal:
    return TokenRefusal("invalid_client", description, status)
