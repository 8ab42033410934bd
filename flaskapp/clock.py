"""Wall clock and legal calendar: the only clock in Python. SQL has its own in `outbox_now()`.

One offset moves both clocks, and only tests set it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from outbox import Database, schema

HOUR_SECONDS = 3600.0
DAY_SECONDS = 86_400.0

_offset = timedelta()


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC) + _offset


def set_offset(db: Database, offset: timedelta) -> None:
    """Move Python's clock and Postgres's together, for tests."""
    global _offset
    _offset = offset
    schema.set_clock(db, offset)


def legal_date(timestamp: datetime, zone: ZoneInfo) -> date:
    """The calendar day of a timestamp in this zone."""
    return timestamp.astimezone(zone).date()


def next_midnight(timestamp: datetime, zone: ZoneInfo) -> datetime:
    """The first midnight after a timestamp, in UTC. Days of 23 or 25 hours are taken into account."""
    return datetime.combine(legal_date(timestamp, zone) + timedelta(days=1), time(), zone).astimezone(UTC)


def a_year_after(timestamp: datetime, zone: ZoneInfo) -> datetime:
    """The same wall-clock time a year later, in UTC. The anniversary of 29 February is the 28th: never too late."""
    local = timestamp.astimezone(zone)
    try:
        later = local.replace(year=local.year + 1)
    except ValueError:
        later = local.replace(year=local.year + 1, day=28)
    return later.astimezone(UTC)
