"""A year of an ITF: valid until the second it expires, then the person may request a new one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.clock import legal_date
from tests.integration.itf_steps import Signed, creates, itfs, mails, on_file, sign_in, travel_to
from tests.product import Product

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def signed_in_at(product: Product, timestamp: datetime) -> Signed:
    """The person at that time, with a token that is valid then."""
    travel_to(product, timestamp)
    return sign_in(product)


def ends_of(shown: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(shown["expirationDate"])


def look_through(product: Product, first: datetime, last: datetime, steps: int) -> list[str]:
    """The states on a person's page over a period, at both ends and evenly between."""
    seen = []
    for step in range(steps + 1):
        seen += [shown["recordState"] for shown in signed_in_at(product, first + (last - first) * step / steps).shown()]
    return seen


def test_an_itf_is_valid_to_the_second_and_then_a_new_one_begins(product: Product) -> None:
    requested_at = at("2027-11-06T12:00:00")
    person = signed_in_at(product, requested_at)
    person.ask()
    assert [shown["recordState"] for shown in person.shown()] == ["pending"]
    product.work()
    (shown,) = person.shown()
    ends = ends_of(shown)
    assert requested_at + 365 * DAY < ends < requested_at + 367 * DAY
    assert look_through(product, requested_at + DAY, ends - 30 * SECOND, 6) == ["confirmed"] * 7
    last = signed_in_at(product, ends - 30 * SECOND)
    assert (last.post().status_code, last.ask()["id"]) == (200, shown["id"])
    over = signed_in_at(product, ends)
    assert (over.shown(), over.shown("")) == ([], [])
    fresh = over.post()
    assert (fresh.status_code, over.shown()[0]["recordState"]) == (202, "pending")
    travel_to(product, ends + 60 * SECOND)
    product.work()
    old, new = itfs(product)
    assert (old["state"], new["state"], new["follows_id"]) == ("confirmed", "confirmed", None)
    assert (new["asked_at"] >= old["expires_at"], new["effective_date"] == new["asked_at"]) == (True, True)
    assert (creates(product), len(on_file(product))) == (2, 2)
    assert mails(product, 2) == ["itf.confirmed"] * 2
    assert look_through(product, ends + DAY, ends + 364 * DAY, 3) == ["confirmed"] * 4
    assert product.cases() == []


@pytest.mark.parametrize(
    ("requested_at", "last_day"),
    [
        ("2028-02-29T18:00:00", "2029-02-28"),
        ("2028-03-01T05:30:00", "2029-02-28"),
        ("2027-02-28T18:00:00", "2028-02-28"),
        ("2027-12-31T23:00:00", "2028-12-31"),
    ],
)
def test_the_last_day_is_the_same_day_a_year_later(product: Product, requested_at: str, last_day: str) -> None:
    """Also for a leap day, which has no such day a year later: never one day too many."""
    person = signed_in_at(product, at(requested_at))
    zone = product.app.extensions["config"].legal_time_zone
    person.ask()
    pending = itfs(product)[0]["expires_at"]
    product.work()
    (shown,) = person.shown()
    for ends in (pending, ends_of(shown)):
        assert legal_date(ends, zone).isoformat() == last_day
    assert ends_of(shown) <= pending
    assert signed_in_at(product, ends_of(shown) - 30 * SECOND).shown() == [shown]
    assert signed_in_at(product, ends_of(shown)).shown() == []
