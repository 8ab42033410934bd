"""Worker class for gunicorn that slow and silent clients cannot block: no thread waits for a request to arrive.

gunicorn's own threaded worker gives each connection a thread for five seconds before a byte has come, reads heads and
bodies without a time limit, and closes connections from its main loop with up to two seconds for each. A few dozen
silent clients keep everybody out. Here the main loop collects each request, and the few threads that read large
bodies have a time limit.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from flaskapp.web.cross_origin import API_POLICY, HEADERS
from flaskapp.web.errors import entry, title_of
from flaskapp.web.request_framing import Arrival
from flaskapp.web.slow_bodies import BodyReader, Frames

PASSING = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE)
READ_BYTES = 64 * 1024
LOOK_SECONDS = 0.25
# For this long we read and drop what a client still sends, so that it can read our answer before the connection ends.
LINGER_SECONDS = 2.0
MOST_LINGERING = 200
STATUS_OF = {
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}


class Connection(TConn):
    """One client's connection. At `ends_at` (monotonic) we stop waiting for the client."""

    def __init__(self, worker: PatientWorker, client: socket.socket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, worker.SEND_BUFFER_BYTES)
        self.worker = worker
        self.arrival = Arrival()
        self.ends_at = 0.0

    def expect(self, seconds: float) -> None:
        """Wait for the next request. Its first bytes may have come together with the request before."""
        self.sock.setblocking(False)
        self.ends_at = time.monotonic() + seconds
        self.arrival = Arrival()
        if self.parser is not None:
            self.arrival.add(self.parser.unreader.take_buffered())

    def hand_over(self) -> None:
        """Give gunicorn's parser the bytes that arrived."""
        self.data_ready = True
        if self.parser is None:
            self.init()
            assert self.parser is not None
            self.parser.unreader = self.worker.body_reader(self.sock)
        self.parser.unreader.unread(bytes(self.arrival.received))

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class PatientWorker(ThreadWorker):
    """The `worker_class` in gunicorn.conf.py.

    `accept`, `enqueue_req`, `murder_pending`, `handle_request` and `handle_error` override gunicorn's methods.
    """

    ARRIVAL_SECONDS = 15.0
    # A client that means to send a request has begun to send it by then.
    SOON_SECONDS = 3.0
    SEND_SECONDS = 60.0
    # An answer up to this size leaves its thread at once, however slowly the client reads it.
    SEND_BUFFER_BYTES = 256 * 1024
    BODY_PATIENCE_SECONDS = 20.0
    BODY_BYTES_A_SECOND = 16 * 1024

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.arriving: dict[Connection, None] = {}
        self.lingering: dict[Connection, None] = {}
        self.next_look = 0.0
        self.slots = threading.Semaphore(max(1, self.cfg.threads // 2))

    def body_reader(self, sock: socket.socket) -> BodyReader:
        return BodyReader(sock, self.slots, self.BODY_PATIENCE_SECONDS, self.BODY_BYTES_A_SECOND)

    # -- in the main loop --------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Accept one client. A client that left before it was accepted is not an error."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """gunicorn calls this when a part of a request may have arrived. Threads get only whole requests."""
        conn.expect(self.ARRIVAL_SECONDS)
        act = self.read_on(conn)
        if act is not None:
            act(conn)
            return
        self.arriving[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_bytes, conn))

    def on_bytes(self, conn: Connection, _sock: socket.socket) -> None:
        act = self.read_on(conn)
        if act is not None:
            self.leave(conn)
            act(conn)

    def read_on(self, conn: Connection) -> Callable[[Connection], None] | None:
        """Read what has arrived. Returns what to do now, or None while more has to arrive."""
        arrival = conn.arrival
        try:
            data = b"" if arrival.is_whole else conn.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return self.drop
        arrival.add(data)
        if arrival.refusal is not None:
            return self.refuse
        if arrival.is_whole or not data and arrival.received:
            return self.hand_over
        return None if data else self.drop

    def leave(self, conn: Connection) -> None:
        del self.arriving[conn]
        self.poller.unregister(conn.sock)

    def hand_over(self, conn: Connection) -> None:
        conn.hand_over()
        super().enqueue_req(conn)

    def drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def refuse(self, conn: Connection) -> None:
        self.nr_conns -= 1
        send_refusal(conn.sock, conn.arrival.refusal or 408)
        self.linger(conn)

    def linger(self, conn: Connection) -> None:
        """Close our side. gunicorn's own worker would wait here for the client's side, and keep everybody waiting."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_leftover, conn))
        except OSError:
            conn.close()
            return
        conn.ends_at = time.monotonic() + LINGER_SECONDS
        self.lingering[conn] = None
        if len(self.lingering) > MOST_LINGERING:
            self.forget(next(iter(self.lingering)))

    def on_leftover(self, conn: Connection, sock: socket.socket) -> None:
        try:
            if sock.recv(READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.forget(conn)

    def forget(self, conn: Connection) -> None:
        del self.lingering[conn]
        self.poller.unregister(conn.sock)
        conn.close()

    def murder_pending(self) -> None:
        """gunicorn calls this at every turn of its loop, and then accepts other clients if there is capacity."""
        now = time.monotonic()
        if self.nr_conns >= self.worker_connections:
            self.free_capacity()
        if now < self.next_look:
            return
        self.next_look = now + LOOK_SECONDS
        for conn in [each for each in self.lingering if each.ends_at <= now]:
            self.forget(conn)
        for conn in [each for each in self.arriving if self.is_late(each, now)]:
            self.leave(conn)
            act = self.refuse if conn.arrival.received else self.drop
            act(conn)

    def free_capacity(self) -> None:
        """When all connections are taken, drop the client that has kept us waiting longest.

        A request takes only milliseconds to arrive. A client that has just connected may be about to send one, so
        clients between two requests are dropped first, beginning with the one that was answered first. If there is
        work on every connection, nobody is dropped.
        """
        longest = next(iter(self.arriving), None)
        if self.keepalived_conns and (longest is None or self.seconds_waiting(longest) < self.SOON_SECONDS):
            answered = self.keepalived_conns.popleft()
            self.poller.unregister(answered.sock)
            self.drop(answered)
        elif longest is not None:
            self.leave(longest)
            self.drop(longest)

    def seconds_waiting(self, conn: Connection) -> float:
        return time.monotonic() - (conn.ends_at - self.ARRIVAL_SECONDS)

    def is_late(self, conn: Connection, now: float) -> bool:
        """Whether its time is up. A worker that stops waits for silent clients only as long as between two requests."""
        stops = not self.alive and not conn.arrival.received
        patience = self.ARRIVAL_SECONDS - STOP_KEEPALIVE_LINGER if stops else 0.0
        return conn.ends_at - max(0.0, patience) <= now

    # -- in a thread -------------------------------------------------------

    def handle_request(self, req: Any, conn: Connection) -> bool:
        conn.sock.settimeout(self.SEND_SECONDS)
        conn.parser.unreader.open()
        req.body.reader = Frames(req.body.reader)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            # The client does not read its answer.
            return False
        finally:
            conn.parser.unreader.shut()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """gunicorn's own method quotes what was sent, in the log and in the answer; this one does not."""
        fault = not isinstance(exc, ParseException)
        status = 500 if fault else STATUS_OF.get(type(exc), 400)
        fields = {"event": "request.unreadable", "status": status, "error": type(exc).__name__}
        self.log.log("ERROR" if fault else "INFO", "request refused", exc_info=exc if fault else None, extra=fields)
        send_refusal(client, status)


def send_refusal(client: socket.socket, status: int) -> None:
    """Answer in the shape of all our errors, but without Flask: there is no request that it could answer."""
    body = json.dumps({"errors": [entry(status)]}, separators=(",", ":")).encode()
    framing = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
    headers = {**framing, **HEADERS, "Content-Security-Policy": API_POLICY}
    lines = [f"HTTP/1.1 {status} {title_of(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    try:
        client.setblocking(False)
        client.send("\r\n".join([*lines, "", ""]).encode() + body)
    except OSError:
        return
