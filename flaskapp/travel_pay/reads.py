"""Reads from Travel Pay while a signed-in person waits. All calls of a request share `TRAVEL_PAY_READ_SECONDS`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Protocol, TypeVar

from flaskapp.accounts.caller import identity_of_caller
from flaskapp.current import settings, upstreams
from flaskapp.travel_pay import shapes
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.http import seconds_left, within
from flaskapp.upstreams.travel_pay.reads import Page
from flaskapp.upstreams.travel_pay.values import UpstreamAppointment
from flaskapp.web.errors import Problem
from flaskapp.web.passthrough import SHORTEST_SECONDS, SLOW, call_while_waiting, refusal

T = TypeVar("T")
Asking = Callable[[Callable[[float], T]], T]
PAGE_SIZE = 100
MOST_PAGES = 20

PART = "Not all could be read from VA's travel pay system. What is shown is right; there may be more."
READ = "Data retrieved successfully."


def metadata(status: int) -> dict[str, Any]:
    """How reading went, as pages are told (contract: frontend 5.2): 200, 206 for a part, or a failure."""
    return {"status": status, "success": status == 200, "message": READ if status == 200 else PART}


@dataclass(frozen=True)
class Partly:
    """A list and whether it is all there is to know; `total` is what upstream counts, None where it does not say."""

    items: list[dict[str, Any]]
    whole: bool
    total: int | None = None


class Numbered(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Numbered)


class Paged(Protocol[N]):
    def __call__(self, number: int, seconds: float) -> Page[N]: ...


class Limit:
    """The seconds that all the calls of one person's request share: at most what is left to the request itself."""

    def __init__(self, account_id: uuid.UUID) -> None:
        self._account_id = account_id
        self._ends_at = time.monotonic() + seconds_left(settings().travel_pay_read_seconds)

    @property
    def left(self) -> float:
        return max(0.1, self._ends_at - time.monotonic())

    def call(self, call: Callable[[float], T]) -> T:
        """Raises Problem like `call_while_waiting`. Without time left no call is made, nor counted as unanswered."""
        if self.left < SHORTEST_SECONDS:
            raise refusal(504, SLOW, "travel_pay")
        return call_while_waiting("travel_pay", self._account_id, call, self.left)


def traveler(account_id: uuid.UUID, limit: Limit) -> Traveler:
    """The person whom Travel Pay is queried for. Raises Problem 403 for an account of nobody, or without an e-mail."""
    with within(limit.left):
        identity = identity_of_caller(account_id, needs_email=True)
    if identity.email is None:
        detail = "VA's records hold no e-mail address of yours, and travel pay needs one. Add one to your VA profile."
        raise Problem(403, detail=detail, code="NO_EMAIL")
    return Traveler(str(account_id), identity.icn, identity.email)


def claims(
    account_id: uuid.UUID,
    start: date | None,
    end: date | None,
    page: int | None,
    size: int,
    limit: Limit | None = None,
) -> Partly:
    """The person's claims, all or those with an appointment from `start` to `end`; one page if `page` is given.

    `limit` is the one of a request that has read something else before."""
    limit, client = limit or Limit(account_id), upstreams().travel_pay
    who = traveler(account_id, limit)
    if start is None or end is None:
        found = limit.call(lambda seconds: client.list_claims(who, total_seconds=seconds))
        once = fresh(found, set())
        return joined([once], not is_short([once]), shapes.listed)

    def read_page(number: int, seconds: float) -> Page[Any]:
        return client.search_claims(who, start, end, number, size, total_seconds=seconds)

    if page is None:
        return joined(*all_pages(limit, read_page), shapes.listed)
    found = limit.call(lambda seconds: read_page(page, seconds))
    once = fresh(found, set())
    return joined([once], length(once) == length(found), shapes.listed)


def all_pages(limit: Limit, read_page: Paged[N]) -> tuple[list[Page[N]], bool]:
    """Every page, and whether none is missing. Without the first there is nothing to show: its failure is raised.

    An item counts once: what comes again stands in the place of one that did not come.
    """
    seen: set[str] = set()
    pages = [fresh(limit.call(lambda seconds: read_page(1, seconds)), seen)]
    while (missing := is_short(pages)) and len(pages) < MOST_PAGES and length(pages[-1]):
        number = len(pages) + 1
        try:
            page = limit.call(lambda seconds, number=number: read_page(number, seconds))  # type: ignore[misc]
        except Problem:
            break
        pages.append(fresh(page, seen))
    return pages, not missing


def fresh(page: Page[N], seen: set[str]) -> Page[N]:
    """The page without the items that were seen before; adds its own to them."""
    items = []
    for item in page.items:
        if item.id not in seen:
            seen.add(item.id)
            items.append(item)
    return replace(page, items=tuple(items))


def is_short(pages: list[Page[Any]]) -> bool:
    """Whether upstream counts more than these pages hold."""
    return sum(length(page) for page in pages) < total_of(pages)


def total_of(pages: Sequence[Page[Any]]) -> int:
    """How many there are. The largest count of any page holds: a later page that counts less has lost some. Only where
    none is counted, the last page says whether there are more."""
    return max((page.total for page in pages if page.is_counted), default=pages[-1].total)


def length(page: Page[Any]) -> int:
    return len(page.items) + page.unreadable


def joined(pages: list[Page[Any]], whole: bool, shape: Callable[[Any], dict[str, Any]]) -> Partly:
    items = [shape(item) for page in pages for item in page.items]
    return Partly(items, whole and not any(page.unreadable for page in pages), total_of(pages))


def claim(account_id: uuid.UUID, claim_id: str) -> dict[str, Any]:
    """One claim with its documents. If these cannot be read, the answer says so."""
    limit, client = Limit(account_id), upstreams().travel_pay
    who = traveler(account_id, limit)
    found = limit.call(lambda seconds: client.claim(who, claim_id, total_seconds=seconds))
    if found is None:
        raise Problem(404, "Not found", "You have no such claim.")
    try:
        documents, unreadable = limit.call(lambda seconds: client.documents(who, claim_id, total_seconds=seconds))
    except Problem:
        return {**shapes.detailed(found, []), "documents_message": PART}
    return shapes.detailed(found, documents) | ({"documents_message": PART} if unreadable else {})


def document(account_id: uuid.UUID, claim_id: str, document_id: str) -> tuple[str, bytes]:
    limit, client = Limit(account_id), upstreams().travel_pay
    who = traveler(account_id, limit)
    found = limit.call(lambda seconds: client.document(who, claim_id, document_id, total_seconds=seconds))
    if found is None:
        raise Problem(404, "Not found", "This claim has no such document.")
    return found.content_type, found.content


def appointments(account_id: uuid.UUID, limit: Limit) -> tuple[list[UpstreamAppointment], bool]:
    """Every appointment that Travel Pay knows, and whether none is missing."""
    client = upstreams().travel_pay
    who = traveler(account_id, limit)

    def read_part(number: int, seconds: float) -> Page[UpstreamAppointment]:
        return client.appointments(who, number, PAGE_SIZE, total_seconds=seconds)

    pages, whole = all_pages(limit, read_part)
    found = [item for page in pages for item in page.items]
    return found, whole and not any(page.unreadable for page in pages)
