"""Hands: how many attempts of a lane are at hand in this process, and when it may take more.

Threads that wait for an upstream cost nothing. All others want the processor, and share it by their number: a lane with
200 of them would leave a lane with 64 a quarter of it, and what follows from the work of the first would fall behind.
So each lane has as many at hand as any other, and as many away as it has threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Enough for one statement to serve many.
AT_HAND = 32


class Hands:
    """A lane's attempts that were taken, and neither wait for an upstream nor are over. None is taken that would be one
    more than `most`, and more are taken once half of that is free: then several are granted and read together.
    """

    def __init__(self, most: int = AT_HAND) -> None:
        self.most = most
        self.full = 0
        self.changed = threading.Condition()

    @property
    def free(self) -> int:
        """How many may be taken now."""
        room = self.most - self.full
        return room if 2 * room >= self.most else 0

    def wait(self, seconds: float) -> int:
        """The same, after waiting for so long at most."""
        with self.changed:
            self.changed.wait_for(lambda: self.free > 0, seconds)
            return self.free

    def take(self, count: int = 1) -> None:
        with self.changed:
            self.full += count

    def let_go(self, count: int = 1) -> None:
        with self.changed:
            self.full -= count
            if self.free:
                self.changed.notify_all()

    @contextmanager
    def away(self) -> Iterator[None]:
        """An attempt is away in this block: it waits for its upstream."""
        self.let_go()
        try:
            yield
        finally:
            self.take()
