"""HTTP load from one thread: many kept-open connections, requests made beforehand, so that the client costs little.

Closed: every connection sends its next request as soon as it has an answer. Open: requests leave at a steady rate, and
wait for a free connection where there is none.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

PATIENCE_SECONDS = 30.0


@dataclass
class Load:
    """What came of it: seconds from the time a request was due to its answer, and the answers' statuses."""

    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def expect(self, *statuses: int) -> Load:
        """Raises AssertionError when anything else was answered: a refusal is fast, and no figure."""
        assert self.times and set(self.statuses) <= set(statuses), dict(self.statuses)
        return self


class Client:
    """One connection; opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.due = 0.0
        self.received = b""
        self.reopen()

    def reopen(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes, due: float) -> None:
        self.due, self.received = due, b""
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bool] | None:
        """Status, and whether the connection stays open; None while the answer is not whole."""
        chunk = self.socket.recv(65_536)
        if not chunk:
            raise ConnectionError("closed in the middle of an answer")
        self.received += chunk
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if len(body) < length:
            return None
        return int(head[9:12]), b"connection: close" not in lower


def request(method: str, path: str, body: str = "", **headers: str) -> bytes:
    """A whole HTTP request. Underscores in names of headers become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def drive(
    port: int, requests: Iterator[bytes], *, clients: int, seconds: float, per_second: float | None = None
) -> Load:
    """Send for so many seconds, or until there are no more requests, then wait for the last answers.

    `per_second` None is a closed loop.
    """
    load, idle = Load(), deque(Client(port) for _ in range(clients))
    selector = selectors.DefaultSelector()
    began = time.perf_counter()
    due, ends_at, under_way = began, began + seconds, 0
    while True:
        now = time.perf_counter()
        while idle and now < ends_at and due <= now:
            content = next(requests, None)
            if content is None:
                ends_at = now
                break
            client = idle.popleft()
            client.send(content, due if per_second else now)
            selector.register(client.socket, selectors.EVENT_READ, client)
            under_way += 1
            due += 1 / per_second if per_second else 0.0
        if not under_way and now >= ends_at:
            break
        wait = max(0.0, due - now) if per_second and idle and now < ends_at else 0.5
        for key, _ in selector.select(wait):
            client = key.data
            answer = client.receive()
            if answer is None:
                continue
            under_way -= 1
            load.times.append(time.perf_counter() - client.due)
            load.statuses[answer[0]] += 1
            selector.unregister(client.socket)
            if not answer[1]:
                client.socket.close()
                client.reopen()
            idle.append(client)
    load.seconds = time.perf_counter() - began
    for client in idle:
        client.socket.close()
    selector.close()
    return load
