"""Error answers in one shape: the `errors[]` list that the front end reads, never HTML, never a person's data.

The consoles are read by people, so their path prefixes are registered and their errors are pages in plain words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, make_response, render_template, request
from marshmallow import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from flaskapp.config import Config
from flaskapp.db import is_passing
from flaskapp.logs import request_id
from flaskapp.web.inflection import answer, camel_wanted, to_camel
from flaskapp.web.shapes import TEXT, listed, said, thing
from outbox import away

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
CHALLENGE = 'Token realm="Application"'

# Our own texts, never the exception's: those may repeat what the caller sent.
DETAILS = {
    400: "The request could not be read.",
    401: "Sign in and try again.",
    403: "You are not allowed to do this.",
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    408: "The request did not arrive in time; send it again.",
    409: "This is in conflict with what is stored.",
    413: "The request is larger than is accepted here.",
    415: "Send the body as application/json.",
    422: "Something in the request has to be corrected.",
    429: "Too many requests; wait and try again.",
    500: "The fault is ours. Nothing you sent needs to change; try again later.",
    503: "The service cannot answer just now. Try again in a few seconds.",
}
# The shape of every error answer, as JSON schema.
ERRORS_SHAPE = thing(
    "Errors",
    {
        "errors": listed(
            thing(
                "Error",
                {
                    "title": TEXT,
                    "detail": said(TEXT, "What is wrong and what to do; shown to people."),
                    "code": said(TEXT, "Which refusal it is: docs/errors.md lists them all."),
                    "status": said(TEXT, "The HTTP status, as text."),
                },
                {
                    "source": thing("ErrorSource", {"pointer": said(TEXT, "What in the body it is about.")}),
                    "meta": thing("ErrorMeta", {"request_id": said(TEXT, "As in `X-Request-Id`.")}),
                },
            )
        )
    },
)


class Problem(Exception):
    """A refusal, with its answer.

    `status` is the HTTP status; title and detail default to plain words for it, `code` to its digits. `source` is a
    JSON pointer into the request body, in snake case. Title and detail are shown to people and must hold no personal
    data.
    """

    def __init__(
        self,
        status: int,
        title: str | None = None,
        detail: str | None = None,
        code: str | None = None,
        source: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code or ''}".strip())
        self.status = status
        self.entry = entry(status, title, detail, code, source)
        self.headers = dict(headers or {})


def entry(
    status: int, title: str | None = None, detail: str | None = None, code: str | None = None, source: str | None = None
) -> dict[str, Any]:
    """One item of `errors[]`. The front end compares `status` as text."""
    title = title or title_of(status)
    item: dict[str, Any] = {"title": title, "detail": detail or DETAILS.get(status, title)}
    item |= {"code": code or str(status), "status": str(status)}
    if source is not None:
        item["source"] = {"pointer": source}
    return item


def title_of(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def spelled(pointer: str) -> str:
    """The pointer in the spelling that the caller uses: it names the caller's own keys."""
    return to_camel(pointer) if camel_wanted() else pointer


def add_page_prefix(app: Flask, prefix: str) -> None:
    """Everything under this path is read by people in a browser: pages for errors, no cross-origin calls."""
    app.extensions.setdefault("page_prefixes", set()).add(prefix)


def under_pages(app: Flask, path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in app.extensions.get("page_prefixes", ()))


def page_wanted(app: Flask) -> bool:
    """Whether to answer with a page. Scripts on the pages send `X-Requested-With` or read `.json`, and want JSON."""
    by_script = request.headers.get("X-Requested-With") == "XMLHttpRequest" or request.path.endswith(".json")
    return under_pages(app, request.path) and not by_script


def refuse(
    app: Flask, status: int, entries: Iterable[dict[str, Any]], headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for these entries: JSON, or a page where a person reads it."""
    all_headers = dict(headers or {})
    if status == 401:
        all_headers.setdefault("WWW-Authenticate", CHALLENGE)
    if page_wanted(app):
        return page(status, list(entries), all_headers)
    return answer({"errors": [addressed(item) for item in entries]}, status, all_headers)


def addressed(item: dict[str, Any]) -> dict[str, Any]:
    """The entry for this request: with its id, and its pointer in the caller's spelling."""
    source = {"source": {"pointer": spelled(item["source"]["pointer"])}} if "source" in item else {}
    return item | source | {"meta": {"request_id": request_id()}}


def page(status: int, entries: list[dict[str, Any]], headers: Mapping[str, str]) -> Response:
    html = render_template("problem.html", entries=entries, status=status, request_id=request_id())
    response = make_response(html, status)
    response.headers.update(headers)
    return response


def validation_entries(messages: Any, pointer: str = "") -> list[dict[str, Any]]:
    """One entry for each field. Marshmallow's messages say what to correct and never repeat the value."""
    if isinstance(messages, Mapping):
        found = []
        for key, nested in messages.items():
            step = "" if key == "_schema" else f"/{key}"
            found += validation_entries(nested, pointer + step)
        return found
    words = " ".join(str(message) for message in (messages if isinstance(messages, list) else [messages]))
    field = spelled(pointer).strip("/") or "body"
    return [entry(422, detail=f"{field}: {words}", source=pointer)]


def init_app(app: Flask, config: Config) -> None:
    """Register the handlers. Tests get the same answers as production: no exception is passed through."""
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return refuse(app, error.status, [error.entry], error.headers)

    @app.errorhandler(ValidationError)
    def invalid(error: ValidationError) -> Response:
        return refuse(app, 422, validation_entries(error.normalized_messages()))

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        """Also answers every uncaught exception, which Flask has logged and wrapped as a 500."""
        status = error.code or 500
        kept = {name: value for name, value in error.get_headers() if name != "Content-Type"}
        return refuse(app, status, [entry(status)], kept)

    @app.errorhandler(SQLAlchemyError)
    def database_away(error: Exception) -> Response:
        """A commit that failed, or may have failed, is never acknowledged: the caller has to send it again. An error
        that comes again with every try is a fault of ours: it is raised, and answered as one."""
        if not is_passing(error):
            raise error
        extra = {"event": "database.unavailable", "why": away.reason_of(error)}
        log.error("database unavailable", exc_info=error, extra=extra)
        return refuse(app, 503, [entry(503)], {"Retry-After": str(RETRY_AFTER_SECONDS)})
