"""The time a worker reads, as a test moves it."""

from __future__ import annotations

import time


class Monotonic:
    """Stands for the `time` module where a worker asks how long its lease has run: it moves with the ledger's clock."""

    offset = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def move(self, seconds: float) -> None:
        self.offset = seconds
