"""Turns at having a stranger's file read: one reader at a time on a machine, and no account before all others.

A reader may take hundreds of MiB and seconds. Requests wait for it in a few threads of each web process; whoever finds
these taken, or has had more than a share of the last minute, is refused at once and told when to come again.
"""

from __future__ import annotations

import fcntl
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# The lock on this file is the turn, whichever process wants it: the memory that readers take adds up.
KEY = Path(__file__)
# With the reading itself well under the 30 s after which a router gives up on a request.
TURN_SECONDS = 8.0
# A browser sends files side by side.
PLACES_OF_ONE = 2
# A file is kept in one transaction, and those of all must leave connections to the database.
KEPT_AT_ONCE = 2
# The share of one account: so many seconds of reading within the period, in one web process.
SHARE_SECONDS, PERIOD_SECONDS = 15.0, 60.0
# How often a waiting request looks whether it is its turn. Every second that its account had makes it look less often,
# so that others come first, also those of another process.
LOOK_SECONDS, RARER_BY, RAREST_SECONDS = 0.02, 0.05, 0.5
SOON_SECONDS = 10.0

FULL = ("We are opening too many files right now.", "Please add this one again in a minute.")
OTHERS_OPEN = ("We are still opening your other files.", "Please add this one again when they are done.")
SHARE_USED = ("Opening your files has taken most of the last minute.", "Please add this one again in a minute.")


class Busy(Exception):
    """No turn for this file now; its text is for the person who sent it. `is_own` says whether their own files are the
    reason, and `seconds` when it is worth trying again."""

    def __init__(self, words: tuple[str, str], seconds: float, *, is_own: bool) -> None:
        super().__init__(" ".join(words))
        self.seconds = max(1, math.ceil(seconds))
        self.is_own = is_own


@dataclass(frozen=True)
class Reading:
    """A reading of one file that ended at `ended_at` (monotonic) and took so many seconds, with failures too."""

    account: str
    ended_at: float
    seconds: float


class Turns:
    """The turns of one web process, in which so many requests may wait (`web/threads.py`).

    An account is named by any text; `now` is a clock that never goes back.
    """

    def __init__(self, places: int, now: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._now = now
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._readings: deque[Reading] = deque()
        self._keeping = threading.Semaphore(KEPT_AT_ONCE)

    @contextmanager
    def place(self, account: str) -> Iterator[None]:
        """A place among the few requests that may wait. Raises Busy, and waits for nothing itself."""
        with self._lock:
            self._check(account)
            self._taken[account] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[account] -= 1
                if not self._taken[account]:
                    del self._taken[account]

    def _check(self, account: str) -> None:
        if self._taken[account] >= PLACES_OF_ONE:
            raise Busy(OTHERS_OPEN, SOON_SECONDS, is_own=True)
        used = self._used(account)
        if used >= SHARE_SECONDS:
            raise Busy(SHARE_USED, self._until_below_share(account, used), is_own=True)
        if self._taken.total() >= self._places:
            raise Busy(FULL, SOON_SECONDS, is_own=False)

    def _used(self, account: str) -> float:
        """Seconds of reading that the account had within the period."""
        begins = self._now() - PERIOD_SECONDS
        while self._readings and self._readings[0].ended_at < begins:
            self._readings.popleft()
        return sum(each.seconds for each in self._readings if each.account == account)

    def _until_below_share(self, account: str, used: float) -> float:
        """Seconds until enough of its readings are older than the period."""
        for each in self._readings:
            if each.account == account:
                used -= each.seconds
                if used < SHARE_SECONDS:
                    return each.ended_at + PERIOD_SECONDS - self._now()
        return PERIOD_SECONDS

    @contextmanager
    def reading(self, account: str) -> Iterator[None]:
        """The turn to read one file, and nobody else's meanwhile. Raises Busy after eight seconds of waiting."""
        with self._lock:
            used = self._used(account)
        with KEY.open("rb") as key:
            wait_for(key, min(LOOK_SECONDS + RARER_BY * used, RAREST_SECONDS))
            began_at = self._now()
            try:
                yield
            finally:
                ended_at = self._now()
                with self._lock:
                    self._readings.append(Reading(account, ended_at, ended_at - began_at))

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """The turn to keep one file, which takes a connection for as long as encrypting its bytes takes."""
        with self._keeping:
            yield


def wait_for(key: BinaryIO, look_seconds: float) -> None:
    give_up_at = time.monotonic() + TURN_SECONDS
    while not locked(key):
        if time.monotonic() > give_up_at:
            raise Busy(FULL, SOON_SECONDS, is_own=False)
        time.sleep(look_seconds)


def locked(key: BinaryIO) -> bool:
    """Try to take the lock. It ends with the open file, and so with the process too, however that ends."""
    try:
        fcntl.flock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
