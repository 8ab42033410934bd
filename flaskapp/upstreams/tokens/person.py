"""Cache of tokens that each speak for one person, shared by every process like the tokens that speak for us.

There are many people but few upstreams, so a process remembers only the people that it served last.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial

from flaskapp.upstreams.tokens.cache import FetchedToken, TokenCache
from flaskapp.upstreams.tokens.store import ImpatientRedis

MOST_REMEMBERED = 1000


@dataclass(frozen=True)
class Traveler:
    """The signed-in person a call is made for. Kept out of every repr, and so out of logs."""

    account_id: str = field(repr=False)
    icn: str = field(repr=False)
    email: str = field(repr=False)


class PersonTokens:
    """A TokenCache for each person, with its guarantees: one exchange, however many callers and processes want it.

    `name` is the upstream's; `redis`, `encrypt`, `decrypt` and `fetch_seconds` are those of a TokenCache.
    """

    def __init__(
        self,
        redis: ImpatientRedis,
        name: str,
        fetch: Callable[[Traveler], FetchedToken],
        *,
        encrypt: Callable[[bytes], bytes],
        decrypt: Callable[[bytes], bytes],
        digest_key: str,
        fetch_seconds: float,
    ) -> None:
        self._digest_key = digest_key.encode()
        cache = partial(TokenCache, redis, name, encrypt=encrypt, decrypt=decrypt, fetch_seconds=fetch_seconds)

        @lru_cache(MOST_REMEMBERED)
        def cache_of(traveler: Traveler) -> TokenCache:
            return cache(fetch=partial(fetch, traveler), holder=self._holder(traveler))

        self._cache_of = cache_of
        self._mutex = threading.Lock()

    def get(self, traveler: Traveler) -> str:
        """That person's token. Raises what the fetch raises, to every caller that waits for it."""
        return self._of(traveler).get()

    def replace(self, traveler: Traveler, token: str) -> str:
        """Another token of that person than this refused one, as `TokenCache.replace` gives it."""
        return self._of(traveler).replace(token)

    def _of(self, traveler: Traveler) -> TokenCache:
        # Two threads at once would make two caches of one person, and those would exchange twice.
        with self._mutex:
            return self._cache_of(traveler)

    def _holder(self, traveler: Traveler) -> str:
        """Whose token it is, as a keyed digest.

        All three parts count: an account that now belongs to another person must not get the first person's token.
        """
        parts = (part.encode() for part in (traveler.account_id, traveler.icn, traveler.email))
        message = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return hmac.new(self._digest_key, message, hashlib.sha256).hexdigest()
