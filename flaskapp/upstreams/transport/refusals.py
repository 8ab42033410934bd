"""Meaning of answers below 500 that are no success, from services that list their `errors`.

Only what is plainly a refusal by the service itself counts as one: a page instead comes from a gateway in front.
"""

from __future__ import annotations

from typing import Any

from flaskapp.upstreams.errors import Rejected, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import Answer, failure
from flaskapp.upstreams.transport.redaction import redact


def refused(upstream: str, answer: Answer, *, write: bool) -> UpstreamError:
    """The error for that answer. An unclear answer is Unanswered for a write and Unavailable for a read."""
    payload = answer.json()
    kind = _kind(answer.status, payload)
    if kind is Unanswered and not write:
        kind = Unavailable
    return failure(kind, upstream, answer, code_in(answer.status, payload))


def has_errors(payload: Any) -> bool:
    """Whether the service itself answered: `{"errors": [{…}, …]}`."""
    return first_error(payload) is not None


def _kind(status: int, payload: Any) -> type[UpstreamError]:
    if status < 400 or status == 408:
        return Unanswered
    if status in (401, 403) or refuses_the_token(payload):
        return Unauthorized
    # Too large stays too large, whether the service or a gateway says so.
    if status == 413:
        return Rejected
    if not isinstance(payload, dict) or (status == 404 and not has_errors(payload)):
        return Unavailable
    return Rejected


def refuses_the_token(payload: Any) -> bool:
    """The gateway's own shape for it: `{"status": 401, "error": …, "path": …}`."""
    return isinstance(payload, dict) and payload.get("status") in (401, 403) and "error" in payload


def code_in(status: int, payload: Any) -> str:
    code = (first_error(payload) or {}).get("code")
    return redact(code) if isinstance(code, str) and code else str(status)


def first_error(payload: Any) -> dict[str, Any] | None:
    errors = payload.get("errors") if isinstance(payload, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, dict) else None
