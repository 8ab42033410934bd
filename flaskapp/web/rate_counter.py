"""Counters of requests in the memory of one process: nothing is shared, so no request waits to be counted."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from flaskapp.config_readers import Rate

# With more callers than this within one period, the oldest counter is dropped: memory stays bounded.
MOST_COUNTED = 20_000


@dataclass
class Period:
    """One key's hits until `ends_at` (monotonic)."""

    ends_at: float
    hits: int = 0


class Counts:
    """Hits by key, in periods that each begin with their first hit."""

    def __init__(self) -> None:
        self.periods: OrderedDict[str, Period] = OrderedDict()
        self.lock = threading.Lock()

    def add(self, key: str, rate: Rate, hits: int = 1) -> float | None:
        """Count; None while the key is within its rate, else the seconds until its period ends."""
        now = time.monotonic()
        with self.lock:
            period = self.periods.get(key)
            if period is None or period.ends_at <= now:
                period = self.periods[key] = Period(now + rate.seconds)
                self.periods.move_to_end(key)
                if len(self.periods) > MOST_COUNTED:
                    self.periods.popitem(last=False)
            period.hits += hits
            return period.ends_at - now if period.hits > rate.amount else None
