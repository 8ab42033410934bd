"""Calendar days as the law counts them: in `LEGAL_TIME_ZONE`, the zone of the upstream's own dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def legal_date(moment: datetime, zone: ZoneInfo) -> date:
    """The calendar day of a moment."""
    return moment.astimezone(zone).date()


def next_midnight(moment: datetime, zone: ZoneInfo) -> datetime:
    """The first midnight after a moment, in UTC: a day of 23 or 25 hours included."""
    return datetime.combine(legal_date(moment, zone) + timedelta(days=1), time(), zone).astimezone(UTC)


def a_year_after(moment: datetime, zone: ZoneInfo) -> datetime:
    """The same wall-clock time a year later, in UTC. A 29 February has its anniversary on the 28th: never too late."""
    local = moment.astimezone(zone)
    try:
        later = local.replace(year=local.year + 1)
    except ValueError:
        later = local.replace(year=local.year + 1, day=28)
    return later.astimezone(UTC)
