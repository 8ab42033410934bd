"""The bodies Lighthouse's errors come in: of the APIs, of the Kong gateway before them, and of its token check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, has_request_context, request

from sandbox.upstreams.fake import answer

TITLES = {
    400: "Bad Request",
    401: "Not authorized",
    403: "Forbidden",
    404: "Resource not found",
    422: "Unprocessable Entity",
    502: "Bad Gateway",
}
KONG_TEXTS = {
    413: "Request size limit exceeded",
    429: "API rate limit exceeded",
    504: "The server took too long to respond",
}
# Kong's own, and a 503, which was recorded in its words.
OF_KONG = (*KONG_TEXTS, 503)


def api(status: int, text: str, title: str | None = None) -> dict[str, Any]:
    """`status` and `code` are optional and texts; of the contract's samples only the 502 has them."""
    error = {"title": title or TITLES.get(status, text), "detail": text}
    return {"errors": [error | ({"status": "502", "code": "502"} if status == 502 else {})]}


def kong(status: int, text: str) -> dict[str, Any]:
    return {"message": KONG_TEXTS.get(status, text)}


def gateway(status: int, text: str) -> dict[str, Any]:
    """A token rejected before the API saw it; the status is a number here."""
    return {"status": status, "error": text, "path": request.path if has_request_context() else "/services"}


FAMILIES = ("api", "kong", "gateway")


def reported(
    status: int, text: str, family: str | None, api: Callable[[int, str], dict[str, Any]] = api
) -> dict[str, Any]:
    """An error in the family asked for, else in the one such a status comes in; `api` words those of the API itself."""
    worded = {"api": api, "kong": kong, "gateway": gateway}
    return worded[family or ("kong" if status in OF_KONG else "api")](status, text)


def problem(status: int, detail: str, title: str | None = None) -> Response:
    """An error of the API's own, whatever the family of the others."""
    return answer(api(status, detail, title), status)


def no_route(_: Exception) -> Response:
    """A path that leads to no API is Kong's to refuse; a client must not take it for the API's own 404."""
    return answer(kong(404, "no Route matched with those values"), 404)
