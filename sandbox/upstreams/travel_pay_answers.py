"""How Travel Pay words its answers: one envelope for v3, two older error shapes, and the gateway's (contract: travel
5.3).

The status does not say which shape an error has; a client has to read them all.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Response, has_request_context, request

from sandbox.upstreams.cast import utc_text
from sandbox.upstreams.fake import answer

UNAUTHORIZED = "Unauthorized. Access token is missing or invalid."
# Refusals of the content that were recorded (contract: travel 5.3): of creating a claim and of submitting it.
INVALID, NO_CLAIM = "Invalid appointment ID", "Claim not found."
NO_SUBSCRIPTION = "Access denied due to missing or invalid subscription key."


def envelope(status: int, message: str, data: Any = None, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The v3 form of every answer, good or bad. `more` stands beside `data`, as paging does."""
    sent_id = request.headers.get("X-Correlation-ID") if has_request_context() else None
    return {
        "correlationId": sent_id or str(uuid.uuid4()),
        "timeStamp": utc_text(datetime.now(UTC)),
        "statusCode": status,
        "message": message,
        "success": status < 400,
        "data": data,
        **(more or {}),
    }


def good(message: str, data: Any, **paging: int) -> Response:
    return answer(envelope(200, message, data, paging))


def refused(message: str, status: int = 400) -> Response:
    return answer(envelope(status, message), status)


def missing(title: str) -> Response:
    """A claim or an appointment that does not exist or is another person's, in the older shape."""
    return answer(older(404, title), 404)


def older(status: int, title: str) -> dict[str, Any]:
    return {"errors": [{"status": str(status), "code": str(status), "title": title}]}


def broken(status: int, text: str) -> dict[str, Any]:
    """The oldest shape, that of failed submits."""
    return {"errors": [{"error": {"code": str(status), "message": text, "details": []}}]}


def gateway(status: int, text: str) -> dict[str, Any]:
    """The API gateway's own words, before Travel Pay sees anything."""
    return {"statusCode": status, "message": text}


def worded(status: int, text: str) -> dict[str, Any]:
    """A fault in the shape that errors of its status have most often."""
    if status in (401, 429):
        return gateway(status, UNAUTHORIZED if status == 401 else "Rate limit is exceeded. Try again later.")
    if status >= 500:
        return broken(status, text)
    return older(status, NO_CLAIM) if status == 404 else envelope(status, INVALID if status == 400 else text)
