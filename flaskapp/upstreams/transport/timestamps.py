"""Strict reader of upstream timestamps: a time without an offset could be hours wrong, and claims are judged by it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")


def parse_timestamp(text: object) -> datetime:
    """ISO 8601 with seconds and an offset, as aware UTC. Raises ValueError for anything else."""
    if not isinstance(text, str) or not _SHAPE.fullmatch(text):
        raise ValueError("expected a date and time with an offset")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:
        raise ValueError("out of range") from None
