"""Live bearer tokens of a fake token service, shared in this process with the fakes that must check them."""

from __future__ import annotations

import secrets
import threading
import time


class Tokens:
    """Tokens with a holder and an end; monotonic seconds, safe to use from many threads."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._live: dict[str, tuple[str, float]] = {}

    def issue(self, seconds: float, holder: str = "") -> str:
        token = f"{self._prefix}-{secrets.token_urlsafe(24)}"
        now = time.monotonic()
        with self._lock:
            self._live = {kept: entry for kept, entry in self._live.items() if entry[1] > now}
            self._live[token] = (holder, now + seconds)
        return token

    def holder(self, token: str) -> str | None:
        """The holder of the token; None when it is unknown, expired or revoked."""
        with self._lock:
            holder, ends = self._live.get(token, ("", 0.0))
        return holder if ends > time.monotonic() else None

    def revoke(self, token: str) -> None:
        with self._lock:
            self._live.pop(token, None)

    def reset(self) -> None:
        with self._lock:
            self._live.clear()
