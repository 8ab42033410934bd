"""Meaning of the Travel Pay API's answers: its own come in an envelope, older errors in a list.

An answer in neither form comes from the gateway in front, and says nothing about a person or a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flaskapp.upstreams.errors import (
    PERSON_TOKEN_REFUSED,
    Duplicate,
    Rejected,
    Unanswered,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from flaskapp.upstreams.transport.fields import an_object
from flaskapp.upstreams.transport.http import Answer, failure, messages
from flaskapp.upstreams.transport.redaction import redact
from flaskapp.upstreams.transport.refusals import first_error

UPSTREAM = "travel_pay"

# Each call carries two tokens: the code of an Unauthorized says which of them was refused.
VEIS_TOKEN_REFUSED = "VEIS_TOKEN"
A_TOKEN_REFUSED = "TOKEN"

_UNREADABLE = (LookupError, TypeError, ValueError)
_SUCCESS = frozenset({200, 201})
_REFUSALS_WITHOUT_FORM = frozenset({400, 409, 422})

T = TypeVar("T")


def parse_answer(answer: Answer, form: Callable[[dict[str, Any]], T]) -> T:
    """What `form` makes of the envelope of a successful read; raises Unavailable when it cannot be read."""
    if not _succeeded(answer):
        raise refused(answer)
    try:
        return form(answer.json())
    except _UNREADABLE as error:
        detail = f"the answer cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def written(answer: Answer, form: Callable[[dict[str, Any]], T], duplicates: tuple[str, ...]) -> T:
    """What `form` makes of the `data` of a successful write; raises Unanswered when it cannot be read.

    `duplicates` are the words, in lower case, by which a refusal says that it was done before.
    """
    if not _succeeded(answer):
        raise refused(answer, write=True, duplicates=duplicates)
    try:
        return form(an_object(answer.json()["data"]))
    except _UNREADABLE as error:
        detail = f"the success cannot be read: {type(error).__name__}"
    raise Unanswered(UPSTREAM, detail, http_status=answer.status)


def refused(answer: Answer, *, write: bool = False, duplicates: tuple[str, ...] = ()) -> UpstreamError:
    """The error for an answer below 500. An unclear one is Unanswered for a write and Unavailable for a read."""
    payload = answer.json()
    if answer.status == 401:
        return failure(Unauthorized, UPSTREAM, answer, _refused_token(payload))
    kind = _kind(answer.status, payload, duplicates)
    if kind is Unanswered and not write:
        kind = Unavailable
    return failure(kind, UPSTREAM, answer, _code(answer.status, payload))


def is_of_the_api(payload: Any) -> bool:
    """Whether the API itself answered: with its envelope, or with its older `{"errors": [{…}, …]}`."""
    return _is_envelope(payload) or first_error(payload) is not None


def _succeeded(answer: Answer) -> bool:
    payload = answer.json()
    return answer.status in _SUCCESS and isinstance(payload, dict) and payload.get("success") is not False


def _kind(status: int, payload: Any, duplicates: tuple[str, ...]) -> type[UpstreamError]:
    if status < 400 or status == 408:
        return Unanswered
    # Too large stays too large, whoever says so.
    if status == 413:
        return Rejected
    if not isinstance(payload, dict) or not (status in _REFUSALS_WITHOUT_FORM or is_of_the_api(payload)):
        return Unavailable
    said = " ".join(messages(payload)).lower()
    if duplicates and (status == 409 or any(words in said for words in duplicates)):
        return Duplicate
    # A conflict that is no duplicate passes by itself.
    return Unavailable if status == 409 else Rejected


def _refused_token(payload: Any) -> str:
    if _is_envelope(payload):
        return PERSON_TOKEN_REFUSED
    of_the_gateway = isinstance(payload, dict) and payload.get("statusCode") == 401
    return VEIS_TOKEN_REFUSED if of_the_gateway else A_TOKEN_REFUSED


def _is_envelope(payload: Any) -> bool:
    return isinstance(payload, dict) and "success" in payload


def _code(status: int, payload: Any) -> str:
    first = first_error(payload) or {}
    inner = first.get("error")
    code = first.get("code") or (inner.get("code") if isinstance(inner, dict) else None)
    return redact(code) if isinstance(code, str) and code else str(status)
