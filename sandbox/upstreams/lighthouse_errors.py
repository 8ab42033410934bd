"""The bodies of Lighthouse's errors: of the APIs, of the Kong gateway, and of its token check (contract: benefits
2.2)."""

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
# What refuses an ITF because of its person, and what a status query hears of ids that nobody knows (contract: benefits
# 2.2, 4.4).
OF_AN_ITF = {404: "Veteran ID not found", 422: "Invalid claimantSsn parameter"}
OF_UPLOADS = {404: "Upload Request Async Status Not Found"}
# The statuses that Kong answers, and 503, which was recorded in its form.
OF_KONG = (*KONG_TEXTS, 503)


def api(status: int, text: str, title: str | None = None) -> dict[str, Any]:
    """`status` and `code` are optional texts; of the contract's samples only the 502 has them."""
    error = {"title": title or TITLES.get(status, text), "detail": text}
    return {"errors": [error | ({"status": "502", "code": "502"} if status == 502 else {})]}


def kong(status: int, text: str) -> dict[str, Any]:
    return {"message": KONG_TEXTS.get(status, text)}


def gateway(status: int, text: str) -> dict[str, Any]:
    """A token that was rejected before the API saw it. The status is a number here."""
    return {"status": status, "error": text, "path": request.path if has_request_context() else "/services"}


FAMILIES = ("api", "kong", "gateway")


def error_json(
    status: int, text: str, family: str | None, api: Callable[[int, str], dict[str, Any]] = api
) -> dict[str, Any]:
    """An error in the family given, else in the family that such a status usually has. `api` makes those of the API
    itself."""
    worded = {"api": api, "kong": kong, "gateway": gateway}
    return worded[family or ("kong" if status in OF_KONG else "api")](status, text)


def problem(status: int, detail: str, title: str | None = None) -> Response:
    """An error of the API itself, whatever family the others have."""
    return answer(api(status, detail, title), status)


def no_route(_: Exception) -> Response:
    """Kong refuses a path that leads to no API; a client must not take this for the API's own 404."""
    return answer(kong(404, "no Route matched with those values"), 404)
