"""The day that a posted text means among a check-in's appointments (contract: frontend 2.3, 2.4; travel 1.9)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from flaskapp.check_in.appointments import MOST_KEPT, Served, day_of, is_among, joined, posted_of, served

TODAY = date(2026, 11, 30)
LA, GUAM = "America/Los_Angeles", "Pacific/Guam"
EVENING = {"startTime": "2026-11-30T01:30:00.000+00:00", "timezone": LA}
MORNING = {"startTime": "2026-11-29T22:00:00.000Z", "timezone": GUAM}
LOCAL = {"startTime": "2026-11-29T17:30:00"}


@pytest.mark.parametrize(
    ("appointments", "text", "day"),
    [
        # Oracle Health: the served instant, in whatever form it comes back, is the facility's day.
        ([EVENING], "2026-11-30T01:30:00.000+00:00", "2026-11-29"),
        ([EVENING], "2026-11-30T01:30:00Z", "2026-11-29"),
        ([EVENING], "2026-11-29T17:30:00.000-08:00", "2026-11-29"),
        ([EVENING], "2026-11-29T17:30:00", "2026-11-29"),
        ([EVENING], "2026-11-29", "2026-11-29"),
        ([MORNING], "2026-11-29T22:00:00.000Z", "2026-11-30"),
        ([MORNING], "2026-11-30T08:00:00.000+10:00", "2026-11-30"),
        ([LOCAL, EVENING, MORNING], "2026-11-29T22:00:00+00:00", "2026-11-30"),
        # VistA: no offset; one that a page adds says nothing.
        ([LOCAL], "2026-11-29T17:30:00", "2026-11-29"),
        ([LOCAL], "2026-11-29T17:30:00Z", "2026-11-29"),
        ([LOCAL, {"startTime": "2026-11-29T08:00:00"}], "2026-11-29T08:00:00", "2026-11-29"),
        # One that cannot be read excludes no day, and takes none from the others.
        ([EVENING, {"startTime": 1763000000}], "2026-11-30T01:30:00Z", "2026-11-29"),
        ([{"startTime": "soon"}], "2026-12-31", "2026-12-31"),
        ([{}], "2026-10-30T23:30:00-05:00", "2026-10-30"),
        ([EVENING | {"timezone": "Mars/Base"}], "2026-11-30T01:30:00Z", "2026-11-30"),
        ([EVENING | {"timezone": "../etc/passwd"}], "2026-11-30T01:30:00Z", "2026-11-30"),
        ([EVENING | {"timezone": 7}], "2026-11-30T01:30:00Z", "2026-11-30"),
    ],
)
def test_what_was_served_may_be_posted(appointments: list[dict[str, Any]], text: str, day: str) -> None:
    kept = served({"appointments": appointments})
    found = day_of(posted_of(text), kept)
    assert (found, is_among(found, kept, TODAY)) == (date.fromisoformat(day), True)


@pytest.mark.parametrize("text", ["2026-11-30", "2026-11-30T02:30:00Z", "2026-11-28", "1900-01-01", "2199-12-31"])
@pytest.mark.parametrize("appointments", [[EVENING], [LOCAL], [EVENING, LOCAL], []])
def test_another_day_is_among_none_of_them(appointments: list[dict[str, Any]], text: str) -> None:
    kept = served({"appointments": appointments})
    assert not is_among(day_of(posted_of(text), kept), kept, TODAY)


def test_an_appointment_whose_day_cannot_be_told_allows_the_days_on_which_it_may_be() -> None:
    without_zone, without_start = served({"appointments": [{"startTime": EVENING["startTime"]}, {"timezone": LA}]})
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(500)]
    may_be = [day for day in days if is_among(day, [without_zone], TODAY)]
    assert may_be == [date(2026, 11, 29), date(2026, 11, 30), date(2026, 12, 1)]
    may_be = [day for day in days if is_among(day, [without_start], TODAY)]
    assert (may_be[0], may_be[-1], len(may_be)) == (date(2026, 10, 30), date(2026, 12, 31), 63)


def test_what_was_served_before_is_kept_within_a_bound() -> None:
    new, old = Served("2026-11-29T17:30:00", None), Served("2026-11-28T17:30:00", None)
    assert joined([new], None) == joined([new], [new]) == [new]
    assert joined([new], [old, new]) == [new, old]
    many = [Served(f"{number}", None) for number in range(2 * MOST_KEPT)]
    assert joined([new], many) == [new, *many[: MOST_KEPT - 1]]
    assert joined(many, [new]) == many
