"""Rate limits: for each caller, for each address, and for wrong log-ins.

They keep one caller from taking everybody's capacity; they cannot stop many addresses at once. A request over its
limit is answered with the time to wait, and nothing of it was accepted. Names, accounts and addresses are counted
under keyed digests.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import re
import time
from functools import lru_cache

from flask import Flask, current_app, request

from flaskapp.config import Config
from flaskapp.config_readers import Rate
from flaskapp.web.errors import Problem
from flaskapp.web.rate_counter import Counts

# A client with one IPv6 address has its whole network, so the network is counted.
IPV6_NETWORK = 64
# Some proxies write the caller's port into `X-Forwarded-For`. Counted with it, every connection would be a new caller.
WITH_PORT = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::\d+)?|(?P<four>[0-9.]+):\d+")
# Health and metrics are read by machines every few seconds; the callbacks count by token, not by address.
NOT_BY_ADDRESS = frozenset({"health.live", "health.ready", "metrics.metrics", "va_notify.receive"})


def init_app(app: Flask, config: Config) -> None:
    app.extensions["limits"] = Counts()

    @app.before_request
    def limit_address() -> None:
        if request.method != "OPTIONS" and request.endpoint not in NOT_BY_ADDRESS:
            count_address()


def count_address() -> None:
    """Count one request from this address; raises Problem 429 when it is one too many."""
    count("address", address(), settings().rate_limit_per_address)


def count_caller(kind: str, name: str) -> None:
    """Count one request of a known caller, once in each request. Raises Problem 429 when it is one too many."""
    count(kind, name, settings().rate_limit_per_caller)


def count_webhook(token: str) -> None:
    """Count one call with this token, by which a service calls for everybody; raises Problem 503 over the rate.

    A 429 would lose the call: VANotify repeats a callback after a 5xx only (contract: travel 6.6).
    """
    count("webhook", token, settings().rate_limit_per_webhook, status=503)


def count(kind: str, name: str, rate: Rate, status: int = 429) -> None:
    """Count one for this name; raises a Problem, saying how long to wait, when it is over its rate."""
    wait = counts().add(key_of(kind, name), rate)
    if wait is not None:
        raise Problem(status, headers=waiting(rate, wait))


def take_back(kind: str, name: str, rate: Rate) -> None:
    """Subtract one hit: it turned out to be no failure."""
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
    """Where the request comes from, as far as that can be trusted (`TRUSTED_PROXIES`); IPv6 by its network."""
    return counted_as(request.remote_addr or "")


@lru_cache(1_000)
def counted_as(remote: str) -> str:
    written = WITH_PORT.fullmatch(remote)
    try:
        found = ipaddress.ip_address((written["six"] or written["four"]) if written else remote)
    except ValueError:
        return remote or "nowhere"
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
