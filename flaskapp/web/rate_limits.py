"""How much anybody may ask for: so much a caller, so much an address, and few wrong log-ins.

Limits keep one caller from taking everybody's place; they are no wall against many addresses. Whoever is over one is
told how long to wait, and nothing was accepted. Names, accounts and addresses are counted under keyed digests.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import time

from flask import Flask, current_app, request
from redis import Redis

from flaskapp.config import Config
from flaskapp.config_readers import Rate
from flaskapp.redis_pool import bounded_pool
from flaskapp.web.errors import Problem
from flaskapp.web.rate_counter import Counts

CONNECTIONS = 1
PREFIX = "surefile:limit:"
# Whoever holds one IPv6 address holds its whole network.
IPV6_NETWORK = 64
# Watched by machines every few seconds; and what counts its callers itself, since a token's is not an address's.
NOT_BY_ADDRESS = frozenset({"health.live", "health.ready", "metrics.metrics", "va_notify.receive"})


def init_app(app: Flask, config: Config) -> None:
    redis = Redis(connection_pool=bounded_pool(config.redis_url, config.redis_verify_tls, CONNECTIONS))
    app.extensions["limits"] = Counts(redis, PREFIX)

    @app.before_request
    def before_anything_is_requested() -> None:
        if request.method != "OPTIONS" and request.endpoint not in NOT_BY_ADDRESS:
            count_address()


def count_address() -> None:
    """One request from this address; raises Problem 429 when it is one too many."""
    count("address", address(), settings().rate_limit_per_address)


def count_caller(kind: str, name: str) -> None:
    """One request of a caller who is known: call it once a request. Raises Problem 429 when it is one too many."""
    count(kind, name, settings().rate_limit_per_caller)


def count_webhook(token: str) -> None:
    """One call with this token; other services call for everybody at once. Raises Problem 429."""
    count("webhook", token, settings().rate_limit_per_webhook)


def count(kind: str, name: str, rate: Rate) -> None:
    """Count one for this name; raises Problem 429, saying how long to wait, when it is over its rate."""
    wait = counts().add(key_of(kind, name), rate)
    if wait is not None:
        raise Problem(429, headers=waiting(rate, wait))


def take_back(kind: str, name: str, rate: Rate) -> None:
    """Uncount what turned out to be no failure."""
    counts().add(key_of(kind, name), rate, -1)


def waiting(rate: Rate, seconds: float) -> dict[str, str]:
    """`X-RateLimit-Reset`, in epoch seconds, is what the front end's 429 page reads."""
    whole = max(1, math.ceil(seconds))
    return {
        "Retry-After": str(whole),
        "X-RateLimit-Limit": str(rate.amount),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + whole),
    }


def address() -> str:
    """Where the request comes from, as far as it can be believed (`TRUSTED_PROXIES`); IPv6 by its network."""
    try:
        found = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return request.remote_addr or "nowhere"
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((int(found), IPV6_NETWORK), strict=False))
    return str(found)


def key_of(kind: str, name: str) -> str:
    return f"{kind}:{hmac.digest(settings().digest_key.encode(), name.encode(), 'sha256').hex()}"


def counts() -> Counts:
    found: Counts = current_app.extensions["limits"]
    return found


def settings() -> Config:
    found: Config = current_app.extensions["config"]
    return found
