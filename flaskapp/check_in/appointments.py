"""Appointments of a check-in session as LoROTA named them, and the day that a posted date or time means among them.

Two kinds of start are served (contract: travel 1.9; frontend 2.3): VistA's wall clock without an offset, and Oracle
Health's UTC instant with the facility's zone beside it. A page may post either back, also as the facility's clock with
its offset (contract: frontend 2.4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

DATE_OR_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
# Of those that LoROTA no longer names, so many are kept: a page may show an answer of an hour ago.
MOST_KEPT = 100
# Nowhere does the calendar differ from UTC's by more. And an appointment without a start is of these days: a claim has
# to be filed within 30.
ZONE_DAYS, NEAR_DAYS = 1, 31


@dataclass(frozen=True)
class Served:
    """Start and zone of one appointment, each as LoROTA wrote it; None where it wrote no text. The station as text."""

    start: str | None
    zone: str | None
    station: str | None = None

    @property
    def starts_at(self) -> datetime | None:
        """Aware for an instant, naive for a wall clock; None when it cannot be read."""
        return time_of(self.start) if self.start else None

    @property
    def day(self) -> date | None:
        """The facility's calendar day; None when that cannot be told: an instant without a zone has none."""
        return self.clock.date() if self.clock else None

    @property
    def clock(self) -> datetime | None:
        """What the facility's clock shows when it starts (naive); None when that cannot be told."""
        at = self.starts_at
        if at is None or not is_utc(at):
            return at.replace(tzinfo=None) if at else None
        zone = zone_of(self.zone)
        return at.astimezone(zone).replace(tzinfo=None) if zone else None

    def may_be_on(self, day: date, today: date) -> bool:
        """Whether it is on that day, or may be: where its zone is not known, a day more on each side; where its start
        cannot be read, any day near today's."""
        if self.day is not None:
            return self.day == day
        at = self.starts_at
        middle, most = (at.date(), ZONE_DAYS) if at is not None else (today, NEAR_DAYS)
        return abs(day - middle).days <= most


@dataclass(frozen=True)
class Posted:
    """What a page posted: the date in its text and, where it has a time, its UTC instant or its wall clock (naive)."""

    written: date
    instant: datetime | None = None
    clock: datetime | None = None


def served(data: dict[str, Any]) -> list[Served]:
    """The appointments in LoROTA's data, whose texts may be anything."""
    return [
        Served(
            text_or_none(each.get("startTime")), text_or_none(each.get("timezone")), first_text(each.get("stationNo"))
        )
        for each in data["appointments"]
    ]


def joined(new: list[Served], kept: list[Served] | None) -> list[Served]:
    """The newest appointments first, and some that were served before."""
    older = [each for each in kept or () if each not in new]
    return [*new, *older[: max(0, MOST_KEPT - len(new))]]


def named(posted: Posted, appointments: list[Served]) -> Served | None:
    """The appointment that the text names: by its instant, by its clock, or as the only one of the day."""
    if posted.instant is not None:
        at_once = (each for each in appointments if each.day is not None and is_at(each.starts_at, posted.instant))
        return next(at_once, None)
    if posted.clock is not None:
        return next((each for each in appointments if each.clock == posted.clock), None)
    that_day = [each for each in appointments if each.day == posted.written]
    return that_day[0] if len(that_day) == 1 else None


def is_at(starts_at: datetime | None, instant: datetime) -> bool:
    return starts_at is not None and starts_at.tzinfo is not None and starts_at == instant


def day_of(posted: Posted, appointments: list[Served]) -> date:
    """The facility's day: that of the appointment that the text names, else the date in the text."""
    found = named(posted, appointments)
    return found.day if found is not None and found.day is not None else posted.written


def is_among(day: date, appointments: list[Served], today: date) -> bool:
    """Whether an appointment is on that day, or may be."""
    return any(each.may_be_on(day, today) for each in appointments)


def posted_of(value: object) -> Posted:
    """What a page means. Raises ValueError for what is neither a date nor a date-time."""
    found = DATE_OR_TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("neither a date nor a date-time")
    at = datetime.fromisoformat(found[0])
    if found[2] is None:
        return Posted(at.date())
    return Posted(at.date(), instant=at) if is_utc(at) else Posted(at.date(), clock=at.replace(tzinfo=None))


def time_of(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def is_utc(at: datetime) -> bool:
    return at.utcoffset() == timedelta(0)


def zone_of(name: str | None) -> tzinfo | None:
    """The zone; None for a name that is unknown (a KeyError), or that is a path or a folder (the others)."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, OSError, ValueError):
        return None


def first_text(*values: object) -> str | None:
    """The first of these that is a text with anything in it, or a number: LoROTA writes stations in either form
    (contract: travel 1.9)."""
    texts = (str(value).strip() for value in values if isinstance(value, str | int) and not isinstance(value, bool))
    return next(filter(None, texts), None)


def text_or_none(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
