"""The one rate limiter. It counts in Redis, for all processes together, and in memory while Redis is away."""

from __future__ import annotations

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from flaskapp.config import Config
from flaskapp.redis_pool import bounded_pool

CONNECTIONS = 2

limiter = Limiter(
    get_remote_address,
    # X-RateLimit-Reset in epoch seconds is what the front end's 429 page reads.
    headers_enabled=True,
    in_memory_fallback_enabled=True,
    swallow_errors=True,
    strategy="fixed-window",
    key_prefix="surefile",
)


def init_app(app: Flask, config: Config) -> None:
    # The pool knows the address; the URI only names the kind of storage.
    app.config["RATELIMIT_STORAGE_URI"] = "redis://"
    pool = bounded_pool(config.redis_url, config.redis_verify_tls, CONNECTIONS)
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": pool}
    limiter.init_app(app)
