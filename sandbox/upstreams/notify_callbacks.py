"""Delivery callbacks of the fake VANotify (contract: travel 6.6).

They go to the service's URL with a bearer token, or signed to the URL that a send named. The two differ in what they
retry: a service-level callback never repeats a 4xx, not even a 429; a signed one repeats 429 and time-outs, but not a
connection that failed.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests

from sandbox.upstreams.journal import utc_now
from sandbox.upstreams.timeline import Timeline

LIMITS = (3.05, 5.0)
RETRIES = 60
LONGEST_GAP = 300.0
SERVICE_STATUSES = frozenset(
    {"sent", "delivered", "failed", "temporary-failure", "permanent-failure", "returned-letter", "cancelled"}
)


def signature(secret: str, body: Mapping[str, Any]) -> str:
    """`x-enp-signature`: lower-case hex HMAC-SHA256 over the form-encoded pairs, in their order."""
    return hmac.new(secret.encode(), urlencode(list(body.items())).encode(), hashlib.sha256).hexdigest()


def gap(retry: int) -> float:
    """Seconds before retry 1, 2, 3 …: doubled each time, at most five minutes."""
    return float(min(2 ** min(retry, 30), LONGEST_GAP))


@dataclass(frozen=True)
class Callback:
    """One callback to make. `signed` says which of the two kinds it is."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    signed: bool

    def outcome(self) -> str:
        """Make the call once: the HTTP status as text, `timeout` or `network`."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                sent = session.post(
                    self.url, json=self.body, headers=self.headers, timeout=LIMITS, allow_redirects=False
                )
                return str(sent.status_code)
        except requests.Timeout:
            return "timeout"
        except requests.RequestException:
            return "network"

    def again(self, outcome: str) -> bool:
        if outcome.isdigit():
            return int(outcome) >= 500 or (self.signed and outcome == "429")
        return outcome == "timeout" or not self.signed


class Caller:
    """Makes callbacks, repeats them, and remembers every call for tests."""

    def __init__(self, timeline: Timeline, retry_scale: Callable[[], float]) -> None:
        self._timeline = timeline
        self._retry_scale = retry_scale
        self._lock = threading.Lock()
        self._calls: list[dict[str, Any]] = []

    def call(self, callback: Callback, retry: int = 0) -> None:
        outcome = callback.outcome()
        with self._lock:
            self._calls.append({"at": utc_now(), "outcome": outcome, "retry": retry, **_shown(callback)})
        if retry < RETRIES and callback.again(outcome):
            wait = gap(retry + 1) * self._retry_scale()
            self._timeline.after(wait, lambda: self.call(callback, retry + 1))

    def calls(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._calls)

    def reset(self) -> None:
        with self._lock:
            self._calls.clear()


def _shown(callback: Callback) -> dict[str, Any]:
    return {"url": callback.url, "signed": callback.signed, "body": dict(callback.body)}
