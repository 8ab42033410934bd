"""The clock that a worker reads for its lease, moved by a test."""

from __future__ import annotations

import time


class Monotonic:
    """Replaces the `time` module where a worker checks how long its lease has run; it moves with the ledger's clock."""

    offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def move(self, seconds: float) -> None:
        self.offset = seconds
