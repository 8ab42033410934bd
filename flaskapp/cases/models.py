"""Cases: what a named human has to decide or finish. One open case per subject and kind."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Integer, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.cases.kinds import KINDS
from flaskapp.db import db
from outbox import NOW, Timestamp, one_of


class Case(db.Model):  # type: ignore[name-defined]
    __tablename__ = "cases"
    __table_args__ = (
        CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name="closed_by_someone"),
        CheckConstraint("owner <> ''", name="owned"),
        # A case of a kind that has no text on what to do would help nobody.
        CheckConstraint(one_of("kind", tuple(KINDS)), name="kind"),
        Index(
            "uq_cases_open",
            "subject_type",
            "subject_id",
            "kind",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        # The closed ones too: a case that was once opened for a subject is found, and not opened again.
        Index("ix_cases_subject", "subject_type", "subject_id", "kind"),
        Index(
            "ix_cases_not_emptied",
            "closed_at",
            postgresql_where=text("closed_at IS NOT NULL AND emptied_at IS NULL"),
        ),
        # The inbox in its order, with what it is filtered and grouped by: no page of it reads the cases before it.
        Index(
            "ix_cases_inbox",
            text("priority DESC"),
            "opened_at",
            "id",
            postgresql_include=["kind", "owner", "subject_type"],
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_cases_closed",
            text("closed_at DESC"),
            "id",
            postgresql_include=["kind", "owner", "subject_type", "opened_at"],
            postgresql_where=text("closed_at IS NOT NULL"),
        ),
        Index("ix_cases_open_owner", "owner", "opened_at", postgresql_where=text("closed_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    kind: Mapped[str] = mapped_column(Text)
    subject_type: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    notes: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    opened_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    closed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    closed_by: Mapped[str | None] = mapped_column(Text)
    resolution: Mapped[str | None] = mapped_column(Text)
    # When notes, resolution and all details but ids were removed.
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)
