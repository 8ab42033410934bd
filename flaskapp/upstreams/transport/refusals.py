"""Whose answer a refusal is: only an upstream's own application, in words of its contract, refuses for good.

Any other answer below 500 comes from what stands in between (a gateway, a proxy, a deployment without our path) or is
about our own keys, body and settings, in whatever shape. It says nothing about a person, so their work waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flaskapp.upstreams.errors import Rejected, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import Answer, failure
from flaskapp.upstreams.transport.redaction import redact

# The words of a refusal, in lower case, by the status that they come with.
Words = Mapping[int, tuple[str, ...]]
# Words of a service's own shape that are about our path and our rights, not about the request.
_OF_OUR_PATH = ("endpoint not found", "no routes matching", "no route matched")
_OF_OUR_RIGHTS = ("forbidden", "unauthorized", "not authorized", "access denied")
_TOO_LARGE = "request size limit exceeded"


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


def listed(status: int, payload: Any, refusals: Words) -> type[UpstreamError] | None:
    """What is named by services that list their `errors`: a refusal in these words, or of our token.

    A 413 of Lighthouse's gateway, with a `message`, is described by its APIs (contract: benefits 2.2, 4.4).
    """
    if refuses_the_token(payload):
        return Unauthorized
    too_large = status == 413 and isinstance(payload, dict) and _TOO_LARGE in str(payload.get("message")).lower()
    return Rejected if too_large or says(payload, refusals.get(status, ())) else None


def says(payload: Any, words: tuple[str, ...]) -> bool:
    """Whether the service itself says one of these, in lower case, in any of its `errors`."""
    texts = said_in(payload) if speaks_of_the_request(payload) else []
    return any(each in text for each in words for text in texts)


def said_in(payload: Any) -> list[str]:
    """Every title, detail and message of the `errors`, in lower case."""
    errors = [each for each in payload["errors"] if isinstance(each, dict)]
    texts = (each.get(name) for each in errors for name in ("title", "detail", "message"))
    return [text.lower() for text in texts if isinstance(text, str)]


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
