"""The HTTP server under each fake: HTTP/1.1 with keep-alive, and sockets that can be taken away in mid-call.

Werkzeug's own server closes every connection after one answer and hides the socket, so it could play neither a reset on
a reused connection nor a lost reply.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from werkzeug.datastructures import Headers
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from sandbox.server import held_port
from sandbox.upstreams import delivery
from sandbox.upstreams.fake import Fake
from sandbox.upstreams.journal import readable, utc_now
from sandbox.upstreams.switches import Fault

# Faults never strike these, or nobody could turn them off.
OPEN_DOORS = ("/_sandbox", "/phone")


def _spared(path: str) -> bool:
    return path.startswith(OPEN_DOORS)


class UpstreamServer(ThreadingHTTPServer):
    """One fake on one loopback port, with a thread for each connection. Port 0 takes a free one.

    `beside` holds fakes with ports of their own whose paths this host answers too, by the beginning of those paths.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(
        self, fake: Fake, port: int = 0, beside: Mapping[str, Fake] | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.fake = fake
        self.beside = beside or {}
        self.stopping = threading.Event()
        self._listening = threading.Event()
        self._listening.set()
        self._open: set[socket.socket] = set()
        # Bound by its number: a port that Linux chose itself is taken back as soon as its socket stops listening.
        with held_port() as free:
            super().__init__((address, port or free.getsockname()[1]), Handler)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        fake.faults.on_refuse = self.refuse

    def server_bind(self) -> None:
        """Bind without the name look-up of the standard server, which can hang where there is no DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        # A caller may be gone, or this socket refuse, between the look and the accept; then the accept must not wait.
        self.socket.setblocking(False)

    @property
    def url(self) -> str:
        return f"http://{self.server_name}:{self.server_port}"

    def fake_at(self, path: str) -> Fake:
        return next((fake for start, fake in self.beside.items() if path.startswith(start)), self.fake)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """End every wait and connection, then the server. Returns when the port is free."""
        self.stopping.set()
        self._listening.set()
        # Wakes the serving thread, which otherwise looks for its end only twice a second.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def refuse(self, refused: bool) -> None:
        """Stop or resume listening while keeping the port: callers get a real refusal, and nobody else takes the
        port."""
        if refused and self._listening.is_set():
            self._listening.clear()
            self.socket.shutdown(socket.SHUT_RDWR)
        elif not refused and not self._listening.is_set():
            self.socket.listen(self.request_queue_size)
            self._listening.set()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. A socket that no longer listens always looks ready, so this waits a little instead of
        spinning."""
        if not self._listening.is_set():
            self._listening.wait(0.05)
            raise OSError("not listening")
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a caller that hung up; show anything else, which is a fault of the fake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Reads one request after another from a connection and plays the faults drawn for each."""

    server: UpstreamServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """`down` looks at the request without reading it, so that the reset meets unread data, as at a dead host."""
        first = self.connection.recv(4096, socket.MSG_PEEK).split(b"\r\n")[0].decode("latin-1").split(" ")
        if len(first) >= 2 and self._draw(first[0], first[1], delivery.BEFORE_READING):
            delivery.reset(self.connection)
            self.close_connection = True
            return
        super().handle_one_request()

    def answer(self) -> None:
        if "Transfer-Encoding" in self.headers:
            return self.send_error(411)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        faults = self._draw(self.command, self.path, delivery.AFTER_READING)
        entry = self._entry(body, faults)
        stopping = self.server.stopping
        reply, worked = delivery.prepared(self._fake(), faults, lambda: self._work(body, faults), stopping)
        self._note(entry, reply, worked)
        try:
            delivery.send(self.connection, reply, faults, not self.close_connection, stopping)
        except delivery.Gone:
            self.close_connection = True
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        """The journal holds more than an access log would."""

    def _draw(self, method: str, target: str, kinds: tuple[str, ...]) -> dict[str, Fault]:
        path = urlsplit(target).path
        return {} if _spared(path) else self.server.fake_at(path).faults.draw(f"{method} {path}", kinds)

    def _fake(self) -> Fake:
        return self.server.fake_at(urlsplit(self.path).path)

    def _work(self, body: bytes, faults: dict[str, Fault]) -> Response:
        environ = create_environ(
            path=self.path,
            base_url=f"http://{self.headers.get('Host', '127.0.0.1')}",
            method=self.command,
            headers=Headers(self.headers.items()),
            input_stream=BytesIO(body),
            content_length=len(body),
        )
        environ["sandbox.faults"] = faults
        return Response.from_app(self._fake().app, environ, buffered=True)

    def _entry(self, body: bytes, faults: dict[str, Fault]) -> dict[str, Any]:
        """The journal entry as soon as a request has been read; the rest is added with the answer."""
        url = urlsplit(self.path)
        entry = {
            "at": utc_now(),
            "method": self.command,
            "path": url.path,
            "query": dict(parse_qsl(url.query, keep_blank_values=True)),
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": readable(body, self.headers.get("Content-Type", "")),
            "faults": list(faults),
            "status": None,
            "worked": None,
            "answered_at": None,
        }
        if not _spared(url.path):
            self._fake().received.add(entry)
        return entry

    def _note(self, entry: dict[str, Any], reply: Response, worked: bool) -> None:
        entry.update(status=reply.status_code, worked=worked, answered_at=utc_now())
