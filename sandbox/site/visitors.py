"""Visitors of the pages: one browser each, with the person whom it plays and what was typed into its forms.

Everything is in memory and gone with the run, as a browser's session is.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from sandbox.site.product import Product
from sandbox.upstreams.cast import Veteran

MOST = 200


@dataclass
class Shelf:
    """What one person was promised through these pages, as far as the product gives nobody a list: ids, newest first.

    `claims` are check-in claims with the appointment that each is for; `forms` are job ids.
    """

    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    forms: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Visitor:
    """`drafts` holds what was typed, by form; `notes` what the next page is to say once, by form."""

    product: Product
    language: str = "en"
    person: Veteran | None = None
    shelf: Shelf = field(default_factory=Shelf)
    drafts: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def draft(self, form: str) -> dict[str, Any]:
        return self.drafts.setdefault(form, {})


class Visitors:
    """The latest of them by the secret in their cookie, and the shelf of each person; safe from many threads."""

    def __init__(self, product_url: str, sign_in_url: str) -> None:
        self._urls = product_url, sign_in_url
        self._lock = threading.Lock()
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._shelves: dict[str, Shelf] = {}

    def of(self, secret: str | None) -> tuple[str, Visitor]:
        """The visitor with this secret, or a new one with a new secret."""
        with self._lock:
            if secret is None or secret not in self._visitors:
                secret = secrets.token_urlsafe(24)
                self._visitors[secret] = Visitor(Product(*self._urls))
            self._visitors.move_to_end(secret)
            while len(self._visitors) > MOST:
                self._visitors.popitem(last=False)[1].product.close()
            return secret, self._visitors[secret]

    def become(self, visitor: Visitor, person: Veteran) -> None:
        """Play another person in a browser without a past; raises Trouble if nobody can be signed in."""
        product = Product(*self._urls)
        product.sign_in(person.account)
        with self._lock:
            shelf = self._shelves.setdefault(person.uuid, Shelf())
        visitor.product, visitor.person, visitor.shelf = product, person, shelf
        visitor.drafts, visitor.notes = {}, {}

    def close(self) -> None:
        for visitor in self._visitors.values():
            visitor.product.close()
