"""Gathering: what many threads have to record is recorded by one of them for all, at one price."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# How long the next one waits for those that follow, where the last one had company.
GATHER_SECONDS = 0.003
# More than this would hold too many locks for too long.
MOST = 50


class Gathering(Generic[T]):
    """Calls `record` with what was put, one call at a time, on the threads that put it.

    While one of them records, the others only leave what they have. Nothing waits when there is nothing to gather.
    """

    def __init__(self, record: Callable[[list[T]], None]) -> None:
        self.record = record
        self.left: deque[T] = deque()
        self.recording = threading.Lock()
        self.had_company = False

    def put(self, item: T) -> None:
        """Leave it, and record it with all that was left unless somebody else is just recording, who will."""
        self.left.append(item)
        # Looked at again after each round: what came while it ended has found the lock taken.
        while self.left and self.recording.acquire(blocking=False):
            try:
                self.record_some()
            finally:
                self.recording.release()

    def record_some(self) -> None:
        if self.had_company:
            time.sleep(GATHER_SECONDS)
        items = [self.left.popleft() for _ in range(min(len(self.left), MOST))]
        self.had_company = len(items) > 1
        if items:
            self.record(items)
