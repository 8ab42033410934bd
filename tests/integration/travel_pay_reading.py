"""Steps of tests that read travel pay while its person waits: look at BTSSS's file, put more on it, break and mend."""

from __future__ import annotations

from typing import Any

from flaskapp.db import db
from sandbox.scenarios import with_travel_pay
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.travel_pay_book import Book
from tests.house import ADA, House

APPOINTMENTS_URL = "/vaos/v2/appointments"
CONTACTS_URL = "/travel_pay/v0/contact_discrepancies"
LIST, SEARCH = "GET /api/v2/claims", "GET /api/v2/claims/search"
STATUSES, MANY, DIFFER = (with_travel_pay(habit) for habit in ("statuses", "many", "contacts_differ"))
ALWAYS = {"start_date": "2000-01-01", "end_date": "2099-12-31"}

OPEN = """
    UPDATE outbox_gates SET closed_at = NULL, closed_until = NULL, reason = NULL, closings = 0, unanswered = '{}',
           canary_message_id = NULL, canary_fence = NULL;
    UPDATE outbox_gate_closings SET opened_at = outbox_now() WHERE opened_at IS NULL
"""


def reads(house: House, operation: str = "GET /api/") -> int:
    """How many reads reached BTSSS."""
    return len(house.control.received("travel_pay", operation))


def mend(house: House, *upstreams: str) -> None:
    """The faults are lifted, and every gate stands as if nothing had happened."""
    for upstream in upstreams or ("travel_pay",):
        house.control.clear(upstream)
    with db.engine.begin() as connection:
        connection.exec_driver_sql(OPEN)


def plant(house: House, veteran: Veteran = ADA, **values: Any) -> dict[str, Any]:
    """A claim made elsewhere is on BTSSS's file."""
    found: dict[str, Any] = house.control.call("POST", "travel_pay", "claims", json={"icn": veteran.icn, **values})
    return found


def book(house: House) -> Book:
    """BTSSS's file itself, for what its back door cannot put there."""
    return house.fakes.fakes.travel_pay.book


def refusal(response: Any) -> tuple[int, str]:
    """The HTTP status of a failure, which its one entry repeats as text, and the entry's code."""
    (entry,) = response.get_json()["errors"]
    assert response.content_type == "application/json"
    assert entry["status"] == str(response.status_code)
    assert entry["title"] and entry["detail"]
    return response.status_code, str(entry["code"])
