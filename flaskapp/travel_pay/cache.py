"""Cache of Travel Pay's answers to a person, if the setting allows it: encrypted, only for that person, and dated.

The key contains the time at which their claims last moved here, so that nothing read before a write is ever shown after
it. Redis may be away or empty at any time; then everything is read again.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from redis import Redis
from redis.exceptions import RedisError

from flaskapp import clock
from flaskapp.crypto import vault
from flaskapp.current import settings
from flaskapp.db import db, transaction
from flaskapp.travel_pay.service import last_change
from flaskapp.web.errors import Problem

log = logging.getLogger("flaskapp.travel_pay.cache")

# Shown when a fresh answer cannot be had, and then marked with its age.
STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Shown:
    """An answer to show, and the age of what it says. `stale`: a newer one was wanted but could not be read."""

    value: Any
    age_seconds: int = 0
    stale: bool = False


def remembered(
    account_id: uuid.UUID, question: str, fetch: Callable[[], Any], is_whole: Callable[[Any], bool]
) -> Shown:
    """The answer to a person's question: from the cache, or from `fetch`, which returns JSON or raises Problem.

    An older answer replaces a failure of the upstream, never a refusal. Only whole answers are kept.
    """
    keep_seconds = settings().travel_pay_cache_seconds
    if keep_seconds == 0:
        return Shown(fetch())
    key = key_of(account_id, question)
    kept = read_cached(key)
    if kept is not None and kept.age_seconds < keep_seconds:
        return kept
    try:
        answered = fetch()
    except Problem as problem:
        if kept is None or problem.status < 429:
            raise
        return Shown(kept.value, kept.age_seconds, stale=True)
    if is_whole(answered):
        write(key, answered, keep_seconds + STALE_SECONDS)
    return Shown(answered)


def key_of(account_id: uuid.UUID, question: str) -> str:
    with transaction() as session:
        changed = last_change(session, account_id)
    db.session.remove()
    return f"surefile:travel_pay:{vault().digest(str(account_id), question, str(changed))}"


def read_cached(key: str) -> Shown | None:
    try:
        sealed: Any = redis().get(key)
        if sealed is None:
            return None
        kept = json.loads(vault().decrypt(sealed))
    except (RedisError, OSError):
        return None
    except Exception:
        # Encrypted with a retired key, or somebody else's bytes.
        log.warning("cache.unreadable", extra={"event": "travel_pay.cache_unreadable"})
        return None
    age = (clock.now() - datetime.fromisoformat(kept["at"])).total_seconds()
    return Shown(kept["value"], max(0, int(age)))


def write(key: str, value: Any, seconds: float) -> None:
    sealed = vault().encrypt(json.dumps({"at": clock.now().isoformat(), "value": value}))
    try:
        redis().set(key, sealed, px=int(seconds * 1000))
    except (RedisError, OSError):
        log.warning("cache.away", extra={"event": "travel_pay.cache_away"})


def redis() -> Redis:
    found: Redis = current_app.extensions["redis"]
    return found
