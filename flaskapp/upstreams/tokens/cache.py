"""Cache of access tokens, shared by every process and refreshed by one caller at a time.

A token service that is slow or failing must get one request, not one for each waiting job. And a job must get its
token, or the refresher's error, even when Redis is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, TypeVar

from flaskapp.upstreams.errors import Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.tokens.store import ImpatientRedis, TokenStore
from flaskapp.upstreams.transport.http import seconds_left

T = TypeVar("T")
_POLL_SECONDS = 0.05
REPLACE_SECONDS = 60


class Tokens(Protocol):
    def get(self) -> str: ...
    def replace(self, token: str) -> str: ...


def with_token(tokens: Tokens, call: Callable[[str], T]) -> T:
    """Make the call. If its token is refused and another can be had, call once more with that."""
    token = tokens.get()
    try:
        return call(token)
    except Unauthorized:
        another = tokens.replace(token)
        if another == token:
            raise
    return call(another)


@dataclass(frozen=True)
class FetchedToken:
    """A token as its service gave it; `expires_in` is in seconds from now."""

    value: str
    expires_in: float

    @property
    def usable_seconds(self) -> float:
        """Its lifetime less a margin of a tenth, at most a minute: a call begun with it must also end with it."""
        return self.expires_in - min(60.0, self.expires_in / 10)


def renewed(error: UpstreamError) -> UpstreamError:
    """A copy for each waiter: an error raised in two threads would mix their tracebacks."""
    return type(error)(**vars(error))


class TokenCache:
    """`get()` answers from Redis, or fetches; `replace(token)` is for a token that was refused.

    The caches of a process share `redis`, and with it its one connection. `fetch_seconds` is the total limit of one
    `fetch`: a refresher silent for longer has died. Without Redis the process keeps its own copy. `holder` names one of
    several tokens of the same upstream; it is readable in Redis.
    """

    def __init__(
        self,
        redis: ImpatientRedis,
        name: str,
        fetch: Callable[[], FetchedToken],
        *,
        encrypt: Callable[[bytes], bytes],
        decrypt: Callable[[bytes], bytes],
        fetch_seconds: float,
        holder: str = "",
    ) -> None:
        self._store = TokenStore(redis, f"{name}:{holder}" if holder else name, encrypt, decrypt)
        self._name = name
        self._fetch = fetch
        self._lock_seconds = fetch_seconds + 5
        self._mutex = threading.Lock()
        self._flight: Future[str] | None = None
        self._copy: tuple[str, float] | None = None
        self._forgotten: str | None = None
        self._keeps_until = 0.0

    def get(self) -> str:
        """A token that is still usable. Raises what the fetch raises, to every caller that waits for it."""
        return self._known() or self._refresh()

    def replace(self, token: str) -> str:
        """Another token than this refused one; the same one while no other can be had.

        A refusal may be about one person or one claim, whatever it says of the token. So a token is replaced at most
        once in `REPLACE_SECONDS` by all processes: one person's trouble must not cost everybody a token with each call.
        Raises what `get` does.
        """
        copy = self._copy
        removed = self._store.remove(token, REPLACE_SECONDS) if self._store.reachable else self._forget(token)
        try:
            another = self.get()
        finally:
            self._forgotten = None
        if removed and another == token and copy:
            self._store.write(token, copy[1] - time.monotonic())
        return another

    def _forget(self, token: str) -> bool:
        """The same without Redis: only this process can know how long ago it was."""
        now = time.monotonic()
        with self._mutex:
            if now < self._keeps_until or not self._copy or self._copy[0] != token:
                return False
            self._forgotten, self._keeps_until = token, now + REPLACE_SECONDS
        return True

    def _known(self) -> str | None:
        """The token in Redis. An empty Redis means dropped or flushed; if it is down, only our own copy is left."""
        shared = self._store.shared_token()
        if shared:
            self._keep(*shared)
            return shared[0]
        own = None if self._store.reachable else self._own()
        return None if own == self._forgotten else own

    def _own(self) -> str | None:
        with self._mutex:
            copy = self._copy
        return copy[0] if copy and time.monotonic() < copy[1] else None

    def _keep(self, token: str, seconds: float) -> None:
        with self._mutex:
            self._copy = (token, time.monotonic() + seconds)

    def _refresh(self) -> str:
        """Fetch in one thread of the process; the others wait for its outcome."""
        with self._mutex:
            flight = self._flight
            leads = flight is None
            if flight is None:
                flight = self._flight = Future()
        if leads:
            return self._lead(flight)
        try:
            failure = flight.exception(seconds_left(2 * self._lock_seconds))
        except TimeoutError:
            raise Unavailable(self._name, "no token in time", timed_out=True) from None
        if isinstance(failure, UpstreamError):
            raise renewed(failure)
        return flight.result()

    def _lead(self, flight: Future[str]) -> str:
        token: str | None = None
        failure: UpstreamError = Unavailable(self._name, "the token refresh broke off")
        try:
            token = self._fetch_or_wait()
        except UpstreamError as error:
            # A flushed Redis forgets a token that still works: our own copy of it is better than no token.
            token, failure = self._own(), error
            if token is None:
                raise
        finally:
            with self._mutex:
                self._flight = None
            if token is None:
                flight.set_exception(failure)
            else:
                flight.set_result(token)
        return token

    def _fetch_or_wait(self) -> str:
        """Fetch as the only refresher of all processes, or take the outcome of the present one."""
        while True:
            owner = self._store.lock(self._lock_seconds)
            if owner or not self._store.reachable:
                return self._fetch_as(owner)
            token = self._wait_for_neighbour()
            if token:
                return token

    def _fetch_as(self, owner: str | None) -> str:
        """Look once more, since somebody may have finished just before we took the lock; then fetch."""
        try:
            return self._known() or self._fetch_and_keep()
        except UpstreamError as error:
            if owner:
                self._store.note_failure(owner, error)
            raise
        finally:
            if owner:
                self._store.unlock(owner)

    def _fetch_and_keep(self) -> str:
        fetched = self._fetch()
        if fetched.usable_seconds > 0:
            self._keep(fetched.value, fetched.usable_seconds)
            self._store.write(fetched.value, fetched.usable_seconds)
        return fetched.value

    def _wait_for_neighbour(self) -> str | None:
        """The other refresher's token; raises its failure. None when its lock is gone without either: try again."""
        owner, ends_at = self._store.owner(), time.monotonic() + seconds_left(2 * self._lock_seconds)
        while owner and self._store.owner() == owner:
            if time.monotonic() > ends_at:
                raise Unavailable(self._name, "no token in time", timed_out=True)
            time.sleep(_POLL_SECONDS)
        token = self._known()
        failure = self._store.failure_of(owner) if owner and not token else None
        if failure:
            raise failure
        return token
