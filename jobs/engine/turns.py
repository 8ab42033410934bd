"""Turns at the database: few threads of a process use it at a time, and every lane gets its share of them.

Many threads wait for upstreams. If each of them went to Postgres when it liked, they would wait for its few connections
longer than a connection is waited for, and the lane with the most threads would have most of them.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """At most `places` threads at once. Lanes that wait take turns, whatever the number of their threads."""

    def __init__(self, places: float = math.inf) -> None:
        self.free = places
        self.lock = threading.Lock()
        self.waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def take(self, lane: str) -> Iterator[None]:
        """Wait for this lane's turn, and have it during the block. No block may take another turn."""
        called = self.ask(lane)
        if called is not None:
            called.wait()
        try:
            yield
        finally:
            self.pass_on()

    def ask(self, lane: str) -> threading.Event | None:
        """None when there is a place at once."""
        with self.lock:
            if self.free > 0:
                self.free -= 1
                return None
            called = threading.Event()
            self.waiting.setdefault(lane, deque()).append(called)
            return called

    def pass_on(self) -> None:
        """Give this place to the lane that has waited longest for a turn."""
        with self.lock:
            if not self.waiting:
                self.free += 1
                return
            lane, calls = self.waiting.popitem(last=False)
            calls.popleft().set()
            if calls:
                self.waiting[lane] = calls
