"""Dates as JavaScript reckons with them in a browser of a given zone (contract: frontend 2.4, 3, 5)."""

from __future__ import annotations

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
MOST_DAYS = 30


def instant(text: str) -> datetime:
    """`new Date(text)` for a time with an offset or `Z`; raises ValueError otherwise."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: the browser's zone would decide")
    return found


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
