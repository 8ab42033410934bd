"""The base of every fake upstream: an app, fault switches, a journal, knobs, and the token check."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, ClassVar

from flask import Blueprint, Flask, Response, json, request
from werkzeug.exceptions import HTTPException

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.journal import Journal
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.switches import Faults
from sandbox.upstreams.tokens import Tokens


class BadRequest(ValueError):
    """An admin call that makes no sense. The text says why."""


def answer(body: Any, status: int = 200) -> Response:
    """JSON with its keys in the order given, as the real services send it."""
    return Response(json.dumps(body, sort_keys=False), status, content_type="application/json")


def json_body() -> dict[str, Any]:
    """The request's JSON object; an empty one when it is anything else."""
    body = request.get_json(force=True, silent=True)
    return body if isinstance(body, dict) else {}


class Fake:
    """One fake upstream. `name` is its name in URLs, settings and the command line."""

    name: ClassVar[str] = ""

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.settings = settings
        self.cast = cast
        self.faults = Faults()
        self.received = Journal()
        self.lock = threading.RLock()
        self.knobs = self.first_knobs()
        self.app = Flask(__name__, static_folder=None)
        self.app.register_error_handler(HTTPException, self._problem)
        self.routes()

    def first_knobs(self) -> Any:
        """A dataclass of what can be changed while the fake runs."""
        raise NotImplementedError

    def routes(self) -> None:
        raise NotImplementedError

    def admin_routes(self, admin: Blueprint) -> None:
        """More admin routes, for fakes that have more to show or to add."""

    def error_body(self, status: int, text: str) -> Any:
        """An error as this upstream words it, for faults and for what Flask itself refuses."""
        return {"message": text}

    def turn(self, changes: dict[str, Any]) -> None:
        """Change knobs; raises BadRequest naming one that does not exist or cannot have that value."""
        try:
            with self.lock:
                self.knobs = replace(self.knobs, **changes)
        except (TypeError, ValueError) as error:
            raise BadRequest(str(error)) from None

    def reset(self) -> None:
        with self.lock:
            self.faults.clear()
            self.received.reset()
            self.knobs = self.first_knobs()

    def close(self) -> None:
        """Stop what runs in the background."""

    def bearer(self, tokens: Tokens) -> str | None:
        """The holder of the bearer token sent; None without a live one. An `expire` fault kills it first."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        if "expire" in request.environ.get("sandbox.faults", {}):
            tokens.revoke(token)
        return tokens.holder(token)

    def _problem(self, error: HTTPException) -> Response:
        status = error.code or 500
        return answer(self.error_body(status, error.description or error.name), status)
