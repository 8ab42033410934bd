"""Bytes to a web server and back, as no client library would send them."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any, Self

START = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n")
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection. `send` never waits for an answer; `answers` reads all of them."""

    def __init__(self, port: int, data: bytes = b"") -> None:
        self.socket = socket.socket()
        self.socket.settimeout(60)
        # Small, so that a server soon finds that its answers are not taken.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.connect(("127.0.0.1", port))
        self.opened_at = time.monotonic()
        self.send(data)

    def send(self, data: bytes) -> bool:
        """Whether the other side still takes it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def finish(self) -> None:
        """Say that nothing more will come."""
        self.socket.shutdown(socket.SHUT_WR)

    def answers(self, seconds: float = 60.0) -> list[Answer]:
        """Everything until the other side closes; raises TimeoutError when it does not."""
        self.socket.settimeout(seconds)
        received = b""
        try:
            while data := self.socket.recv(65536):
                received += data
        except ConnectionError:
            pass
        return parsed(received)

    def answer(self, seconds: float = 60.0) -> Answer:
        """The one answer; the connection stays open."""
        self.socket.settimeout(seconds)
        received = b""
        while not (found := parsed(received)):
            data = self.socket.recv(65536)
            assert data, "closed without an answer"
            received += data
        return found[0]

    def is_quiet(self) -> bool:
        """Whether neither an answer nor the end has come."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.socket.close()


def parsed(received: bytes) -> list[Answer]:
    """Every whole answer, one after another."""
    found = []
    while start := START.match(received):
        head, blank, rest = received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        if not blank or len(rest) < body_bytes:
            break
        lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
        found.append(Answer(int(start[1]), {name.lower(): value for name, _, value in lines}, rest[:body_bytes]))
        received = rest[body_bytes:]
    return found


def exchange(port: int, data: bytes) -> list[Answer]:
    """Send this and nothing more, and read everything that comes back."""
    with Wire(port, data) as wire:
        wire.finish()
        return wire.answers()
