"""Client of VA Profile, which has the contact details that a person gave.

Its interface is our assumption (docs/assumptions.md), so its answers are checked before they are used.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.contact import Contact, one_line
from flaskapp.upstreams.errors import Unauthorized, Unavailable
from flaskapp.upstreams.transport.fields import an_object, object_or_empty, text_or_none
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure
from flaskapp.upstreams.transport.refusals import plain_error

UPSTREAM = "va_profile"

_UNKNOWN = "person not found"


class VAProfileClient:
    def __init__(self, config: Config, http: HTTP) -> None:
        self._config = config
        self._http = http

    def contact(self, icn: str, *, total_seconds: float | None = None) -> Contact | None:
        """The contact details of that person; None only when the service itself says that it knows no such person.

        Without `total_seconds` the setting's limit holds. Raises Unauthorized when our key is refused, Throttled, and
        Unavailable for every other answer.
        """
        config = self._config
        request = Outgoing(
            UPSTREAM,
            "contact",
            "GET",
            f"{config.va_profile_base_url}/contact-information/{quote(icn, safe='')}",
            write=False,
            total_seconds=config.va_profile_total_seconds if total_seconds is None else total_seconds,
            headers={"x-api-key": config.va_profile_api_key, "Accept": "application/json"},
        )
        return _contact(self._http.call(request), icn)


def _contact(answer: Answer, icn: str) -> Contact | None:
    payload = answer.json()
    if answer.status in (401, 403):
        raise failure(Unauthorized, UPSTREAM, answer)
    if answer.status == 404 and _UNKNOWN in plain_error(payload):
        return None
    if answer.status != 200:
        raise failure(Unavailable, UPSTREAM, answer)
    try:
        return _read(payload, icn)
    except (TypeError, ValueError) as error:
        detail = f"the contact details cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _read(payload: Any, icn: str) -> Contact:
    """Raises TypeError or ValueError for details that cannot be read, or are somebody else's."""
    person = an_object(payload)
    if text_or_none(person.get("icn")) != icn:
        raise ValueError("another person than requested")
    address = object_or_empty(person.get("mailingAddress"))
    return Contact(
        street=one_line(address.get("addressLine1"), address.get("addressLine2")),
        city=text_or_none(address.get("city")),
        state=text_or_none(address.get("stateCode")),
        zip=text_or_none(address.get("zipCode")),
        country=text_or_none(address.get("countryCode")),
        phone=text_or_none(person.get("mobilePhone")) or text_or_none(person.get("homePhone")),
        email=text_or_none(person.get("email")),
    )
