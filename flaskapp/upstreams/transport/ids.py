"""Readers of ids: those that upstreams give as numbers, and sometimes as text, and the numbers of stations."""

from __future__ import annotations

import re

LARGEST_ID = 2**63 - 1
_DIGITS = re.compile("[0-9]{1,19}")
_STATION = re.compile(r"[0-9]{3}[0-9A-Z]{0,5}")
# So many signs of a station number name the facility itself.
_MAIN = 3


def read_id(value: object) -> int | None:
    """A positive 64-bit number, written as a number or in digits; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= LARGEST_ID else None


def station_of(key: str | None) -> str | None:
    """The station number, if this key of a facility is one; None for any other kind of key."""
    upper = (key or "").upper()
    return upper if _STATION.fullmatch(upper) else None


def same_facility(station: str, other: str) -> bool:
    """Whether both are one facility: some name the main number (500) where others name the place (500GC)."""
    main = station[:_MAIN]
    return station == other or (other[:_MAIN] == main and main in (station, other))
