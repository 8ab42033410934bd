"""Id of the request that asked for what this thread is doing: a request under way, or the one behind a job's message.

Log lines, traces and, where that is allowed, calls of upstreams carry it. It knows no Flask: clients of upstreams read
it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request_id: ContextVar[str | None] = ContextVar("surefile_request_id", default=None)


def request_id() -> str | None:
    """None where nobody asked, as in a periodic job."""
    return _request_id.get()


def begin(request: str | None) -> None:
    """From here on this thread works for that request, or for none."""
    _request_id.set(request)


@contextmanager
def working_for(request: str | None) -> Iterator[None]:
    token = _request_id.set(request)
    try:
        yield
    finally:
        _request_id.reset(token)
