"""Counts of this process, of what no row of Postgres says: requests, calls of upstreams, how long the relay took.

They are kept in memory for some seconds, so that counting costs no request and no job a statement, and then added to
those of all processes (`outbox.counters`). A process that is killed loses what it has counted since. Labels are words
of ours, never what somebody sent: each combination is a row for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Engine

from outbox import counters

FLUSH_SECONDS = 5.0

Key = tuple[str, counters.Labels]
# What else is told of every count: its kind (`count` or `seconds`), name, value and labels.
Sink = Callable[[str, str, float, dict[str, str]], None]


class Counting:
    """What was counted since the last flush, safe for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[Key, float] = {}
        self.sinks: tuple[Sink, ...] = ()

    def begin(self, sinks: tuple[Sink, ...] = ()) -> None:
        """Forget all that was counted: a new application begins."""
        self.take()
        self.sinks = sinks

    def add(self, name: str, **labels: str) -> None:
        self._add({(name, tuple(sorted(labels.items()))): 1.0})
        for sink in self.sinks:
            sink("count", name, 1.0, labels)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        self._add(
            {
                (name, tuple(sorted({**labels, "le": counters.bound_of(seconds)}.items()))): 1.0,
                (f"{name}_sum", tuple(sorted(labels.items()))): max(0.0, seconds),
            }
        )
        for sink in self.sinks:
            sink("seconds", name, seconds, labels)

    def take(self) -> dict[Key, float]:
        with self._lock:
            taken, self._counted = self._counted, {}
        return taken

    def _add(self, counted: dict[Key, float]) -> None:
        with self._lock:
            for key, value in counted.items():
                self._counted[key] = self._counted.get(key, 0.0) + value

    def flush(self, engine: Engine) -> None:
        """Add what was counted to the counters of all processes. Where Postgres is away it is kept for the next time,
        and the error is raised; after a COMMIT whose answer was lost it may then count twice."""
        taken = self.take()
        try:
            counters.add(engine, taken)
        except Exception:
            self._add(taken)
            raise


COUNTING = Counting()


def note_relay_lag(queue: str, seconds: float) -> None:
    COUNTING.observe("relay_lag_seconds", seconds, queue=queue)
