"""Marks below which nothing waits, so that a look need not walk past all that was ever claimed.

What was claimed stays in an index until vacuum takes it out, and vacuum takes out nothing while a transaction left open
anywhere in this shared database might still want to see it. Then every look from the beginning is slower than the last.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

# A look that takes longer than this, three times running, walks past the dead: a busy machine is not so even.
SLOW_SECONDS = 0.002
# How many times as long as such a look the marks are trusted: what they may hide is found at the latest then.
TRUST = 200
MOST_TRUSTED_SECONDS = 60.0


class ScanMarks:
    """The marks of one relay. They are trusted only while looks from the beginning are slow."""

    def __init__(self) -> None:
        self.marks: dict[tuple[str, str], datetime] = {}
        self.looks: deque[float] = deque(maxlen=3)
        self.until = 0.0
        self.trusted = False

    @contextmanager
    def look(self) -> Iterator[None]:
        """The look that a round begins with. Whether it is made from the marks holds for the whole round."""
        began = time.monotonic()
        self.trusted = began < self.until
        yield
        if not self.trusted:
            self.looks.append(time.monotonic() - began)
            if min(self.looks) > SLOW_SECONDS and len(self.looks) == self.looks.maxlen:
                self.until = time.monotonic() + min(MOST_TRUSTED_SECONDS, TRUST * min(self.looks))

    @property
    def begins(self) -> bool:
        """Whether this round was made from the beginning and the next will be made from the marks."""
        return not self.trusted and time.monotonic() < self.until

    def mark(self, queue: str, kind: str) -> datetime | None:
        return self.marks.get((queue, kind)) if self.trusted else None

    def raise_to(self, queue: str, kind: str, claimed: Sequence[datetime], *, more: bool) -> None:
        """These were the first that waited. With `more` behind them, nothing earlier than the last of them is left."""
        if claimed:
            last, known = max(claimed), self.marks.get((queue, kind))
            self.marks[queue, kind] = last if more or known is None else max(last, known)
