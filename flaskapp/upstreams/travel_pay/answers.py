"""Meaning of the Travel Pay API's answers: its own come in an envelope, older errors in a list.

An answer in neither form comes from the gateway in front, and says nothing about a person or a claim. Nor does one in
words that the contract does not have: the API words a missing endpoint like a missing claim, and our own mistakes like
a person's (contract: travel 5.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flaskapp.upstreams.errors import (
    PERSON_TOKEN_REFUSED,
    Duplicate,
    Rejected,
    Unanswered,
    Unavailable,
    Unexplained,
    UpstreamError,
)
from flaskapp.upstreams.transport.fields import an_object
from flaskapp.upstreams.transport.http import Answer, failure, messages
from flaskapp.upstreams.transport.redaction import redact
from flaskapp.upstreams.transport.refusals import first_error
from flaskapp.upstreams.transport.refusals import refused as error_of

UPSTREAM = "travel_pay"

# Each call carries two tokens: the code of an Unauthorized says which of them was refused.
VEIS_TOKEN_REFUSED = "VEIS_TOKEN"
A_TOKEN_REFUSED = "TOKEN"

_UNREADABLE = (LookupError, TypeError, ValueError)
_SUCCESS = frozenset({200, 201})
NO_SUCH_CLAIM = ("claim not found", "claim_not_found")

T = TypeVar("T")


def parse_answer(
    answer: Answer,
    form: Callable[[dict[str, Any]], T],
    refusals: tuple[str, ...] = (),
    duplicates: tuple[str, ...] = (),
) -> T:
    """What `form` makes of the envelope of a successful read; raises Unavailable when it cannot be read.

    `refusals` are the words, in lower case, by which a 400 refuses the request for good, and `duplicates` those by
    which it says that what was to be added is there.
    """
    if not _succeeded(answer):
        raise refused(answer, refusals=refusals, duplicates=duplicates)
    try:
        return form(answer.json())
    except _UNREADABLE as error:
        detail = f"the answer cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def written(
    answer: Answer,
    form: Callable[[dict[str, Any]], T],
    refusals: tuple[str, ...],
    duplicates: tuple[str, ...],
    missing: tuple[str, ...] = (),
) -> T:
    """What `form` makes of the `data` of a successful write; raises Unanswered when it cannot be read.

    `refusals` are as for `parse_answer`; `duplicates` the words by which it says that it was done before, which come
    first, and `missing` those by which it says that the object whose id is in the path is not there.
    """
    if not _succeeded(answer):
        raise refused(answer, write=True, refusals=refusals, duplicates=duplicates, missing=missing)
    try:
        return form(an_object(answer.json()["data"]))
    except _UNREADABLE as error:
        detail = f"the success cannot be read: {type(error).__name__}"
    raise Unanswered(UPSTREAM, detail, http_status=answer.status)


def refused(
    answer: Answer,
    *,
    write: bool = False,
    refusals: tuple[str, ...] = (),
    duplicates: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
) -> UpstreamError:
    """The error for an answer below 500. An unclear one is Unanswered for a write and Unavailable for a read."""
    payload = answer.json()
    code = _refused_token(payload) if answer.status == 401 else _code(answer.status, payload)
    named = Rejected if says_missing(answer, missing) else _named(answer.status, payload, refusals, duplicates)
    if named is None and write and answer.status == 400 and is_of_the_api(payload):
        named = Unexplained
    return error_of(UPSTREAM, answer, named, write=write, code=code)


def says_missing(answer: Answer, names: tuple[str, ...]) -> bool:
    """Whether the API itself says that there is no such object; `names` are its words for that, in lower case."""
    payload = answer.json()
    return answer.status == 404 and is_of_the_api(payload) and any(words in _said(payload) for words in names)


def is_of_the_api(payload: Any) -> bool:
    """Whether the API itself answered: in its envelope, with its older `{"errors": [{…}, …]}`, or with the `error` of
    a version between them, which has a code and a message."""
    return _is_envelope(payload) or first_error(payload) is not None or _short_error(payload) is not None


def _succeeded(answer: Answer) -> bool:
    payload = answer.json()
    return answer.status in _SUCCESS and isinstance(payload, dict) and payload.get("success") is not False


def _named(
    status: int, payload: Any, refusals: tuple[str, ...], duplicates: tuple[str, ...]
) -> type[UpstreamError] | None:
    """What the API says in a form of its own and in these words; None for anybody else, and for everything else."""
    if status == 403:
        # About our key, its rights or our path, whoever says so. Another token would not help.
        return Unavailable
    said = _said(payload) if is_of_the_api(payload) else ""
    if status in (400, 409) and any(words in said for words in duplicates):
        return Duplicate
    return Rejected if status == 400 and any(words in said for words in refusals) else None


def _said(payload: Any) -> str:
    """The words and the code of an error, in lower case."""
    code = (_short_error(payload) or {}).get("code")
    return " ".join([*messages(payload), *([code] if isinstance(code, str) else [])]).lower()


def _refused_token(payload: Any) -> str:
    if _is_envelope(payload):
        return PERSON_TOKEN_REFUSED
    of_the_gateway = isinstance(payload, dict) and payload.get("statusCode") == 401
    return VEIS_TOKEN_REFUSED if of_the_gateway else A_TOKEN_REFUSED


def _is_envelope(payload: Any) -> bool:
    return isinstance(payload, dict) and "success" in payload


def _short_error(payload: Any) -> dict[str, Any] | None:
    error = payload.get("error") if isinstance(payload, dict) else None
    return error if isinstance(error, dict) and "code" in error else None


def _code(status: int, payload: Any) -> str:
    first = first_error(payload) or _short_error(payload) or {}
    inner = first.get("error")
    code = first.get("code") or (inner.get("code") if isinstance(inner, dict) else None)
    return redact(code) if isinstance(code, str) and code else str(status)
