"""The only wall clock in Python; SQL has its own in `outbox_now()`. One offset moves both, and only tests set it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from outbox.write import Database

_offset = timedelta()


def now() -> datetime:
    """The current moment, aware, in UTC."""
    return datetime.now(UTC) + _offset


def set_offset(db: Database, offset: timedelta) -> None:
    """Move Python's clock and Postgres's together, for tests."""
    global _offset
    _offset = offset
    db.execute(text("UPDATE outbox_clock SET clock_offset = :offset"), {"offset": offset})
