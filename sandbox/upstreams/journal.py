"""The journal of a fake: what it received, in order, for tests and for people."""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from sandbox.upstreams.multipart import summary

KEPT = 20_000


def utc_now() -> str:
    """The true wall clock, whatever a fake's own clock says: UTC, microseconds, `Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def readable(body: bytes, content_type: str) -> Any:
    """A body as JSON or form pairs if it is one, else as text; for a multipart body, what its parts are."""
    if "multipart/" in content_type:
        return summary(body, content_type)
    text = body.decode("utf-8", "replace")
    if "form-urlencoded" in content_type:
        return dict(parse_qsl(text, keep_blank_values=True))
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


class Journal:
    """The last requests of one fake, oldest first; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)

    def listed(self, operation: str = "") -> list[dict[str, Any]]:
        """Entries whose `METHOD /path` contains `operation`."""
        with self._lock:
            entries = list(self._entries)
        return [entry for entry in entries if operation in f"{entry['method']} {entry['path']}"]

    def reset(self) -> None:
        with self._lock:
            self._entries.clear()
