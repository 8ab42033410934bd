"""Public keys of the Sign-in Service, which check access tokens: those in our settings, and those that it publishes.

They may change at any time without warning, and the service may be away just then. So known keys are kept for as long
as it does not answer. A token that no key fits makes us fetch them again, but only once a minute: strangers can send
such tokens. A thread of their own fetches them: nobody's request waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import RSAAlgorithm

from flaskapp.config import Config
from flaskapp.upstreams.errors import Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import HTTP, Outgoing, failure

logger = logging.getLogger(__name__)

UPSTREAM = "sign_in"
LIFETIME_SECONDS = 600.0
AGAIN_SECONDS = 60.0
# Without any key nobody can sign in, so there is nothing to gain by waiting longer.
AGAIN_WITHOUT_ANY_SECONDS = 1.0
# NIST SP 800-131A.
_FEWEST_BITS = 2048
_NEVER = float("-inf")


class SignInKeys:
    """The keys known to this process. A setting that is no RSA public key raises ValueError."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http
        self._own = [public_key(pem) for pem in config.sis_public_keys]
        self._published: list[RSAPublicKey] = []
        self._read_at = _NEVER
        self._requested_at = _NEVER
        self._lock = threading.Lock()
        self._fetcher: threading.Thread | None = None

    def current(self) -> list[RSAPublicKey]:
        """All known keys, at once; they are fetched again every ten minutes. Raises Unavailable when none is known."""
        if time.monotonic() - self._read_at >= LIFETIME_SECONDS:
            self.fetch_soon()
        known = [*self._own, *self._published]
        if not known:
            raise Unavailable(UPSTREAM, "no public key is known")
        return known

    def fetch_soon(self) -> threading.Thread | None:
        """Have the keys fetched, unless this process did so a short time ago; the thread that does it, if one does."""
        url, now = self._config.sis_jwks_url, time.monotonic()
        pause = AGAIN_SECONDS if self._own or self._published else AGAIN_WITHOUT_ANY_SECONDS
        with self._lock:
            running = self._fetcher is not None and self._fetcher.is_alive()
            if url is not None and not running and now - self._requested_at >= pause:
                self._requested_at = now
                self._fetcher = threading.Thread(target=self._read, args=(url,), name="sign-in-keys", daemon=True)
                self._fetcher.start()
            return self._fetcher

    def fetch_within(self, seconds: float) -> None:
        """Fetch them, and wait at most so long: at the start of a process, before it has accepted anybody."""
        fetcher = self.fetch_soon()
        if fetcher is not None:
            fetcher.join(seconds)

    def _read(self, url: str) -> None:
        try:
            self._published = self._fetch(url)
            self._read_at = time.monotonic()
        except UpstreamError as error:
            extra = {"event": "sign_in.keys_not_read", "error": type(error).__name__, "detail": error.detail}
            logger.warning("sign_in.keys_not_read", extra=extra)

    def _fetch(self, url: str) -> list[RSAPublicKey]:
        """The published keys; raises Unavailable for a set without a single key that could sign a token."""
        request = Outgoing(UPSTREAM, "keys", "GET", url, write=False, total_seconds=self._config.sis_total_seconds)
        answer = self._http.call(request)
        payload = answer.json() if answer.status == 200 else None
        entries = payload.get("keys") if isinstance(payload, dict) else None
        keys = [key for entry in entries if (key := published_key(entry))] if isinstance(entries, list) else []
        if not keys:
            raise failure(Unavailable, UPSTREAM, answer)
        return keys


def public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("SIS_PUBLIC_KEYS must hold RSA public keys in PEM")
    return key


def published_key(entry: Any) -> RSAPublicKey | None:
    """The public half of one JWK; None for what cannot sign our tokens (RS256) or cannot be read."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    try:
        key = RSAAlgorithm.from_jwk({name: entry[name] for name in ("kty", "n", "e")})
    except (PyJWTError, KeyError, TypeError, ValueError):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size >= _FEWEST_BITS else None
