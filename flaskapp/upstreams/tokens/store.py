"""Store for tokens that processes share: encrypted, in Redis, for which nobody waits longer than two seconds.

Redis may be down, slow or empty at any time. Every method then answers as if nothing were stored. After one failure
Redis is not called for a few seconds, so that one caller never waits for several time-outs.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry

from flaskapp.upstreams.errors import Unavailable, UpstreamError

logger = logging.getLogger(__name__)

REST_SECONDS = 5.0
_WAIT_SECONDS = 0.5
_ADDRESS = ("host", "port", "db", "username", "password", "credential_provider", "path")
_KINDS = {kind.__name__: kind for kind in UpstreamError.__subclasses__()}
_DELETE_IF_EQUAL = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_REMOVE_SELDOM = """
if redis.call('get', KEYS[1]) == ARGV[1] and redis.call('set', KEYS[2], 1, 'NX', 'EX', ARGV[2]) then
    return redis.call('del', KEYS[1])
end
return 0
"""


class ImpatientRedis:
    """A client of the same server as the given one, with one connection and short limits, for all stores of a process.

    The given client may be made for blocking reads, whose time-outs are far too long before a call. Callers take turns:
    waiting for a turn is not a failure of Redis, and a caller whose turn comes after a failure is answered at once.
    """

    def __init__(self, redis: Redis) -> None:
        given = redis.connection_pool
        kwargs = given.connection_kwargs
        address = {name: value for name, value in kwargs.items() if name in _ADDRESS or name.startswith("ssl_")}
        pool = ConnectionPool(
            connection_class=given.connection_class,
            socket_connect_timeout=_WAIT_SECONDS,
            socket_timeout=_WAIT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **address,
        )
        self._redis = Redis(connection_pool=pool)
        self._turn = threading.Lock()
        self._rests_until = 0.0

    def try_redis(self, question: Callable[[Redis], Any]) -> Any:
        """What Redis answers; None when it does not, or failed a few seconds ago."""
        with self._turn:
            if not self.reachable:
                return None
            try:
                return question(self._redis)
            except (RedisError, OSError) as error:
                self._rests_until = time.monotonic() + REST_SECONDS
                extra = {"event": "token.store_unreachable", "error": type(error).__name__}
                logger.warning("token.store_unreachable", extra=extra)
                return None

    @property
    def reachable(self) -> bool:
        """Whether Redis answered the last time, or enough time has passed to try again."""
        return time.monotonic() >= self._rests_until


class TokenStore:
    """One named token in Redis, with the lock of its refresher and the last refresher's failure."""

    def __init__(
        self, redis: ImpatientRedis, name: str, encrypt: Callable[[bytes], bytes], decrypt: Callable[[bytes], bytes]
    ) -> None:
        self._redis = redis
        self._key = f"surefile:token:{name}"
        self._encrypt = encrypt
        self._decrypt = decrypt

    def shared_token(self) -> tuple[str, float] | None:
        """The shared token and the seconds it has left."""
        found = self._redis.try_redis(self._value_and_rest)
        if not found or found[0] is None or found[1] <= 0:
            return None
        token = self._open(found[0])
        return None if token is None else (token, found[1] / 1000)

    def _value_and_rest(self, redis: Redis) -> list[Any]:
        pipeline = redis.pipeline(transaction=True)
        pipeline.get(self._key)
        pipeline.pttl(self._key)
        return pipeline.execute()

    def write(self, token: str, seconds: float) -> None:
        sealed = self._encrypt(token.encode())
        self._redis.try_redis(lambda redis: redis.set(self._key, sealed, px=max(1, int(seconds * 1000))))

    def remove(self, token: str, seconds: int) -> bool:
        """Remove the shared token if it is this one, unless one was removed so within these seconds."""
        sealed, mark = self._sealed(token), f"{self._key}:replaced"
        return sealed is not None and bool(
            self._redis.try_redis(lambda redis: redis.eval(_REMOVE_SELDOM, 2, self._key, mark, sealed, seconds))
        )

    def _sealed(self, token: str) -> bytes | None:
        """The stored form of this token if it is the shared one."""
        sealed: bytes | None = self._redis.try_redis(lambda redis: redis.get(self._key))
        return sealed if sealed is not None and self._open(sealed) == token else None

    def lock(self, seconds: float) -> str | None:
        """Become the only refresher of all processes; None while there is another."""
        owner = secrets.token_hex(16)
        taken = self._redis.try_redis(lambda redis: redis.set(self._lock_key, owner, nx=True, px=int(seconds * 1000)))
        return owner if taken else None

    def unlock(self, owner: str) -> None:
        self._delete_if_equal(self._lock_key, owner.encode())

    def owner(self) -> str | None:
        owner = self._redis.try_redis(lambda redis: redis.get(self._lock_key))
        return owner.decode() if owner else None

    def note_failure(self, owner: str, error: UpstreamError) -> None:
        """Store the failure for those who wait for this owner's refresh."""
        noted = json.dumps([type(error).__name__, vars(error)])
        self._redis.try_redis(lambda redis: redis.set(f"{self._key}:failure:{owner}", noted, ex=30))

    def failure_of(self, owner: str) -> UpstreamError | None:
        noted = self._redis.try_redis(lambda redis: redis.get(f"{self._key}:failure:{owner}"))
        if not noted:
            return None
        kind, values = json.loads(noted)
        return _KINDS.get(kind, Unavailable)(**values)

    @property
    def reachable(self) -> bool:
        """Whether a token that is not found is really not there."""
        return self._redis.reachable

    @property
    def _lock_key(self) -> str:
        return f"{self._key}:refresher"

    def _delete_if_equal(self, key: str, value: bytes) -> None:
        self._redis.try_redis(lambda redis: redis.eval(_DELETE_IF_EQUAL, 1, key, value))

    def _open(self, sealed: bytes) -> str | None:
        """The token; None for what our keys cannot decrypt: retired keys, or somebody else's bytes."""
        try:
            return self._decrypt(sealed).decode()
        except Exception:
            logger.warning("token.unreadable", extra={"event": "token.unreadable"})
            return None
