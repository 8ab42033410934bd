"""Strict readers of fields in a JSON answer: a field in another form than expected makes the answer unreadable.

Every reader raises TypeError or ValueError for such a field.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def an_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def object_or_empty(value: object) -> dict[str, Any]:
    """The object; one that is left out counts as an object without fields."""
    return {} if value is None else an_object(value)


def text_or_none(value: object) -> str | None:
    """The text without blanks around it; a blank text counts as none."""
    if value is not None and not isinstance(value, str):
        raise TypeError("expected a text or null")
    return (value or "").strip() or None


def text(value: object) -> str:
    found = text_or_none(value)
    if found is None:
        raise ValueError("expected a text")
    return found


def time_or_none(value: object) -> str | None:
    """A date, perhaps with a time, as it is written: many are wall-clock times although they end in `Z`."""
    found = text_or_none(value)
    if found is not None:
        if not _TIME.fullmatch(found):
            raise ValueError("expected a date or a date and time")
        datetime.fromisoformat(found)
    return found


def number_or_none(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("expected a number or null")
    return value


def yes_or_no_or_none(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError("expected true, false or null")
    return value


def count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("expected a count")
    return value
