"""Counters of requests that never make a request wait: each process decides by itself, from memory.

Counts near a limit are shared through Redis in the background, and what other processes counted is added. So a Redis
that is away, slow or hanging costs a request nothing; each process then allows the whole limit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from flaskapp.config_readers import Rate

log = logging.getLogger(__name__)

# With more callers than this within one period, the oldest counter is dropped: memory stays bounded.
MOST_COUNTED = 20_000
# A count below this share of its limit is not shared with other processes.
SHARED_FROM = 0.1
TELL_SECONDS = 0.25
AWAY_SECONDS = 5.0
MOST_REPORTED_AT_ONCE = 500

# Adds to each counter and returns its value and its time left (ms). A counter lives for one period from its first hit.
ADD = """
local answers = {}
for i, key in ipairs(KEYS) do
    local count = redis.call('INCRBY', key, ARGV[2 * i - 1])
    local left = redis.call('PTTL', key)
    if left < 0 then
        left = tonumber(ARGV[2 * i])
        redis.call('PEXPIRE', key, left)
    end
    answers[i] = {count, left}
end
return answers
"""


@dataclass
class Period:
    """One key's hits until `ends_at` (monotonic): counted here, how many of these Redis has, and counted elsewhere."""

    ends_at: float
    here: int = 0
    reported: int = 0
    elsewhere: int = 0

    @property
    def hits(self) -> int:
        return self.here + self.elsewhere


def in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="limits", daemon=True).start()


class Counts:
    """Hits by key. Keys are stored in Redis, so anything personal must be digested first."""

    def __init__(self, redis: Redis, prefix: str, start: Callable[[Callable[[], None]], None] = in_background) -> None:
        self.redis = redis
        self.prefix = prefix
        self.start = start
        self.periods: OrderedDict[str, Period] = OrderedDict()
        self.untold: dict[str, Rate] = {}
        self.telling = False
        self.lock = threading.Lock()

    def add(self, key: str, rate: Rate, hits: int = 1) -> float | None:
        """Count; None while the key is within its rate, else the seconds until its period ends."""
        now = time.monotonic()
        with self.lock:
            period = self._period(key, rate, now)
            period.here += hits
            if period.hits >= rate.amount * SHARED_FROM:
                self.untold[key] = rate
            begins, self.telling = bool(self.untold) and not self.telling, self.telling or bool(self.untold)
        if begins:
            self.start(self.keep_telling)
        return period.ends_at - now if period.hits > rate.amount else None

    def _period(self, key: str, rate: Rate, now: float) -> Period:
        period = self.periods.get(key)
        if period is None or period.ends_at <= now:
            period = self.periods[key] = Period(now + rate.seconds)
            self.periods.move_to_end(key)
            if len(self.periods) > MOST_COUNTED:
                self.periods.popitem(last=False)
        return period

    def keep_telling(self) -> None:
        """Share counts, in one thread at a time, until there is nothing left to share."""
        while self._has_untold():
            time.sleep(TELL_SECONDS if self.tell() else AWAY_SECONDS)

    def _has_untold(self) -> bool:
        with self.lock:
            self.telling = bool(self.untold)
            return self.telling

    def tell(self) -> bool:
        """Add what was counted here to Redis and read what was counted elsewhere; False when Redis is away.

        Each count is sent at most once: a call that may have arrived is not repeated, so nothing is counted twice.
        """
        with self.lock:
            batch = self._untold()
        try:
            answers = self._reported(batch) if batch else []
            with self.lock:
                for (_, period, _, _), (count, left) in zip(batch, answers, strict=True):
                    period.elsewhere = max(0, int(count) - period.reported)
                    period.ends_at = time.monotonic() + int(left) / 1000
        except Exception as error:
            # Any error that a broken connection can cause: if this thread ended, nothing would be shared ever again.
            log.warning("limits not shared", extra={"event": "limits.local_only", "error": type(error).__name__})
            return False
        return True

    def _untold(self) -> list[tuple[str, Period, int, Rate]]:
        batch: list[tuple[str, Period, int, Rate]] = []
        while self.untold and len(batch) < MOST_REPORTED_AT_ONCE:
            key, rate = self.untold.popitem()
            period = self.periods.get(key)
            if period is not None and period.ends_at > time.monotonic():
                batch.append((key, period, period.here - period.reported, rate))
                period.reported = period.here
        return batch

    def _reported(self, batch: list[tuple[str, Period, int, Rate]]) -> Any:
        keys = [f"{self.prefix}{key}" for key, _, _, _ in batch]
        values = [value for _, _, hits, rate in batch for value in (hits, rate.seconds * 1000)]
        return self.redis.eval(ADD, len(keys), *keys, *values)
