"""Guard of the keys: nobody is served with keys that are not those of what is stored, and a row that no key opens is an
outage that passes, not a fault in the request."""

from __future__ import annotations

import logging

from cryptography.fernet import InvalidToken
from flask import Flask, Response, request

from flaskapp.keys.checks import KeyWatch, WrongKeys, key_watch
from flaskapp.web.errors import RETRY_AFTER_SECONDS, Problem, refuse, under_pages

log = logging.getLogger("flaskapp.web.key_guard")

# The right keys come with a restart, which takes longer than a new connection.
KEYS_RETRY_SECONDS = 60
UNGUARDED = frozenset({"health.live", "health.ready", "metrics.metrics", "static"})
CLOSED = (
    "We cannot open what is stored about you just now. The fault is ours: nothing is lost, and nothing you sent was"
    " accepted. Try again in some minutes."
)


def init_app(app: Flask) -> None:
    app.extensions["keys"] = KeyWatch(app.extensions["vault"])

    @app.before_request
    def guard() -> None:
        """Nothing is written before the keys were looked at once. The consoles stay open, to find out what is wrong."""
        if request.method == "OPTIONS" or request.endpoint in UNGUARDED or under_pages(app, request.path):
            return
        watch = key_watch()
        if watch.recent_fault() is not None:
            raise closed()
        if not watch.looked and request.method not in ("GET", "HEAD"):
            raise Problem(503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    @app.errorhandler(WrongKeys)
    def wrong_keys(error: WrongKeys) -> Response:
        log.error(error.fault.sentence, extra={"event": "keys.wrong"})
        return answered()

    @app.errorhandler(InvalidToken)
    def unreadable(error: InvalidToken) -> Response:
        log.error("what is stored cannot be opened", exc_info=error, extra={"event": "keys.cannot_open"})
        return answered()

    def answered() -> Response:
        problem = closed()
        return refuse(app, problem.status, [problem.entry], problem.headers)


def closed() -> Problem:
    return Problem(503, detail=CLOSED, code="KEYS", headers={"Retry-After": str(KEYS_RETRY_SECONDS)})
