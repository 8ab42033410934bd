"""Worker class for gunicorn that slow and silent clients cannot block: no thread waits for a request to arrive.

gunicorn's own threaded worker gives each connection a thread for five seconds before a byte has come, reads heads and
bodies without a time limit, and closes connections from its main loop with up to two seconds for each. A few dozen
silent clients keep everybody out. Here the main loop collects each request, and the few threads that read large
bodies have a time limit. The main loop also answers whether the process lives: every thread may be taken.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from flaskapp.logs import REQUEST_ID
from flaskapp.web import liveness, passthrough
from flaskapp.web.balance import Balance
from flaskapp.web.cross_origin import API_POLICY, HEADERS
from flaskapp.web.errors import entry, title_of
from flaskapp.web.slow_bodies import BodyReader, Frames
from flaskapp.web.threads import shares_of

READ_BYTES = 64 * 1024
# The largest request that the main loop collects. This limit, times `worker_connections`, is the memory that strangers
# can fill.
MOST_BYTES = 128 * 1024
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?:\r|$)", re.IGNORECASE)
# The client waits for `100 Continue`, and only a thread sends that.
EXPECTS = re.compile(rb"\r\nexpect:", re.IGNORECASE)
# For this long we read and drop what a client still sends, so that it can read our answer before the connection ends.
LINGER_SECONDS = 2.0
STATUS_OF = {
    LimitRequestLine: 414,
    ExpectationFailed: 417,
    LimitRequestHeaders: 431,
    UnsupportedTransferCoding: 501,
}


class Connection(TConn):
    """One client's connection. The main loop waits for the client from `since` until `ends_at` (both monotonic)."""

    def __init__(self, worker: PatientWorker, client: socket.socket, address: Any, server: Any) -> None:
        super().__init__(worker.cfg, client, address, server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, worker.SEND_BUFFER_BYTES)
        self.worker = worker
        self.reader = worker.body_reader(client)
        self.received = bytearray()
        self.since = self.ends_at = self.arrived_at = 0.0

    def init(self) -> None:
        super().init()
        assert self.parser is not None
        self.parser.unreader = self.reader

    def read(self) -> bytes | None:
        """The bytes that have arrived: None when there are none yet, empty when the client has closed."""
        try:
            return self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            super().close()


class PatientWorker(ThreadWorker):
    """The `worker_class` in gunicorn.conf.py.

    `wait_for_and_dispatch_events`, `set_accept_enabled`, `accept`, `enqueue_req`, `murder_pending`, `handle_request`
    and `handle_error` override gunicorn's methods.
    """

    ARRIVAL_SECONDS = 15.0
    # A client that means to send a request has begun to send it by then.
    SOON_SECONDS = 1.0
    SEND_SECONDS = 60.0
    # An answer up to this size leaves its thread at once, however slowly the client reads it.
    SEND_BUFFER_BYTES = 256 * 1024
    BODY_PATIENCE_SECONDS = 20.0
    BODY_BYTES_A_SECOND = 16 * 1024

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The connections on which the main loop waits for a request or for the client to close, the oldest first.
        self.waiting: dict[Connection, None] = {}
        self.slots = threading.Semaphore(shares_of(self.cfg.threads).bodies)
        self.balance = Balance(self.ppid, self.age)

    def load_wsgi(self) -> None:
        """gunicorn calls this in the new process, before it accepts anybody."""
        super().load_wsgi()
        begin: Callable[[], None] = getattr(self.wsgi, "extensions", {}).get("at_web_start", lambda: None)
        begin()

    def body_reader(self, sock: socket.socket) -> BodyReader:
        return BodyReader(sock, self.slots, self.BODY_PATIENCE_SECONDS, self.BODY_BYTES_A_SECOND)

    # -- in the main loop --------------------------------------------------

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        if self.alive:
            self.balance.tell(self.nr_conns)
        yields_for = self.balance.yields_for
        super().wait_for_and_dispatch_events(min(timeout, yields_for) if yields_for > 0 else timeout)

    def set_accept_enabled(self, enabled: bool) -> None:
        if not self.alive:
            self.balance.leave()
        super().set_accept_enabled(enabled and self.balance.yields_for <= 0)

    def accept(self, listener: socket.socket) -> None:
        """Accept one client, unless another process should. A client that left before it was accepted is not an
        error."""
        if self.balance.lets_go_first(self.nr_conns):
            self.set_accept_enabled(False)
            return
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self, client, address, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """gunicorn calls this when a part of a request may have arrived. Threads get only whole requests."""
        conn.received += conn.reader.take_buffered()
        conn.sock.setblocking(False)
        if not self.on_bytes(conn):
            self.wait_for(conn, self.ARRIVAL_SECONDS, self.on_bytes)

    def on_bytes(self, conn: Connection, _sock: socket.socket | None = None) -> bool:
        """Read what has arrived; whether the main loop need not wait for more."""
        data = conn.read()
        conn.received += data or b""
        if question := liveness.read_question(conn.received):
            self.say_alive(conn, question)
        elif is_whole(conn.received) or data == b"" and conn.received:
            self.forget(conn)
            conn.data_ready = True
            conn.arrived_at = time.monotonic()
            conn.reader.unread(bytes(conn.received))
            conn.received.clear()
            super().enqueue_req(conn)
        elif data == b"":
            self.drop(conn)
        elif len(conn.received) > MOST_BYTES:
            self.refuse(conn, 431)
        else:
            return False
        return True

    def say_alive(self, conn: Connection, headers: Mapping[str, str]) -> None:
        self.forget(conn)
        conn.received.clear()
        conn.init()
        stays = headers.get("connection", "keep-alive").lower() == "keep-alive"
        stays = stays and self.alive and len(self.keepalived_conns) < self.max_keepalived
        offered = headers.get("x-request-id", "")
        request_id = offered if REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        kept = {"Connection": "keep-alive" if stays else "close", "X-Request-Id": request_id}
        answered: Future[bool] = Future()
        answered.set_result(send_json(conn.sock, 200, liveness.ALIVE, kept) and stays)
        self.finish_request(conn, answered)

    def wait_for(self, conn: Connection, seconds: float, act: Callable[[Connection, socket.socket], Any]) -> None:
        conn.sock.setblocking(False)
        conn.since = time.monotonic()
        conn.ends_at = conn.since + seconds
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(act, conn))
        self.waiting[conn] = None

    def forget(self, conn: Connection) -> None:
        if conn in self.waiting:
            del self.waiting[conn]
            self.poller.unregister(conn.sock)

    def drop(self, conn: Connection) -> None:
        self.forget(conn)
        self.nr_conns -= 1
        conn.close()

    def refuse(self, conn: Connection, status: int) -> None:
        self.forget(conn)
        self.nr_conns -= 1
        send_refusal(conn.sock, status)
        self.linger(conn)

    def linger(self, conn: Connection) -> None:
        """Close our side. gunicorn's own worker would wait here for the client's side, and keep everybody waiting."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        self.nr_conns += 1
        conn.received.clear()
        self.wait_for(conn, LINGER_SECONDS, self.on_leftover)

    def on_leftover(self, conn: Connection, _sock: socket.socket) -> None:
        if conn.read() == b"":
            self.drop(conn)

    def murder_pending(self) -> None:
        """gunicorn calls this at every turn of its loop, and then accepts other clients if there is capacity.

        When all connections are taken, it drops the client that was answered longest ago, or else the one that has
        kept us waiting longest. A client that has just connected stays: its request takes only milliseconds to arrive.
        If there is work on every connection, nobody is dropped.
        """
        now = time.monotonic()
        soon = now - self.SOON_SECONDS
        if self.nr_conns >= self.worker_connections:
            longest = next(iter(self.waiting), None)
            if self.keepalived_conns:
                self.keepalived_conns[0].timeout = now
                self.murder_keepalived()
            elif longest is not None and longest.since < soon:
                self.drop(longest)
        for conn in list(self.waiting):
            if conn.received and conn.ends_at <= now:
                self.refuse(conn, 408)
            elif conn.ends_at <= now or not (self.alive or conn.received) and conn.since < soon:
                self.drop(conn)

    # -- in a thread -------------------------------------------------------

    def handle_request(self, req: Any, conn: Connection) -> bool:
        conn.sock.settimeout(self.SEND_SECONDS)
        conn.reader.open()
        body = req.body.reader = Frames(req.body.reader)
        asked_to_close = req.should_close
        passthrough.arrived_at.set(conn.arrived_at)
        # gunicorn asks this before it writes the head of the answer, and drops a `Connection` header of the
        # application's. Refused without being read, a large body would end the connection behind a "keep-alive".
        sheds = self.balance.sheds()
        req.should_close = lambda: sheds or asked_to_close() or body.unread_bytes > conn.reader.discardable_bytes
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            # The client does not read its answer.
            return False
        finally:
            del req.should_close
            conn.reader.shut()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """gunicorn's own method quotes what was sent, in the log and in the answer; this one does not."""
        fault = not isinstance(exc, ParseException)
        status = 500 if fault else STATUS_OF.get(type(exc), 400)
        fields = {"event": "request.unreadable", "status": status, "error": type(exc).__name__}
        self.log.log("ERROR" if fault else "INFO", "request refused", exc_info=exc if fault else None, extra=fields)
        send_refusal(client, status)


def is_whole(received: bytearray) -> bool:
    """Whether a thread can take the request. The bytes are not interpreted: only gunicorn parses.

    A wrong guess does no harm. If it comes too early, the thread may not wait for the rest. If it never comes, the time
    limit ends the request. A body that is too large to collect, or has no announced length, is read by a thread.
    """
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = None if EXPECTS.search(head) else LENGTH.search(head)
    announced = int(length[1]) if length else 0
    return len(body) >= announced or len(head) + announced > MOST_BYTES


def send_refusal(client: socket.socket, status: int) -> None:
    """Answer in the shape of all our errors, but without Flask: there is no request that it could answer."""
    send_json(client, status, {"errors": [entry(status)]}, {"Connection": "close"})


def send_json(client: socket.socket, status: int, content: Any, more_headers: Mapping[str, str]) -> bool:
    """Whether the kernel took the whole answer; nobody waits until it does."""
    body = json.dumps(content, separators=(",", ":")).encode()
    framing = {"Content-Type": "application/json", "Content-Length": len(body), **more_headers}
    headers = {**framing, **HEADERS, "Content-Security-Policy": API_POLICY}
    lines = [f"HTTP/1.1 {status} {title_of(status)}", *(f"{name}: {value}" for name, value in headers.items())]
    answer = "\r\n".join([*lines, "", ""]).encode() + body
    try:
        client.setblocking(False)
        return client.send(answer) == len(answer)
    except OSError:
        return False
