"""Scan marks: deadlines below which no message waits, so that a look need not walk past all that was ever claimed.

What was claimed stays in an index until vacuum removes it, and vacuum removes nothing that a transaction left open
anywhere in this shared database might still want to see. Then every look from the beginning is slower than the last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

# Three looks in a row that take longer than this walk past dead index entries: a busy machine is not so regular.
SLOW_SECONDS = 0.002
# For how many times the length of such a look the marks are trusted. What they may hide is found by then.
TRUST = 200
MOST_TRUSTED_SECONDS = 60.0


class ScanMarks:
    """The marks of one relay, in its memory only. They are trusted only while looks from the beginning are slow."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], datetime] = {}
        self.looks: deque[float] = deque(maxlen=3)
        self.until = 0.0
        self.trusted = False

    @contextmanager
    def look(self) -> Iterator[None]:
        """Time the look that a round begins with. Whether it uses the marks is decided here, for the whole round."""
        began = time.monotonic()
        self.trusted = began < self.until
        yield
        if not self.trusted:
            self.looks.append(time.monotonic() - began)
            if min(self.looks) > SLOW_SECONDS and len(self.looks) == self.looks.maxlen:
                self.until = time.monotonic() + min(MOST_TRUSTED_SECONDS, TRUST * min(self.looks))

    @property
    def begins(self) -> bool:
        """Whether this round looked from the beginning and the next one will look from the marks."""
        return not self.trusted and time.monotonic() < self.until

    def mark(self, queue: str, kind: str) -> datetime | None:
        """Where to look from, aware; None for the beginning."""
        return self.marks.get((queue, kind)) if self.trusted else None

    def raise_to(self, queue: str, kind: str, claimed: Sequence[datetime], *, more: bool) -> None:
        """Learn from what was claimed first in a queue. With `more` behind, nothing before the last of it is left."""
        if claimed:
            last, known = max(claimed), self.marks.get((queue, kind))
            self.marks[queue, kind] = last if more or known is None else max(last, known)
