"""Calls to an upstream while a person waits: few at once, refused fast while its breaker is open, never held open long.

A slow upstream can only fill its own slots: the other threads of the web process go on serving everybody else.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from flask import Flask, current_app

from flaskapp.config import Config
from flaskapp.current import breaker_settings, flows, settings
from flaskapp.db import db, transaction
from flaskapp.upstreams.errors import (
    ALIVE,
    DOUBTFUL,
    FAILING,
    SILENT,
    TOO_LARGE,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
    UpstreamError,
    breaker_signal,
)
from flaskapp.upstreams.transport.http import within
from flaskapp.web.errors import Problem
from outbox import sync_calls

log = logging.getLogger("flaskapp.web.passthrough")

T = TypeVar("T")
FULL_RETRY_SECONDS = 2
# With less time left than this, a second try is not worth making.
LEAST_SECONDS = 1.0

UNAVAILABLE = "VA's {name} is not answering just now. What you filed is safe; try again in {wait}."
BUSY = "VA's {name} has many requests just now. Try again in a minute."
SLOW = "VA's {name} took too long to answer. Try again in a minute."
LARGE = "This is larger than can be shown here. Call the number on your claim to have it sent."
FAILED = "VA's {name} could not answer. Try again later."


class Bulkhead:
    """Limit on how many calls to each upstream the people of this process may wait for at once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}

    @contextmanager
    def take(self, name: str) -> Iterator[bool]:
        """Whether there was a free slot; it is given back at the end. Nobody queues: a queue would hold threads."""
        with self._lock:
            free = self._taken.get(name, 0) < self._at_once
            self._taken[name] = self._taken.get(name, 0) + free
        try:
            yield free
        finally:
            with self._lock:
                self._taken[name] -= free


def bulkhead() -> Bulkhead:
    found: Bulkhead = current_app.extensions["bulkhead"]
    return found


def call_while_waiting(upstream: str, account_id: uuid.UUID, call: Callable[[float], T], seconds: float) -> T:
    """The result of a call for this person, within so many seconds and at most two tries. It must be safe to repeat.

    Raises Problem: 503 with `Retry-After` while no slot is free or the breaker is open, and when our credentials are
    refused; else upstream's own status.
    No connection to our database is held while the upstream works.
    """
    with bulkhead().take(upstream) as free:
        if not free:
            raise refusal(503, BUSY, upstream, FULL_RETRY_SECONDS)
        sync_call = enter(upstream, seconds, str(account_id))
        started = time.monotonic()
        try:
            with within(seconds):
                found = twice(call, started + seconds)
        except UpstreamError as error:
            report_to_breaker(sync_call, error)
            raise problem_of(upstream, error) from error
        report_to_breaker(sync_call, None)
        return found


def twice(call: Callable[[float], T], ends_at: float) -> T:
    """Call, and once more at once when the connection broke: the other side often closes idle connections."""
    try:
        return call(ends_at - time.monotonic())
    except Unavailable as error:
        left = ends_at - time.monotonic()
        if error.http_status is not None or error.code == TOO_LARGE or error.timed_out or left < LEAST_SECONDS:
            raise
    return call(left)


def enter(upstream: str, seconds: float, caller: str) -> sync_calls.SyncCall:
    try:
        with transaction() as session:
            return sync_calls.enter(session, upstream, seconds, caller)
    except sync_calls.BreakerOpen as breaker:
        raise refusal(503, UNAVAILABLE, upstream, math.ceil(breaker.seconds)) from None
    finally:
        db.session.remove()


def report_to_breaker(sync_call: sync_calls.SyncCall, error: UpstreamError | None) -> None:
    """Report what this outcome says about the upstream itself, by the same rules as for jobs."""
    if error is None and not sync_call.troubled:
        return
    patience = breaker_settings(settings())
    signal = ALIVE if error is None else breaker_signal(error, hurried=True)
    with transaction() as session:
        if error is not None and signal in (SILENT, DOUBTFUL):
            changed = sync_calls.note_silence(session, sync_call, patience, error.retry_after)
        elif error is not None and signal == FAILING:
            reason = type(error).__name__.lower()
            changed = sync_calls.note_failure(session, sync_call, reason, patience, error.retry_after)
        else:
            changed = sync_calls.note_answer(session, sync_call)
    db.session.remove()
    if changed:
        event = "breaker.closed" if signal == ALIVE else "breaker.opened"
        log.warning("breaker moved", extra={"event": event, "upstream": sync_call.upstream})


def problem_of(upstream: str, error: UpstreamError) -> Problem:
    """The person's answer to an upstream's failure: its own status, but a 503 when it refused us, not the person."""
    if isinstance(error, Throttled):
        return refusal(429, BUSY, upstream, math.ceil(error.retry_after or FULL_RETRY_SECONDS))
    if error.code == TOO_LARGE:
        return refusal(502, LARGE, upstream)
    if isinstance(error, Unauthorized):
        # Our key, clock or setting was refused, which the person can do nothing about: an outage like any other.
        return refusal(503, UNAVAILABLE, upstream, math.ceil(error.retry_after or settings().breaker_open_seconds))
    if error.http_status is None:
        return refusal(504, SLOW, upstream) if error.timed_out else refusal(502, FAILED, upstream)
    if not isinstance(error, Rejected):
        # A gateway's own 403 or 404 is about its paths and keys. It must not look like one about a person or a claim.
        status = error.http_status if error.http_status in (500, 503, 504) else 502
        return refusal(status, FAILED, upstream)
    return Problem(error.http_status, detail=error.detail or None, code=error.code or str(error.http_status))


def refusal(status: int, words: str, upstream: str, retry_after: float | None = None) -> Problem:
    headers = {"Retry-After": str(int(retry_after))} if retry_after is not None else {}
    return Problem(
        status, detail=words.format(name=flows().sync_upstreams[upstream], wait=in_words(retry_after)), headers=headers
    )


def in_words(seconds: float | None) -> str:
    if seconds is None or seconds < 90:
        return "a minute"
    return f"{math.ceil(seconds / 60)} minutes" if seconds <= 2 * 3600 else f"{math.ceil(seconds / 3600)} hours"


def init_app(app: Flask, config: Config) -> None:
    app.extensions["bulkhead"] = Bulkhead(config.travel_pay_reads_at_once)
