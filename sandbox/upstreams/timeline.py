"""The timer of a fake: one thread, one list of what is due when, and a few threads for slow calls."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Timeline:
    """Runs callables after a delay in seconds. What is still in the list at a reset never runs."""

    def __init__(self, hands: int = 16) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._skipped = 0.0
        self._busy = 0
        self._closed = False
        self._hands = ThreadPoolExecutor(hands)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def after(self, seconds: float, step: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (self._now() + seconds, next(self._order), step))
            self._changed.notify_all()

    def skip(self, seconds: float) -> None:
        """Let this time pass at once: whatever falls due in it is done, in its order, when this returns."""
        with self._changed:
            end = self._now() + seconds
            while self._changed.wait_for(lambda: not self._busy) and self._waiting and self._waiting[0][0] <= end:
                self._skipped += max(0.0, self._waiting[0][0] - self._now())
                self._changed.notify_all()
                self._changed.wait(0.01)
            self._skipped += max(0.0, end - self._now())

    def reset(self) -> None:
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()
        self._hands.shutdown(cancel_futures=True)

    def _now(self) -> float:
        return time.monotonic() + self._skipped

    def _run(self) -> None:
        while step := self._next():
            self._hands.submit(self._do, step)

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                wait = self._waiting[0][0] - self._now() if self._waiting else None
                if wait is not None and wait <= 0:
                    self._busy += 1
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(wait)
        return None
