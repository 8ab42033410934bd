"""The fake Sign-in Service: access tokens as the real one signs them, its published keys, and a page to sign in on.

Cookies ignore ports, so a cookie set here goes to every server on this machine, as va.gov's cookies go to its API
(contract: travel 7).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from flask import Blueprint, Response, redirect, render_template, request

from sandbox.upstreams.cast import ITF_HABITS, Cast, Veteran, utc_text
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.keys import LIGHTHOUSE_CLIENT_KEY, NEW_KEY, OLD_KEY, TODAYS_KEY, private_key, public_key
from sandbox.upstreams.settings import JWKS_PATH, FakeSettings
from sandbox.upstreams.tokens import Tokens

ACCESS_COOKIE = "vagov_access_token"
REFRESH_COOKIE = "vagov_refresh_token"
INFO_COOKIE = "vagov_info_token"
REFRESH_PATH = "/v0/sign_in/refresh"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# How far a key rotation is: the key that signs, and the keys that are published.
ROTATIONS = {
    "no": (TODAYS_KEY, (TODAYS_KEY, OLD_KEY)),
    "both": (NEW_KEY, (NEW_KEY, TODAYS_KEY)),
    "only_new": (NEW_KEY, (NEW_KEY,)),
    "unpublished": (NEW_KEY, (TODAYS_KEY, OLD_KEY)),
}
NAMED_KEYS = {"todays": TODAYS_KEY, "old": OLD_KEY, "new": NEW_KEY, "foreign": LIGHTHOUSE_CLIENT_KEY}


@dataclass(frozen=True)
class SignInKnobs:
    """Lifetimes are in seconds. `rotate`: `no` (the old key is still published), `both` (a new key signs and is
    published beside today's), `only_new`, or `unpublished` (a new key signs that nobody can look up yet)."""

    rotate: str = "no"
    access_seconds: float = 1800
    refresh_seconds: float = 2_700_000

    def __post_init__(self) -> None:
        if self.rotate not in ROTATIONS:
            raise ValueError(f"rotate must be one of {', '.join(ROTATIONS)}")


class SignIn(Fake):
    name = "sign_in"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.sessions = Tokens("refresh")
        super().__init__(settings, cast)

    def first_knobs(self) -> SignInKnobs:
        return SignInKnobs()

    def routes(self) -> None:
        self.app.template_folder = str(Path(__file__).parent.parent / "templates")
        self.app.add_url_rule(JWKS_PATH, view_func=self.keys)
        self.app.add_url_rule("/", view_func=self.page)
        self.app.add_url_rule("/", view_func=self.sign_in, methods=["POST"])
        self.app.add_url_rule(REFRESH_PATH, view_func=self.refresh, methods=["POST"])

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/tokens", view_func=self.issue, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.sessions.reset()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        """One plain text under `errors`, never a list (contract: travel 7)."""
        return {"errors": text}

    def keys(self) -> Response:
        _, published = ROTATIONS[self.knobs.rotate]
        return answer({"keys": [jwk(public_key(key)) for key in published]})

    def access_token(self, account: str, expires_at: float, **changes: Any) -> str:
        """A token for an account, of the cast or not, that ends at `expires_at` (epoch seconds).

        `key` names one of `NAMED_KEYS` instead of the key that signs now; other changes replace claims.
        """
        signing, _ = ROTATIONS[self.knobs.rotate]
        key = NAMED_KEYS[changes.pop("key")] if "key" in changes else signing
        now = int(time.time())
        claims = {
            "iss": "va.gov sign in",
            "aud": [self.settings.sis_audience],
            "client_id": "vaweb",
            "jti": str(uuid.uuid4()),
            "sub": account,
            "exp": int(expires_at),
            "iat": now,
            "session_handle": str(uuid.uuid4()),
            "refresh_token_hash": secrets.token_hex(32),
            "parent_refresh_token_hash": None,
            "anti_csrf_token": secrets.token_hex(16),
            "device_secret_hash": None,
            "last_regeneration_time": now,
            "version": "V0",
            "user_attributes": _attributes(self.cast.by_account(account)),
        }
        return jwt.encode(claims | changes, private_key(key), algorithm="RS256")

    def issue(self) -> Response:
        """A token without signing in. JSON: `uuid` (of the check-in link) or `account` (anybody's); optional `seconds`
        to live (negative: it has expired), `audience`, `client_id`, and `key`, one of `NAMED_KEYS`. A list of such
        objects gets a list."""
        body = request.get_json(force=True, silent=True)
        issued = [self._issued(item) for item in (body if isinstance(body, list) else [json_body()])]
        return answer(issued if isinstance(body, list) else issued[0], 201)

    def page(self) -> str:
        return render_template("sign_in.html", people=self.cast.everybody(), habits=ITF_HABITS, onward=_onward())

    def sign_in(self) -> Response:
        """Set the cookies, then go where `next` says."""
        onward = _onward()
        veteran = self.cast.by_account(request.form.get("account", ""))
        if veteran is None:
            return answer(self.error_body(400, "Nobody has this account"), 400)
        done = redirect(onward, 303) if onward else Response(render_template("sign_in.html", signed_in=veteran))
        return self._with_cookies(done, veteran.account)

    def refresh(self) -> Response:
        """New cookies for a live refresh token, which is used up by it."""
        presented = request.cookies.get(REFRESH_COOKIE, "")
        account = self.sessions.holder(presented)
        if account is None:
            return answer(self.error_body(401, "Refresh token is not valid"), 401)
        self.sessions.revoke(presented)
        return self._with_cookies(answer({}), account)

    def _issued(self, wanted: dict[str, Any]) -> dict[str, str]:
        veteran = self.cast.by_uuid(str(wanted.get("uuid")))
        account = wanted.get("account") or (veteran and veteran.account)
        if not account or wanted.get("key", "old") not in NAMED_KEYS:
            raise BadRequest(f"uuid or account is needed, and key is one of {', '.join(NAMED_KEYS)}")
        expires_at = time.time() + float(wanted.get("seconds", self.knobs.access_seconds))
        names = {"key": "key", "aud": "audience", "client_id": "client_id"}
        changes = {claim: wanted[name] for claim, name in names.items() if name in wanted}
        token = self.access_token(account, expires_at, **changes)
        return {"access_token": token, "expires_at": _text(expires_at)}

    def _with_cookies(self, response: Any, account: str) -> Response:
        """Set the access token, which scripts cannot read, and beside it the ends of both tokens, which scripts can."""
        knobs, now = self.knobs, time.time()
        access_ends, refresh_ends = now + knobs.access_seconds, now + knobs.refresh_seconds
        ends = {"access_token_expiration": _text(access_ends), "refresh_token_expiration": _text(refresh_ends)}
        access, refresh = self.access_token(account, access_ends), self.sessions.issue(knobs.refresh_seconds, account)
        response.set_cookie(ACCESS_COOKIE, access, httponly=True, samesite="Lax")
        response.set_cookie(REFRESH_COOKIE, refresh, httponly=True, samesite="Lax", path=REFRESH_PATH)
        response.set_cookie(INFO_COOKIE, quote(json.dumps(ends), safe=""), samesite="Lax")
        return response


def jwk(key: RSAPublicKey) -> dict[str, str]:
    """A public key as the JWK set lists it. `kid` is its thumbprint (RFC 7638), which the tokens do not name."""
    numbers = key.public_numbers()
    needed = {"e": _base64(numbers.e), "kty": "RSA", "n": _base64(numbers.n)}
    digest = hashlib.sha256(json.dumps(needed, separators=(",", ":")).encode()).digest()
    kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": needed["n"], "e": needed["e"]}


def _base64(number: int) -> str:
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _attributes(veteran: Veteran | None) -> dict[str, str | None]:
    if veteran is None:
        return {}
    return {"first_name": veteran.first_name, "last_name": veteran.last_name, "email": veteran.email}


def _text(timestamp: float) -> str:
    return utc_text(datetime.fromtimestamp(timestamp, UTC))


def _onward() -> str | None:
    """The `next` of the query, if it leads to a server of this machine: no open redirect, not even here."""
    place = request.args.get("next", "")
    try:
        parts = urlsplit(place)
        here = parts.scheme in ("http", "https") and parts.hostname in LOOPBACK
    except ValueError:
        return None
    # Browsers read a backslash as a slash, which would move the end of the host name.
    return place if here and place.isprintable() and "\\" not in place else None
