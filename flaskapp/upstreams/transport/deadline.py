"""Total time limits of upstream calls: a watchdog cuts the connection of any call that outlives its limit.

A read time-out bounds only one `recv`: headers or a body that arrive byte by byte would outlive it for ever. A call
also keeps the one fact that separates "nothing was done" from "it may have happened": whether a byte was written.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from requests import Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError

# Servers close idle connections after five seconds or more. If we close first, we never write into a connection that is
# just being closed: a write would be left unanswered only to save a handshake.
MOST_IDLE_SECONDS = 4.0


class TotalLimitPassed(OSError):
    """The call outlived its total limit and its connection was cut."""


class Call:
    """One request in flight: when it must be over, whether it was cut, and whether any of it was written."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.ends_at = time.monotonic() + seconds
        self.written = False
        self.cut = False
        self._line: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def is_late(self) -> bool:
        """Whether its time is up. If the watchdog wakes late, the socket's own limit, no shorter, is reached first."""
        return self.cut or time.monotonic() >= self.ends_at

    def hold(self, sock: socket.socket) -> None:
        """Keep a second handle on the connection.

        The first one is taken over by TLS during the handshake, and shutting a TLS socket down from another thread
        would let its reader go on in clear text.
        """
        with self._lock:
            self._close()
            self._line = socket.fromfd(sock.fileno(), sock.family, sock.type)
            if self.cut:
                self._shut()

    def about_to_write(self, sock: socket.socket) -> None:
        """Call before every piece of the request; raises TotalLimitPassed while that still means "not sent"."""
        if self.written:
            return
        if self.is_late:
            raise TotalLimitPassed
        self.hold(sock)
        # Otherwise the limit on connecting would also bound each piece of a large body.
        sock.settimeout(self._seconds)
        self.written = True

    def cut_off(self) -> None:
        with self._lock:
            self.cut = True
            self._shut()

    def over(self) -> None:
        with self._lock:
            self._close()

    def _shut(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class Watchdog:
    """One thread for all calls of the process, asleep until the nearest limit."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[Call] = set()
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[Call]:
        """The calling thread's requests inside this block share one total limit."""
        call = Call(seconds)
        self._add(call)
        _current.call = call
        try:
            yield call
        finally:
            _current.call = None
            with self._changed:
                self._calls.discard(call)
            call.over()

    def _add(self, call: Call) -> None:
        with self._changed:
            self._calls.add(call)
            # Checked each time, because a forked child inherits the object and not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="upstream-limits", daemon=True)
                self._thread.start()
            elif call.ends_at < self._wakes_at:
                self._changed.notify()

    def _watch(self) -> None:
        while True:
            for call in self._wait_for_due():
                call.cut_off()

    def _wait_for_due(self) -> list[Call]:
        with self._changed:
            self._wakes_at = min((call.ends_at for call in self._calls), default=float("inf"))
            wait = self._wakes_at - time.monotonic()
            if wait > 0:
                self._changed.wait(None if wait == float("inf") else wait)
            now = time.monotonic()
            due = [call for call in self._calls if call.ends_at <= now]
            self._calls.difference_update(due)
            return due


def connect_within(seconds: float, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect in a thread of its own, so that one limit covers name resolution and every address together.

    Raises TimeoutError at the limit; a connection that comes later is closed unused.
    """
    outcome: Future[socket.socket] = Future()

    def run() -> None:
        try:
            sock = connect()
        except Exception as error:
            if outcome.set_running_or_notify_cancel():
                outcome.set_exception(error)
        else:
            if outcome.set_running_or_notify_cancel():
                outcome.set_result(sock)
            else:
                sock.close()

    threading.Thread(target=run, name="upstream-connect", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.cancel():
            raise
    return outcome.result()


class LimitedHTTPConnection(HTTPConnection):
    """A connection that records on its call how far the call came."""

    _used_at = 0.0
    _tunnelling = False

    def _new_conn(self) -> socket.socket:
        call: Call = _current.call
        seconds = max(0.0, min(self.timeout or 0.0, call.ends_at - time.monotonic()))
        try:
            sock = connect_within(seconds, self._reach)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "not connected within the limit") from error
        call.hold(sock)
        return sock

    def _reach(self) -> socket.socket:
        return super()._new_conn()

    def _tunnel(self) -> None:
        # What is written here is addressed to the proxy; the upstream has seen nothing yet.
        self._tunnelling = True
        try:
            super()._tunnel()
        finally:
            self._tunnelling = False

    def send(self, data: Any) -> None:
        if not self._tunnelling:
            if self.sock is None:
                self.connect()
            _current.call.about_to_write(self.sock)
        super().send(data)

    def getresponse(self) -> Any:
        response = super().getresponse()
        self._used_at = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        rested = time.monotonic() - self._used_at
        return rested < MOST_IDLE_SECONDS and super().is_connected


class LimitedHTTPSConnection(LimitedHTTPConnection, HTTPSConnection):
    """The same over TLS. The handshake happens inside `connect`, before anything of the request is sent."""


class LimitedHTTPPool(HTTPConnectionPool):
    ConnectionCls = LimitedHTTPConnection


class LimitedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = LimitedHTTPSConnection


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL that has a path."""
    return url[: url.find("/", len("https://"))]


class BareResponse(Response):
    """A response that is asked for its status, its headers and its body."""

    _content_consumed = False
    history: Any = ()

    def __init__(self, status: int, headers: Any, raw: Any) -> None:
        self.status_code = status
        self.headers = headers
        self.raw = raw


class LimitedAdapter(HTTPAdapter):
    """Makes connections that know their call, directly or through a proxy.

    `requests` looks again at URL, TLS settings and proxies for every request, and at what only a browser wants of every
    answer. Here the first is kept for each host, and the second left out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._hosts: dict[tuple[str, Any], Any] = {}
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        key = (origin_of(request.url), verify)
        if key not in self._hosts:
            self._hosts[key] = self.build_connection_pool_key_attributes(request, verify, cert)
        host, tls = self._hosts[key]
        return self.poolmanager.connection_from_host(**host, pool_kwargs=tls)

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) if proxies else str(request.path_url)

    def build_response(self, req: Any, resp: Any) -> Response:
        return BareResponse(resp.status, resp.headers, resp)


_POOLS = {"http": LimitedHTTPPool, "https": LimitedHTTPSPool}
_current = threading.local()
WATCHDOG = Watchdog()
