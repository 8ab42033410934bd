"""Client of Lighthouse Benefits Claims v2: finds a person's active intent to file, and creates one.

Upstream sets the date itself, when the request arrives. Creating takes no idempotency key, but a second one is
answered `duplicate`. So whatever is not plainly a yes or a no is "unanswered", and a read resolves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.upstreams.errors import Unanswered, Unavailable
from flaskapp.upstreams.tokens.cache import Tokens, with_token
from flaskapp.upstreams.transport.fields import text
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.refusals import (
    Words,
    code_in,
    first_error,
    listed,
    refused,
    speaks_of_the_request,
)
from flaskapp.upstreams.transport.timestamps import parse_timestamp

UPSTREAM = "lighthouse_claims"

ACTIVE = "active"
CONFIRMING = frozenset({ACTIVE, "duplicate"})
# The server behind the API answers an unknown path in the API's own shape, with this code.
_NO_SUCH_PATH = "411"
# What refuses an ITF because of its person (contract: benefits 2.2). A wrong type or body would be ours.
REFUSED: Words = {
    404: ("veteran id not found",),
    422: (
        "invalid claimantssn parameter",
        "claimantssn parameter cannot be blank",
        "veteran cannot file for type",
        "claimant ssn cannot be the same as veteran ssn",
    ),
}
_SENSELESS = (KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class UpstreamITF:
    """An ITF as upstream holds it. `type` and `status` are lower case; times are aware UTC."""

    id: str
    type: str
    status: str
    created_at: datetime
    expires_at: datetime


class LighthouseClaimsClient:
    """`total_seconds` limits each request of a call; None is the limit of jobs."""

    def __init__(self, config: Config, http: HTTP, tokens: Tokens) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens

    def active_itf(self, icn: str, itf_type: str, total_seconds: float | None = None) -> UpstreamITF | None:
        """The active ITF of that type; None when upstream says that there is none: never had, expired, or used.

        Raises Unavailable for every answer that leaves a doubt, Throttled or Unauthorized; never Unanswered.
        """

        def read_active_itf(token: str) -> UpstreamITF | None:
            request = self._request("active_itf", "GET", icn, f"/{itf_type}", token, total_seconds)
            return _found(self._http.call(request), itf_type)

        return with_token(self._tokens, read_active_itf)

    def create_itf(
        self,
        icn: str,
        itf_type: str,
        before_write: Callable[[], None],
        claimant_ssn: str = "",
        total_seconds: float | None = None,
    ) -> UpstreamITF:
        """Create the ITF. The status `duplicate` says that upstream held one already; the dates are that one's.

        `claimant_ssn` is nine digits for `survivor`, else empty. `before_write` runs right before every request is
        written; what it raises passes through. Raises any of the six but Duplicate.
        """
        attributes = {"type": itf_type, "claimantSsn": claimant_ssn}
        body = {"data": {"type": "intent_to_file", "attributes": attributes}}

        def create(token: str) -> UpstreamITF:
            request = self._request("create_itf", "POST", icn, "", token, total_seconds, body)
            before_write()
            return _created(self._http.call(request), itf_type)

        return with_token(self._tokens, create)

    def _request(
        self,
        operation: str,
        method: str,
        icn: str,
        path: str,
        token: str,
        total_seconds: float | None,
        body: Any = None,
    ) -> Outgoing:
        veteran = f"{self._config.lighthouse_base_url}/services/claims/v2/veterans/{quote(icn, safe='')}"
        return Outgoing(
            UPSTREAM,
            operation,
            method,
            f"{veteran}/intent-to-file{path}",
            write=method == "POST",
            total_seconds=self._config.lighthouse_total_seconds if total_seconds is None else total_seconds,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            json=body,
        )


def _found(answer: Answer, itf_type: str) -> UpstreamITF | None:
    payload = answer.json()
    if answer.status == 404 and _is_of_the_api(payload):
        return None
    if answer.status != 200:
        named, code = listed(answer.status, payload, {}), code_in(answer.status, payload)
        raise refused(UPSTREAM, answer, named, write=False, code=code)
    try:
        itf = _itf(payload, itf_type, frozenset({ACTIVE}))
    except _SENSELESS as error:
        detail = f"the ITF cannot be read: {type(error).__name__}"
    else:
        return itf if itf and itf.expires_at > clock.now() else None
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _created(answer: Answer, itf_type: str) -> UpstreamITF:
    payload = answer.json()
    if answer.status != 200:
        named, code = listed(answer.status, payload, REFUSED), code_in(answer.status, payload)
        raise refused(UPSTREAM, answer, named, write=True, code=code)
    try:
        itf = _itf(payload, itf_type, CONFIRMING)
    except _SENSELESS:
        itf = None
    if itf is None:
        raise Unanswered(UPSTREAM, "the answer confirms no ITF", http_status=answer.status)
    return itf


def _is_of_the_api(payload: Any) -> bool:
    """Whether the API itself answered, judged by the shape of its errors: its words differ from answer to answer."""
    return speaks_of_the_request(payload) and str((first_error(payload) or {}).get("code")) != _NO_SUCH_PATH


def _itf(payload: Any, itf_type: str, statuses: frozenset[str]) -> UpstreamITF | None:
    """The ITF of an answer, None when its status is another. Raises KeyError, TypeError, ValueError for nonsense."""
    resource = payload["data"]
    attributes = resource["attributes"]
    if text(attributes["type"]).lower() != itf_type:
        raise ValueError("an ITF of another type than requested")
    status = text(attributes["status"]).lower()
    if status not in statuses:
        return None
    created_at = parse_timestamp(attributes["creationDate"])
    expires_at = parse_timestamp(attributes["expirationDate"])
    if expires_at <= created_at:
        raise ValueError("expires before it was created")
    return UpstreamITF(text(resource["id"]), itf_type, status, created_at, expires_at)
