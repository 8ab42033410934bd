"""Passage of every call that a request waits for: few at once, within one limit for the whole request.

A slow upstream can only fill its own places, and all upstreams together only half of the threads: the others of the web
process go on serving everybody else. Where no place is free, the request is refused at once.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from flask import Flask, current_app
from sqlalchemy import text

from flaskapp.config import Config
from flaskapp.current import breaker_settings, flows, settings
from flaskapp.db import DbSession, db, transaction
from flaskapp.flows import PERSON_OF
from flaskapp.upstreams.errors import (
    ALIVE,
    DOUBTFUL,
    FAILING,
    REFUSED,
    SILENT,
    TOO_LARGE,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
    UpstreamError,
    breaker_signal,
)
from flaskapp.upstreams.transport.http import seconds_left, within
from flaskapp.web.errors import Problem
from flaskapp.web.threads import shares_of
from outbox import sync_calls

log = logging.getLogger("flaskapp.web.passthrough")

T = TypeVar("T")
WHOSE = text(f"SELECT {PERSON_OF.format(account='CAST(:account AS uuid)')}")
# Drawn for each refusal: who is refused together must not come again together.
FULL_RETRY_SECONDS = (2, 6)
# With less time left than this, a second try is not worth making.
LEAST_SECONDS = 1.0
# With less time than this, a call could only time out, which says nothing about the upstream.
SHORTEST_SECONDS = 0.25

CROWDED = "Too many people are waiting for the same answer just now. Try again in a few seconds."
LATE = "This took too long. Try again in a minute."
UNAVAILABLE = "VA's {name} is not answering just now. What you filed is safe; try again in {wait}."
BUSY = "VA's {name} has many requests just now. Try again in a minute."
SLOW = "VA's {name} took too long to answer. Try again in a minute."
LARGE = "This is larger than can be shown here. Call the number on your claim to have it sent."
FAILED = "VA's {name} could not answer. Try again later."


# When the request that this thread serves had arrived (monotonic). The web worker says so: it may have waited for the
# thread.
arrived_at: ContextVar[float] = ContextVar("surefile_request_arrived_at")


class Bulkhead:
    """Limit on how many requests of this process may wait at once: `total`, and `each` for one upstream by name."""

    def __init__(self, each: int, total: float = math.inf) -> None:
        self._each = each
        self._total = total
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}

    @contextmanager
    def take(self, name: str) -> Iterator[bool]:
        """Whether there was a free place; it is given back at the end. Nobody queues: a queue would hold threads."""
        with self._lock:
            taken = self._taken.get(name, 0)
            free = taken < self._each and sum(self._taken.values()) < self._total
            self._taken[name] = taken + free
        try:
            yield free
        finally:
            with self._lock:
                self._taken[name] -= free


def bulkhead() -> Bulkhead:
    found: Bulkhead = current_app.extensions["bulkhead"]
    return found


@contextmanager
def waiting_for(upstream: str, seconds: float = math.inf, busy: str = CROWDED) -> Iterator[None]:
    """One of the few places for calls to this upstream, which may take so many seconds together.

    Raises Problem at once: 503 with `Retry-After` and the text `busy` while no place is free, 504 when the request has
    used up its time. Hold no connection to our database meanwhile.
    """
    with bulkhead().take(upstream) as free:
        if not free:
            raise Problem(503, detail=busy, headers={"Retry-After": str(random.randint(*FULL_RETRY_SECONDS))})
        if seconds_left(math.inf) < SHORTEST_SECONDS:
            raise Problem(504, detail=LATE)
        with within(seconds):
            yield


def call_while_waiting(upstream: str, account_id: uuid.UUID, call: Callable[[float], T], seconds: float) -> T:
    """The result of a call for this person, within so many seconds and at most two tries. It must be safe to repeat.

    Raises Problem: 503 with `Retry-After` while no slot is free or the breaker is open, and when our credentials are
    refused; else upstream's own status.
    No connection to our database is held while the upstream works.
    """
    with waiting_for(upstream, seconds, in_words_of(upstream, BUSY)):
        seconds = seconds_left(seconds)
        sync_call = enter(upstream, seconds, str(account_id))
        try:
            found = twice(call, time.monotonic() + seconds_left(seconds))
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
    """Report what this outcome says about the upstream itself, by the same rules as for jobs. The call is for an
    account."""
    if error is None and not sync_call.troubled:
        return
    patience = breaker_settings(settings())
    signal = ALIVE if error is None else breaker_signal(error, hurried=True)
    with transaction() as session:
        if error is not None and signal in (SILENT, DOUBTFUL, REFUSED):
            person, refused = person_of(session, sync_call.caller), signal == REFUSED
            changed = sync_calls.note_silence(
                session, sync_call, patience, error.retry_after, person=person, refused=refused
            )
        elif error is not None and signal == FAILING:
            reason = type(error).__name__.lower()
            changed = sync_calls.note_failure(session, sync_call, reason, patience, error.retry_after)
        else:
            changed = sync_calls.note_answer(session, sync_call)
    db.session.remove()
    if changed:
        event = "breaker.closed" if signal == ALIVE else "breaker.opened"
        log.warning("breaker moved", extra={"event": event, "upstream": sync_call.upstream})


def person_of(session: DbSession, account_id: str) -> str | None:
    """Whose the account is, as a digest or an id; None for an account that nobody has used."""
    person: str | None = session.execute(WHOSE, {"account": account_id}).scalar_one()
    return person


def problem_of(upstream: str, error: UpstreamError) -> Problem:
    """The person's answer to an upstream's failure: its own status, but a 503 when it refused us, not the person."""
    if isinstance(error, Throttled):
        return refusal(429, BUSY, upstream, math.ceil(error.retry_after or FULL_RETRY_SECONDS[0]))
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
    return Problem(status, detail=in_words_of(upstream, words, in_words(retry_after)), headers=headers)


def in_words_of(upstream: str, words: str, wait: str = "") -> str:
    return words.format(name=flows().sync_upstreams[upstream], wait=wait)


def in_words(seconds: float | None) -> str:
    if seconds is None or seconds < 90:
        return "a minute"
    return f"{math.ceil(seconds / 60)} minutes" if seconds <= 2 * 3600 else f"{math.ceil(seconds / 3600)} hours"


def init_app(app: Flask, config: Config) -> None:
    shares = shares_of(config.web_threads)
    app.extensions["bulkhead"] = Bulkhead(shares.each, shares.waiting)
    inner = app.wsgi_app

    def limited(environ: dict[str, Any], start_response: Any) -> Any:
        """One limit for all that the request waits for: each call has its own, but several must not add up."""
        limit: float = app.extensions["config"].request_seconds
        waited = max(0.0, time.monotonic() - arrived_at.get(math.inf))
        with within(limit - waited):
            return inner(environ, start_response)

    app.wsgi_app = limited  # type: ignore[method-assign]
