"""Status routes that answer when something changes: `Prefer: wait=N` (RFC 7240).

A waiting request holds a thread, one of the few places for waiting, and no connection. However many wait in a process,
one of them looks for all, four times a second: one statement for each kind of thing that is waited for.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, current_app, request
from sqlalchemy import text

from flaskapp.current import settings
from flaskapp.db import db, reading
from flaskapp.upstreams.transport.http import seconds_left
from flaskapp.web.inflection import answer
from flaskapp.web.passthrough import bulkhead

PAUSE_SECONDS = 0.25
WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)
PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "example": "wait=5",
    "description": "`wait=N`: answer when the state changes, after N seconds at the latest; more than"
    " `STATUS_WAIT_SECONDS` count as that. The answer then says `Preference-Applied`. While many wait, or where nothing"
    " can change any more, it comes at once.",
}


@dataclass(frozen=True)
class Watched:
    """A kind of thing whose changes are waited for. `query` selects, of those in `:ids`, the id and a text that changes
    with what is shown."""

    name: str
    query: str


@dataclass(frozen=True)
class Shown:
    """What a status route shows: its JSON and, unless nothing can change, the id and the text of it that `Watched`
    selects."""

    payload: Any
    id: str = ""
    seen: str | None = None


@dataclass(eq=False)
class Waiter:
    watched: Watched
    id: str
    seen: str
    changed: threading.Event = field(default_factory=threading.Event)


class Watch:
    """All who wait in this process. Whoever finds that it is time looks for all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._waiters: set[Waiter] = set()
        self._next_look = 0.0
        self.looks = 0

    def wait(self, watched: Watched, id: str, seen: str, ends_at: float) -> None:
        """Return when the text is another one, or at `ends_at` (monotonic seconds)."""
        waiter = Waiter(watched, id, seen)
        with self._lock:
            self._waiters.add(waiter)
        try:
            while not waiter.changed.is_set() and (left := ends_at - time.monotonic()) > 0:
                self._look_if_it_is_time()
                waiter.changed.wait(min(PAUSE_SECONDS, left))
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    def _look_if_it_is_time(self) -> None:
        if self._looking.acquire(blocking=False):
            try:
                if time.monotonic() >= self._next_look:
                    self._look()
                    self._next_look = time.monotonic() + PAUSE_SECONDS
            finally:
                self._looking.release()

    def _look(self) -> None:
        kinds: dict[Watched, list[Waiter]] = defaultdict(list)
        with self._lock:
            for waiter in self._waiters:
                kinds[waiter.watched].append(waiter)
        with reading() as session:
            for watched, waiters in kinds.items():
                ids = sorted({waiter.id for waiter in waiters})
                now = {row[0]: row[1] for row in session.execute(text(watched.query), {"ids": ids})}
                for waiter in waiters:
                    if now.get(waiter.id) != waiter.seen:
                        waiter.changed.set()
        self.looks += 1


def wanted_seconds() -> int | None:
    """How long the caller prefers to wait, as it says; None for not at all."""
    found = WAIT.search(request.headers.get("Prefer", ""))
    return int(found[1]) if found is not None and int(found[1]) > 0 else None


def answer_when_changed(watched: Watched, read: Callable[[], Shown]) -> Response:
    """What `read` shows: now or, for a caller who prefers to wait, as soon as it is something else."""
    shown, wanted, most = read(), wanted_seconds(), settings().status_wait_seconds
    if wanted is None or shown.seen is None or most == 0:
        return answer(shown.payload)
    db.session.remove()
    with bulkhead().take("status") as free:
        if not free:
            return answer(shown.payload)
        watch: Watch = current_app.extensions["watch"]
        watch.wait(watched, shown.id, shown.seen, time.monotonic() + min(wanted, most, seconds_left(math.inf)))
    return answer(read().payload, headers={"Preference-Applied": f"wait={min(wanted, math.ceil(most))}"})


def init_app(app: Flask) -> None:
    app.extensions["watch"] = Watch()
