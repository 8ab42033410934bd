"""Whose answer a refusal is: only an upstream's own application, in its own error shape, refuses for good.

Any other answer below 500 comes from what stands in between (a gateway, a proxy, a deployment without our path) or is
about our own keys and settings, in whatever shape. It says nothing about a person or a request, so their work waits.
"""

from __future__ import annotations

from typing import Any

from flaskapp.upstreams.errors import Rejected, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import Answer, failure
from flaskapp.upstreams.transport.redaction import redact

# A request that is wrong, too large or senseless. 405 or 415 are about our address and our client, whoever says so.
ABOUT_A_REQUEST = frozenset({400, 413, 422})
# Words of a service's own shape that are about our path and our rights, not about the request.
_OF_OUR_PATH = ("endpoint not found", "no routes matching", "no route matched")
_OF_OUR_RIGHTS = ("forbidden", "unauthorized", "not authorized", "access denied")
_TOO_LARGE = ("size limit", "too large")


def refused(
    upstream: str, answer: Answer, named: type[UpstreamError] | None, *, write: bool, code: str | None = None
) -> UpstreamError:
    """The error for an answer below 500 that is no success.

    `named` is what the upstream's contract says about this very answer in the application's own shape; None where it
    says nothing, and then the answer is never final. An unclear one is Unanswered for a write, Unavailable for a read.
    """
    kind = named or _unnamed(answer.status)
    if kind is Unanswered and not write:
        kind = Unavailable
    return failure(kind, upstream, answer, code)


def _unnamed(status: int) -> type[UpstreamError]:
    # A conflict in words that we do not know may mean that it is there.
    if status < 400 or status in (408, 409):
        return Unanswered
    return Unauthorized if status in (401, 403) else Unavailable


def listed(status: int, payload: Any) -> type[UpstreamError] | None:
    """What is named by services that list their `errors`: a refusal of the request, or of our token."""
    if refuses_the_token(payload):
        return Unauthorized
    return Rejected if status in ABOUT_A_REQUEST and speaks_of_the_request(payload) else None


def listed_by_lighthouse(status: int, payload: Any) -> type[UpstreamError] | None:
    """The same for Lighthouse, which describes a 413 of its gateway, with a `message` (contract: benefits 2.2, 4.4)."""
    said = payload.get("message") if isinstance(payload, dict) else None
    too_large = status == 413 and isinstance(said, str) and any(words in said.lower() for words in _TOO_LARGE)
    return Rejected if too_large else listed(status, payload)


def speaks_of_the_request(payload: Any) -> bool:
    """Whether the service itself says something about the request or its object: `{"errors": [{…}, …]}`, and not in
    words about our path or our rights."""
    first = first_error(payload)
    if first is None:
        return False
    texts = [str(first.get(name) or "").lower().strip(" .") for name in ("title", "detail", "message")]
    of_our_path = any(words in text for text in texts for words in _OF_OUR_PATH)
    return not of_our_path and texts[0] not in _OF_OUR_RIGHTS


def plain_error(payload: Any) -> str:
    """The text of `{"error": "…"}`, in lower case; empty for any other shape. Gateways and frameworks write a status, a
    path or more beside their `error`."""
    text = payload.get("error") if isinstance(payload, dict) and len(payload) == 1 else None
    return text.lower() if isinstance(text, str) else ""


def refuses_the_token(payload: Any) -> bool:
    """The gateway's own shape for it: `{"status": 401, "error": …, "path": …}`."""
    return isinstance(payload, dict) and payload.get("status") in (401, 403) and "error" in payload


def code_in(status: int, payload: Any) -> str:
    """The code of the first error, else the status."""
    code = (first_error(payload) or {}).get("code")
    return redact(code) if isinstance(code, str) and code else str(status)


def first_error(payload: Any) -> dict[str, Any] | None:
    errors = payload.get("errors") if isinstance(payload, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, dict) else None
