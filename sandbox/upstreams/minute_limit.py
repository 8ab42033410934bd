"""The rate limit of an API gateway: a count that starts again every minute, and its headers (contract: benefits
2.2)."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """Where a caller stands after one more call. `reset` is in whole seconds."""

    limit: int
    remaining: int
    reset: int
    refused: bool

    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit-Minute": str(self.limit),
            "X-RateLimit-Remaining-Minute": str(self.remaining),
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class MinuteLimit:
    """Counts the calls of the running minute; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._began, self._taken = -math.inf, 0

    def take(self, limit: int, seconds: float) -> Standing:
        """Count one call against `limit`, in minutes that last `seconds`; a refused call does not count."""
        now = time.monotonic()
        with self._lock:
            if now - self._began >= seconds:
                self._began, self._taken = now, 0
            refused = self._taken >= limit
            self._taken += 0 if refused else 1
            left = math.ceil(self._began + seconds - now)
            return Standing(limit, limit - min(self._taken, limit), left, refused)
