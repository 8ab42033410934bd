"""Dates as JavaScript reckons with them in a browser of a given zone (contract: frontend 2.4, 3, 5)."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

# An extract of the page's table of stations, which it searches by the whole number, then by the first three digits.
STATIONS = {
    "442": "America/Denver",
    "530": "America/Boise",
    "668": "America/Los_Angeles",
    "757": "America/New_York",
    "983": "America/Denver",
}
# A time as JavaScript is sure to read it.
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)")
MOST_DAYS = 30
MONTHS_LISTED = 3


def instant(text: str) -> datetime:
    """`new Date(text)` for a time with an offset or `Z`, to the millisecond; raises ValueError otherwise.

    Python reads more forms than JavaScript does. JavaScript takes a bare day for an instant, which is another day in
    America, and the 30th of February for one in March: these are refused here.
    """
    if not WRITTEN.fullmatch(text):
        raise ValueError(f"{text!r} is an invalid date, or the browser's zone would decide")
    found = datetime.fromisoformat(text)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def past_three_months(now: datetime, browser_zone: str) -> tuple[str, str]:
    """The first and the last second of the list's first period, as it asks for them."""
    today = now.astimezone(ZoneInfo(browser_zone)).date()
    months = today.year * 12 + today.month - 1 - MONTHS_LISTED
    year, month = months // 12, months % 12 + 1
    first = today.replace(year=year, month=month, day=min(today.day, monthrange(year, month)[1]))
    return f"{first}T00:00:00", f"{today}T23:59:59"


def in_zone_of_facility(start: str, zone: str) -> str:
    """The served UTC start in the facility's zone, with that zone's offset and milliseconds."""
    return instant(start).astimezone(ZoneInfo(zone)).isoformat(timespec="milliseconds")


def is_past(start: str | None, station: str, kind: str, now: datetime, browser_zone: str) -> bool:
    """Whether the visit is over: wall clocks in whole seconds. Without a start it is never past."""
    if not start:
        return False
    zone = ZoneInfo(STATIONS.get(station) or STATIONS.get(station[:3]) or browser_zone)
    began, current = (each.astimezone(zone).replace(tzinfo=None, microsecond=0) for each in (instant(start), now))
    return began + timedelta(minutes=240 if kind == "telehealth" else 60) < current


def days_since(local_start: str, now: datetime, browser_zone: str) -> int:
    """Calendar days in the browser's zone."""
    zone = ZoneInfo(browser_zone)
    return (now.astimezone(zone).date() - instant(local_start).astimezone(zone).date()).days


def is_out_of_bounds(local_start: str, now: datetime, browser_zone: str) -> bool:
    return days_since(local_start, now, browser_zone) > MOST_DAYS


def is_live_itf(expiration: str, now: datetime, browser_zone: str) -> bool:
    """R2 and R3: later than now, or on the same calendar day."""
    zone = ZoneInfo(browser_zone)
    ends = instant(expiration)
    return ends > now or ends.astimezone(zone).date() == now.astimezone(zone).date()


def day_shown_by_r2(expiration: str, browser_zone: str) -> str:
    """The instant plus one hour, as a day in the browser's zone."""
    return (instant(expiration) + timedelta(hours=1)).astimezone(ZoneInfo(browser_zone)).date().isoformat()
