"""How a thread reads a body that was too large to be waited for: one of few, at a pace, and never for ever."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import BadRequest, RequestTimeout, ServiceUnavailable

from flaskapp.web.errors import RETRY_AFTER_SECONDS


class StillArriving(NoMoreData, TimeoutError):
    """More bytes are wanted where no thread may wait for them; gunicorn closes the connection."""


class BodyReader(SocketUnreader):
    """What a thread reads a large body from: of few threads at once, and not slower than `bytes_a_second`."""

    def __init__(self, sock: socket.socket, slots: threading.Semaphore, patience: float, bytes_a_second: int) -> None:
        super().__init__(sock)
        self.slots = slots
        self.patience = patience
        self.bytes_a_second = bytes_a_second
        self.may_wait = False
        self.has_place = False

    def open(self) -> None:
        """From here to `shut` a thread may wait for the body."""
        self.may_wait = True
        self.ends_at = time.monotonic() + self.patience

    def shut(self) -> None:
        self.may_wait = False
        if self.has_place:
            self.has_place = False
            self.slots.release()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Raises werkzeug's 408 and 503, which the application answers like any other."""
        if not self.may_wait:
            raise StillArriving
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
    """gunicorn's reader of a body's frames; a malformed one is the client's fault, and not the application's."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self.reader.read(size)
        except ParseException:
            raise BadRequest from None
        return data
