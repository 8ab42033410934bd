"""Client of the account service, which knows the person that a sign-in account belongs to.

Its interface is our assumption (docs/assumptions.md), so its answers are checked before they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.errors import Unauthorized, Unavailable
from flaskapp.upstreams.transport.fields import text_or_none
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.refusals import plain_error

UPSTREAM = "accounts"

_SSN = re.compile("[0-9]{9}")
_UNKNOWN = "account not found"


@dataclass(frozen=True)
class Person:
    """Who an account belongs to; `ssn` is nine digits. Kept out of every repr, and so out of logs.

    Participant id and file number say whose claim a document belongs to, and Travel Pay needs the e-mail. Most work
    needs none of them.
    """

    icn: str | None = field(repr=False)
    first_name: str = field(repr=False)
    ssn: str | None = field(repr=False)
    participant_id: str | None = field(default=None, repr=False)
    file_number: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)


class AccountsClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def find(self, account_id: str) -> Person | None:
        """The person of that account; None only when the service itself says that it knows no such account.

        Raises Unauthorized when our key is refused, Throttled, and Unavailable for every other answer.
        """
        answer = self._http.call(
            Outgoing(
                UPSTREAM,
                "find",
                "GET",
                f"{self._config.accounts_base_url}/accounts/{quote(account_id, safe='')}",
                write=False,
                total_seconds=self._config.accounts_total_seconds,
                headers={"x-api-key": self._config.accounts_api_key, "Accept": "application/json"},
            )
        )
        return _person(answer, account_id)


def _person(answer: Answer, account_id: str) -> Person | None:
    payload = answer.json()
    if answer.status in (401, 403):
        raise failure(Unauthorized, UPSTREAM, answer)
    if answer.status == 404 and _UNKNOWN in plain_error(payload):
        return None
    if answer.status != 200:
        raise failure(Unavailable, UPSTREAM, answer)
    try:
        return _read(payload, account_id)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"the account cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _read(payload: Any, account_id: str) -> Person:
    """Raises KeyError, TypeError or ValueError for an account that is not whole, or is somebody else's."""
    if (text_or_none(payload["id"]) or "").lower() != account_id.lower():
        raise ValueError("another account than requested")
    ssn = text_or_none(payload["ssn"])
    if ssn is not None and not _SSN.fullmatch(ssn):
        raise ValueError("expected nine digits")
    # A field that is left out counts as null: work that does not need it must not fail.
    optional = (text_or_none(payload.get(name)) for name in ("participantId", "fileNumber", "email"))
    first_name = text_or_none(payload["firstName"]) or ""
    return Person(text_or_none(payload["icn"]), first_name, ssn, *optional)
