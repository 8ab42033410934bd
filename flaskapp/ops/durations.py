"""Durations as operators type them, in a shell and on a page: a number and a unit."""

from __future__ import annotations

import re
from datetime import timedelta

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION = re.compile(r"([0-9]{1,6})([smhd])")


def read_duration(text: str) -> timedelta | None:
    """`30s`, `90m`, `4h` or `2d`; None for anything else, and for no time at all."""
    found = DURATION.fullmatch(text)
    if found is None or found[1].strip("0") == "":
        return None
    return timedelta(**{UNITS[found[2]]: int(found[1])})
