"""How values are shown on the pages of the console: filters of its templates."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from markupsafe import Markup, escape

from outbox import messages

CODE = re.compile(r"`([^`]+)`")


def utc(timestamp: datetime | None, pattern: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time as the console shows it; naive ones are the clock on a facility's wall."""
    if timestamp is None:
        return ""
    return timestamp.strftime(pattern) if timestamp.tzinfo is None else timestamp.astimezone(UTC).strftime(pattern)


def counted(number: int) -> str:
    """A number that was counted up to a bound only."""
    return f"{number:,}" if number < messages.MOST_COUNTED else f"{messages.MOST_COUNTED:,} or more"


def as_text(value: Any) -> str:
    return f"{utc(value)}{' UTC' if value.tzinfo else ''}" if isinstance(value, datetime) else str(value)


def in_time(seconds: float) -> str:
    """Seconds as people say them in a table: `42 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def with_code(words: str) -> Markup:
    """The words with `commands` set as code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(words))))


def init_app(app: Flask) -> None:
    app.jinja_env.filters.update(utc=utc, as_text=as_text, counted=counted, in_time=in_time, code=with_code)
