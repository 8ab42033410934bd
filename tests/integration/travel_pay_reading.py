"""Steps for tests that read travel pay while the caller waits: look at BTSSS's claims, add some, break and mend."""

from __future__ import annotations

from typing import Any

from flaskapp.db import db
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_travel_pay
from sandbox.upstreams.travel_pay_book import Book
from tests.product import ADA, Product

APPOINTMENTS_URL = "/vaos/v2/appointments"
CONTACTS_URL = "/travel_pay/v0/contact_discrepancies"
LIST, SEARCH = "GET /api/v2/claims", "GET /api/v2/claims/search"
STATUSES, MANY, DIFFER = (with_travel_pay(habit) for habit in ("statuses", "many", "contacts_differ"))
ALWAYS = {"start_date": "2000-01-01", "end_date": "2099-12-31"}

CLOSE_BREAKERS = """
    UPDATE outbox_breakers SET opened_at = NULL, open_until = NULL, reason = NULL, trips = 0, unanswered = '{}',
           probe_message_id = NULL, probe_fence = NULL;
    UPDATE outbox_breaker_trips SET closed_at = outbox_now() WHERE closed_at IS NULL
"""


def reads(product: Product, operation: str = "GET /api/") -> int:
    """The number of reads that reached BTSSS."""
    return len(product.control.received("travel_pay", operation))


def mend(product: Product, *upstreams: str) -> None:
    """Lift the faults and close every breaker, as if nothing had happened."""
    for upstream in upstreams or ("travel_pay",):
        product.control.clear(upstream)
    with db.engine.begin() as connection:
        connection.exec_driver_sql(CLOSE_BREAKERS)


def plant(product: Product, veteran: Veteran = ADA, **values: Any) -> dict[str, Any]:
    """Add a claim to BTSSS that was made elsewhere."""
    found: dict[str, Any] = product.control.call("POST", "travel_pay", "claims", json={"icn": veteran.icn, **values})
    return found


def book(product: Product) -> Book:
    """The fake BTSSS's own records, for what its control interface cannot put there."""
    return product.fakes.fakes.travel_pay.book


def refusal(response: Any) -> tuple[int, str]:
    """The HTTP status of a failure, which its one entry repeats as text, and the entry's code."""
    (entry,) = response.get_json()["errors"]
    assert response.content_type == "application/json"
    assert entry["status"] == str(response.status_code)
    assert entry["title"] and entry["detail"]
    return response.status_code, str(entry["code"])
