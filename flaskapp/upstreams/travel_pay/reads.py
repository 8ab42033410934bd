"""Client that reads from the Travel Pay API for a signed-in person: claims, appointments, documents, contact details.

Nothing here changes anything, so no failure is ever "unanswered". An item of a list that cannot be read is left out
and counted.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.contact import Contact
from flaskapp.upstreams.errors import TOO_LARGE, Unavailable
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.fields import count
from flaskapp.upstreams.transport.http import HTTP, LARGEST_BODY, Answer, Outgoing, failure
from flaskapp.upstreams.travel_pay.answers import NO_SUCH_CLAIM, UPSTREAM, parse_answer, refused, says_missing
from flaskapp.upstreams.travel_pay.auth import TravelPayAuth
from flaskapp.upstreams.travel_pay.values import (
    ClaimDetail,
    ClaimSummary,
    Document,
    UpstreamAppointment,
    read_appointment,
    read_claim,
    read_contact,
    read_document,
    read_summary,
)

logger = logging.getLogger(__name__)

# Upstream's pages hold no more, whatever is requested.
LARGEST_PAGE = 50
LARGEST_DOCUMENT = 10 * 1024 * 1024
# A document in base64 is a third larger, and JSON is around it.
LARGEST_ENCODED = LARGEST_DOCUMENT * 4 // 3 + 1024
NO_SUCH_DOCUMENT = ("document not found", "attachment not found")
# Content types of what comes instead of a document when something went wrong.
_NO_DOCUMENTS = ("application/json", "application/xhtml", "application/xml", "text/html", "text/xml")
# What a service writes into a body when something went wrong, whatever type it puts over it.
_OF_A_FAILURE = frozenset({"error", "errors", "message", "statusCode", "success"})
# A web page, or the error of a file store in XML. An XML header, comments and a doctype may come first.
_INSTEAD = re.compile(
    rb"(\xef\xbb\xbf)?\s*((<\?((?!\?>).)*\?>|<!--((?!-->).)*-->|<!doctype (?!html)[^>]*>)\s*)*"
    rb"<(!doctype html|html|errors?|([\w-]+:)?fault)\b",
    re.IGNORECASE | re.DOTALL,
)
# How documents begin: their own bytes say better than the answer's type what they are.
_BEGINNINGS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"{\\rtf": "application/rtf",
}
# A PDF may have other bytes before its header, this many at most.
_BEFORE_PDF = 1024
# Signs that no text has.
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list. `total` counts all pages' items, or is the least that there can be where upstream does not
    count them; `unreadable` those of this page that were left out.

    `page` and `size` are what upstream says: its pages may be smaller than requested.
    """

    items: tuple[T, ...]
    total: int
    page: int
    size: int
    unreadable: int
    is_counted: bool = True


@dataclass(frozen=True)
class DocumentFile:
    content_type: str
    content: bytes = field(repr=False)


class TravelPayClient:
    """`total_seconds` limits each request of a call.

    Every method raises Unavailable for an answer that leaves a doubt, Throttled, and Unauthorized. The contract has no
    words by which the API would refuse a read.
    """

    def __init__(self, config: Config, http: HTTP, auth: TravelPayAuth) -> None:
        self._base_url = config.travel_pay_base_url
        self._http = http
        self._auth = auth

    def list_claims(self, traveler: Traveler, *, total_seconds: float) -> Page[ClaimSummary]:
        """The claims that upstream lists without given days or page. `total` may say that they are not all."""
        answer = self._get(traveler, "list_claims", "v2/claims", total_seconds)

        def listed(payload: dict[str, Any]) -> Page[ClaimSummary]:
            return _page(payload, read_summary, None, len(payload["data"]) + 1)

        return parse_answer(answer, listed)

    def search_claims(
        self, traveler: Traveler, start: date, end: date, page: int, size: int, *, total_seconds: float
    ) -> Page[ClaimSummary]:
        """Claims for appointments from `start` to `end`, both days included; pages count from 1. What comes besides is
        counted as unreadable: whoever answers so did not search for these days, and what they have may be missing."""
        # With times: a last day without one might mean its midnight only.
        params = {"startDate": f"{start}T00:00:00Z", "endDate": f"{end}T23:59:59Z", **_paging(page, size)}
        path = "v2/claims/search-by-appointment-date"
        answer = self._get(traveler, "search_claims", path, total_seconds, params)

        def of_these_days(element: object) -> ClaimSummary:
            found = read_summary(element)
            at = found.appointment_date_time
            if at is not None and not start <= datetime.fromisoformat(at).date() <= end:
                raise ValueError("the claim is of another day")
            return found

        return parse_answer(answer, lambda payload: _page(payload, of_these_days, page, size))

    def claim(self, traveler: Traveler, claim_id: str, *, total_seconds: float) -> ClaimDetail | None:
        """One claim; None only when the API itself says that this person has no such claim."""
        answer = self._get(traveler, "claim", f"v3/claims/{_quoted(claim_id)}", total_seconds)
        missing = says_missing(answer, NO_SUCH_CLAIM)
        return None if missing else parse_answer(answer, lambda payload: _the_claim(payload, claim_id))

    def appointments(
        self, traveler: Traveler, page: int, size: int, *, total_seconds: float, exclude_with_claims: bool = False
    ) -> Page[UpstreamAppointment]:
        """The person's appointments; pages count from 1."""
        params = _paging(page, size) | ({"excludeWithClaims": "true"} if exclude_with_claims else {})
        answer = self._get(traveler, "appointments", "v2/appointments", total_seconds, params)
        return parse_answer(answer, lambda payload: _page(payload, read_appointment, page, size))

    def documents(self, traveler: Traveler, claim_id: str, *, total_seconds: float) -> tuple[list[Document], int]:
        """The documents of a claim, without their bytes, and the number of those that cannot be read."""
        answer = self._get(traveler, "documents", f"v2/claims/{_quoted(claim_id)}/documents", total_seconds)
        found, unreadable = parse_answer(answer, lambda payload: _readable(payload["data"], read_document))
        once: dict[str, Document] = {}
        for each in found:
            once.setdefault(each.document_id, each)
        return list(once.values()), unreadable

    def document(
        self, traveler: Traveler, claim_id: str, document_id: str, *, total_seconds: float
    ) -> DocumentFile | None:
        """A document's bytes, at most 10 MiB; None only when the API itself says that there is no such document.

        They come as they are, or as base64 in JSON under the type of the document (contract: travel 5.3). A larger one
        raises Unavailable with the code `TOO_LARGE`.
        """
        path = f"v2/claims/{_quoted(claim_id)}/documents/{_quoted(document_id)}"
        answer = self._get(traveler, "document", path, total_seconds, largest_body=LARGEST_ENCODED)
        return None if says_missing(answer, NO_SUCH_CLAIM + NO_SUCH_DOCUMENT) else _file(answer)

    def contact(self, traveler: Traveler, *, total_seconds: float) -> Contact:
        """The contact details that BTSSS has of the person."""
        answer = self._get(traveler, "contact", "v2/contacts", total_seconds)
        return parse_answer(answer, lambda payload: read_contact(payload["data"]))

    def _get(
        self,
        traveler: Traveler,
        operation: str,
        path: str,
        total_seconds: float,
        params: dict[str, str] | None = None,
        largest_body: int = LARGEST_BODY,
    ) -> Answer:
        """Any answer below 500. A refused token is replaced once."""

        def send_read(headers: dict[str, str]) -> Answer:
            url = f"{self._base_url}/api/{path}"
            request = Outgoing(
                UPSTREAM,
                operation,
                "GET",
                url,
                write=False,
                total_seconds=total_seconds,
                headers=headers,
                params=params,
                largest_body=largest_body,
            )
            answer = self._http.call(request)
            if answer.status == 401:
                raise refused(answer)
            return answer

        return self._auth.with_headers(traveler, send_read)


def _paging(page: int, size: int) -> dict[str, str]:
    return {"pageNumber": str(page), "pageSize": str(size)}


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _page(payload: dict[str, Any], form: Callable[[object], T], page: int | None, size: int) -> Page[T]:
    """`page` is the one that was requested, if one was; raises ValueError for an answer that says it is another."""
    number = count(payload.get("pageNumber", page or 1))
    if page is not None and number != page:
        raise ValueError("another page than requested")
    items, unreadable = _readable(payload["data"], form)
    here = len(items) + unreadable
    # Some answers do not say how many there are. Then a full page may have another behind it.
    full = min(size, LARGEST_PAGE)
    at_least = (number - 1) * full + here + (here >= full)
    return Page(
        tuple(items),
        total=count(payload.get("totalRecordCount", at_least)),
        page=number,
        size=count(payload.get("pageSize", size)),
        unreadable=unreadable,
        is_counted="totalRecordCount" in payload,
    )


def _readable(value: object, form: Callable[[object], T]) -> tuple[list[T], int]:
    """The items that can be read, and the number of those that cannot. Raises TypeError for what is not a list."""
    if not isinstance(value, list):
        raise TypeError("expected a list")
    items: list[T] = []
    for element in value:
        try:
            items.append(form(element))
        except (TypeError, ValueError):
            continue
    unreadable = len(value) - len(items)
    if unreadable:
        extra = {"event": "travel_pay.items_unreadable", "count": unreadable}
        logger.warning("travel_pay.items_unreadable", extra=extra)
    return items, unreadable


def _the_claim(payload: dict[str, Any], claim_id: str) -> ClaimDetail:
    claim = read_claim(payload["data"])
    if claim.claim_id.lower() != claim_id.lower():
        raise ValueError("another claim than requested")
    return claim


def _file(answer: Answer) -> DocumentFile:
    if answer.status >= 400:
        raise refused(answer)
    decoded = _decoded(answer)
    content = answer.body if decoded is None else decoded
    content_type = answer.headers.get("Content-Type", "application/octet-stream").strip()
    own = next((kind for beginning, kind in _BEGINNINGS.items() if content.startswith(beginning)), None)
    if own is None and content_type.lower().startswith(_NO_DOCUMENTS):
        # The type of what is around the document, or of no document at all.
        content = decoded or b""
        content_type = "application/octet-stream"
    if answer.status != 200 or not content or not _can_be((own or content_type).lower(), content):
        raise failure(Unavailable, UPSTREAM, answer)
    if len(content) > LARGEST_DOCUMENT:
        raise Unavailable(UPSTREAM, "the document is too large", http_status=answer.status, code=TOO_LARGE)
    return DocumentFile(own or content_type, content)


def _can_be(content_type: str, content: bytes) -> bool:
    """Whether these bytes can be a document of this type, and not what a service or a proxy says instead of one."""
    said = _json(content)
    if _INSTEAD.match(content) or (isinstance(said, dict) and not _OF_A_FAILURE.isdisjoint(said)):
        return False
    if content_type.startswith("application/pdf"):
        return b"%PDF-" in content[:_BEFORE_PDF]
    if content_type.startswith("image/svg"):
        return b"<svg" in content
    # Any other document has bytes that no text has, except RTF: a sentence under its type is a proxy's.
    return content_type.startswith("text/") or content.startswith(b"{\\rtf") or bool(_NO_TEXT.search(content))


def _json(content: bytes) -> Any:
    """The JSON object or list that these bytes are; None for anything else."""
    begins = content[: len(codecs.BOM_UTF8) + _BEFORE_PDF].removeprefix(codecs.BOM_UTF8).lstrip()
    return Answer(200, {}, content).json() if begins.startswith((b"{", b"[")) else None


def _decoded(answer: Answer) -> bytes | None:
    """The bytes in `{"data": "<base64>"}`; None for a body in any other form, which may be the document itself."""
    payload = _json(answer.body)
    data = payload.get("data") if isinstance(payload, dict) else None
    try:
        return base64.b64decode("".join(data.split()), validate=True) if isinstance(data, str) else None
    except (binascii.Error, ValueError):
        return None
