"""Reader of ids that upstreams give as numbers, and sometimes as text."""

from __future__ import annotations

import re

LARGEST_ID = 2**63 - 1
_DIGITS = re.compile("[0-9]{1,19}")


def read_id(value: object) -> int | None:
    """A positive 64-bit number, written as a number or in digits; None for anything else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= LARGEST_ID else None
