"""Detection of a whole request among the bytes received. It does not interpret them: only gunicorn parses.

A wrong guess here does no harm. If it comes too early, the thread that reads the request may not wait for the rest.
If it never comes, the time limit ends the request.
"""

from __future__ import annotations

import re

# Most of a head is cookies. These two limits, times `worker_connections`, are the memory that strangers can fill.
MOST_HEAD_BYTES = 32 * 1024
# A JSON body with the sizes of its chunks. A larger body is read by a thread, as it arrives.
MOST_BODY_BYTES = 96 * 1024

HEAD_END = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r", re.IGNORECASE)
CHUNKED = re.compile(rb"\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
# The client waits for `100 Continue`, and only a thread sends that.
EXPECTS = re.compile(rb"\nexpect:", re.IGNORECASE)


class Arrival:
    """The bytes of one request so far. `refusal` is an HTTP status once it is clear that they cannot become one."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.refusal: int | None = None
        self.is_whole = False
        self._searched = 0
        self._head_bytes: int | None = None
        self._body_bytes: int | None = None

    def add(self, data: bytes) -> None:
        self.received += data
        if self._head_bytes is None:
            self._look_for_head()
        if self._head_bytes is not None:
            self.is_whole = self._has_body(self._head_bytes)

    def _look_for_head(self) -> None:
        if self.received.startswith((b"\r", b"\n")):
            self.refusal = 400
            return
        found = HEAD_END.search(self.received, self._searched)
        self._searched = max(0, len(self.received) - 3)
        if found is None:
            self.refusal = 431 if len(self.received) > MOST_HEAD_BYTES else None
        elif found[0] != b"\r\n\r\n":
            self.refusal = 400
        else:
            self._head_bytes = found.end()
            self._body_bytes = awaited(bytes(self.received[: found.end()]))

    def _has_body(self, head_bytes: int) -> bool:
        arrived = len(self.received) - head_bytes
        if self._body_bytes is not None:
            return arrived >= self._body_bytes
        return arrived > MOST_BODY_BYTES or self.received.endswith((b"\n0\r\n\r\n",), head_bytes - 1)


def awaited(head: bytes) -> int | None:
    """How many bytes of body have to arrive before a thread gets the request; None: up to the last chunk."""
    if EXPECTS.search(head):
        return 0
    if CHUNKED.search(head):
        return None
    length = LENGTH.search(head)
    return int(length[1]) if length and int(length[1]) <= MOST_BODY_BYTES else 0
