"""Client of the service that takes 526 submissions, and finds one by our reference.

Its interface is our assumption (docs/assumptions.md), so its answers are checked before they are used. A submission
takes up to 40 s. A reference that is known already is answered as a duplicate, and a read shows whose claim that is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.errors import Duplicate, Rejected, Unanswered, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.ids import read_id
from flaskapp.upstreams.transport.refusals import Words, code_in, listed, refused, says, speaks_of_the_request

UPSTREAM = "form526"

# What refuses a form for good (docs/assumptions.md). So does a 422 whose errors all point below the form: what
# else they point at is of our making.
REFUSED: Words = {
    413: ("the form is too large",),
    422: ("no veteran has this icn", "the form does not pass the rules for claims"),
}
KNOWN = "DUPLICATE"
UNKNOWN = ("no submission has the reference",)
_PART = re.compile(r"/form526/[^/]")


class Form526Client:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def submit(self, reference: str, icn: str, form: dict[str, Any], before_write: Callable[[], None]) -> int:
        """Submit the form under our reference; returns the id of the claim that it became.

        `before_write` runs right before the request is written; what it raises passes through. Raises any of the six;
        Duplicate and Unanswered: look it up by its reference.
        """
        body = {"reference": reference, "icn": icn, "form526": form}
        request = self._request("submit", "POST", "", body)
        before_write()
        return _submitted(self._http.call(request), reference)

    def find(self, reference: str) -> int | None:
        """The claim id of the submission under that reference; None only when the service itself says it has none.

        Raises Unauthorized, Throttled, and Unavailable for everything else.
        """
        return _found(self._http.call(self._request("find", "GET", f"/{quote(reference, safe='')}")), reference)

    def _request(self, operation: str, method: str, path: str, body: Any = None) -> Outgoing:
        return Outgoing(
            UPSTREAM,
            operation,
            method,
            f"{self._config.form526_base_url}/submissions{path}",
            write=method == "POST",
            total_seconds=self._config.form526_total_seconds,
            headers={"x-api-key": self._config.form526_api_key, "Accept": "application/json"},
            json=body,
        )


def _submitted(answer: Answer, reference: str) -> int:
    payload = answer.json()
    if answer.status != 201:
        known = answer.status == 409 and code_in(409, payload) == KNOWN
        in_part = Rejected if answer.status == 422 and _names_a_part(payload) else None
        named = Duplicate if known else in_part or listed(answer.status, payload, REFUSED)
        raise refused(UPSTREAM, answer, named, write=True, code=code_in(answer.status, payload))
    claim_id = read_id(payload.get("claimId")) if isinstance(payload, dict) else None
    if claim_id is None:
        raise Unanswered(UPSTREAM, "the answer names no claim", http_status=answer.status)
    if not _is_about(payload.get("reference", reference), reference):
        raise Unanswered(UPSTREAM, "the answer is about another submission", http_status=answer.status)
    return claim_id


def _found(answer: Answer, reference: str) -> int | None:
    payload = answer.json()
    if answer.status == 404 and says(payload, UNKNOWN):
        return None
    if answer.status != 200:
        named, code = listed(answer.status, payload, {}), code_in(answer.status, payload)
        raise refused(UPSTREAM, answer, named, write=False, code=code)
    payload = payload if isinstance(payload, dict) else {}
    claim_id = read_id(payload.get("claimId"))
    if claim_id is None or not _is_about(payload.get("reference"), reference):
        raise failure(Unavailable, UPSTREAM, answer, detail="the answer is not about this submission")
    return claim_id


def _is_about(named: Any, reference: str) -> bool:
    return isinstance(named, str) and named.lower() == reference.lower()


def _names_a_part(payload: Any) -> bool:
    """Whether each error says where below the form it is: `{"source": {"pointer": "/form526/…"}}`."""
    return speaks_of_the_request(payload) and all(_PART.match(_pointer(each)) for each in payload["errors"])


def _pointer(error: Any) -> str:
    source = error.get("source") if isinstance(error, dict) else None
    pointer = source.get("pointer") if isinstance(source, dict) else None
    return pointer if isinstance(pointer, str) else ""
