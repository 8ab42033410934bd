"""Reader for bodies too large to collect in the main loop: in few threads at once, at a minimum pace."""

from __future__ import annotations

import math
import socket
import threading
import time
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import BadRequest, RequestTimeout, ServiceUnavailable

from flaskapp.web.errors import RETRY_AFTER_SECONDS

# gunicorn throws no more of an unread body away than this, and closes the connection instead.
MOST_DISCARDED_BYTES = 64 * 1024 - 1


class BodyReader(SocketUnreader):
    """Reads a large body for a thread: `slots` limits how many do so at once, `bytes_a_second` how slowly."""

    def __init__(self, sock: socket.socket, slots: threading.Semaphore, patience: float, bytes_a_second: int) -> None:
        super().__init__(sock)
        self.slots = slots
        self.patience = patience
        self.bytes_a_second = bytes_a_second
        self.ends_at: float | None = None
        self.has_place = False

    def open(self) -> None:
        """From here to `shut` a thread may wait for the body."""
        self.ends_at = time.monotonic() + self.patience

    def shut(self) -> None:
        self.ends_at = None
        if self.has_place:
            self.has_place = False
            self.slots.release()

    @property
    def discardable_bytes(self) -> int:
        """How much of an unread body gunicorn throws away before the next request: only what has arrived."""
        return min(len(self.buf.getvalue()), MOST_DISCARDED_BYTES)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Raises werkzeug's 408 and 503, which the application answers like any other error.

        Raises NoMoreData where no thread may wait for more bytes; then gunicorn closes the connection.
        """
        if self.ends_at is None:
            raise NoMoreData
        self.has_place = self.has_place or self.slots.acquire(blocking=False)
        if not self.has_place:
            raise ServiceUnavailable(retry_after=RETRY_AFTER_SECONDS)
        before = self.sock.gettimeout()
        try:
            self.sock.settimeout(max(0.001, self.ends_at - time.monotonic()))
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise RequestTimeout from None
        finally:
            self.sock.settimeout(before)
        self.ends_at += len(data) / self.bytes_a_second
        return data


class Frames:
    """Wraps gunicorn's reader of a body. Malformed framing becomes a 400: it is the client's fault, not ours."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.ended = False

    @property
    def unread_bytes(self) -> float:
        """How much of the body nobody has read; infinite while the end of a chunked one is not known."""
        if isinstance(self.reader, LengthReader):
            return float(self.reader.length)
        return 0.0 if self.ended else math.inf

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self.reader.read(size)
        except ParseException:
            raise BadRequest from None
        self.ended = not data
        return data
