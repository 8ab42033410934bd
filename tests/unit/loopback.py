"""A scripted server on loopback, below HTTP: it can stop in mid-word, drip, reset, or send nothing at all."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Received:
    line: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


# How long a server drips that nobody stops.
DRIP_SECONDS = 10.0

Reply = Callable[[socket.socket], None]
Body = bytes | str | dict[str, Any] | list[Any]


def whole(status: int, body: Body = b"", **headers: str) -> Reply:
    """One complete answer. Underscores in header names mean hyphens."""
    data = (
        json.dumps(body).encode()
        if isinstance(body, dict | list)
        else body
        if isinstance(body, bytes)
        else body.encode()
    )
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *lines])
    return lambda sock: sock.sendall(head.encode() + b"\r\n\r\n" + data)


def raw(data: bytes) -> Reply:
    """These bytes, then the end of the connection."""

    def reply(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_RDWR)

    return reply


def drip(start: bytes, piece: bytes = b"x", seconds: float = DRIP_SECONDS) -> Reply:
    """`start`, then a piece every 20 ms, so that each arrives well within any read time-out."""

    def reply(sock: socket.socket) -> None:
        sock.sendall(start)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            sock.sendall(piece)
            time.sleep(0.02)

    return reply


def reset(sock: socket.socket) -> None:
    """Close so that the other side sees a reset, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(sock.detach())


def silence(sock: socket.socket) -> None:
    sock.settimeout(10)
    with contextlib.suppress(OSError):
        sock.recv(1)


class Loopback:
    """Answers each request with the next reply, and with the last one again and again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.received: list[Received] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as lines:
            while request := read_request(lines):
                with self._lock:
                    self.received.append(request)
                    reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                reply(sock)


def read_request(lines: Any) -> Received | None:
    line = lines.readline().decode("latin-1").strip()
    if not line:
        return None
    headers = {}
    while header := lines.readline().decode("latin-1").strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Received(line, headers, lines.read(int(headers.get("content-length", 0))))


@contextlib.contextmanager
def serving(*replies: Reply) -> Iterator[Loopback]:
    server = Loopback(*replies)
    try:
        yield server
    finally:
        server.close()


@cache
def closed() -> socket.socket:
    """A port that is taken and not listened on. If it were given back, another process could take it."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def closed_port() -> str:
    """The URL of a port nobody listens on."""
    return f"http://127.0.0.1:{closed().getsockname()[1]}"
