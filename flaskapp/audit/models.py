"""Latest audit result of each scope, stored because computing one reads many rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Float, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.db import db
from outbox import NOW, Timestamp


class Audit(db.Model):  # type: ignore[name-defined]
    """One row for each scope: `recent`, every minute, leaves out what ended long ago; `full` reads everything."""

    __tablename__ = "audits"
    __table_args__ = (CheckConstraint("scope IN ('recent', 'full')", name="scope"),)

    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    seconds: Mapped[float] = mapped_column(Float)
    report: Mapped[dict[str, Any]] = mapped_column(JSONB)
