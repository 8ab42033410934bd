"""Notifications to the person: one row for each subject, kind and cycle. Its id is the `reference` of every send."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON
from flaskapp.db import Markable, db, synthetic_index
from flaskapp.notifications.states import NOTIFICATION, PENDING
from outbox import NOW, Timestamp, one_of


class Notification(Markable, db.Model):  # type: ignore[name-defined]
    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint(one_of("state", NOTIFICATION.states), name="state"),
        CheckConstraint("channel IN ('sms', 'email')", name="channel"),
        CheckConstraint(
            "state NOT IN ('delivered', 'undeliverable', 'withdrawn') OR finished_at IS NOT NULL", name="finished"
        ),
        CheckConstraint("state <> 'withdrawn' OR superseded_why IS NOT NULL", name="withdrawn_has_why"),
        CheckConstraint(
            "recipient IS NOT NULL AND personalisation IS NOT NULL OR emptied_at IS NOT NULL", name="kept_or_emptied"
        ),
        UniqueConstraint("subject_type", "subject_id", "kind", "cycle"),
        synthetic_index("notifications", one_a_day=False),
        # When it came to rest; null while VANotify has not taken it.
        Index("ix_notifications_rest", text("COALESCE(finished_at, sent_at)")),
        Index(
            "ix_notifications_not_emptied",
            text("COALESCE(finished_at, sent_at)"),
            postgresql_where=text("emptied_at IS NULL"),
        ),
        Index("ix_notifications_va_notify_id", "va_notify_id", postgresql_where=text("va_notify_id IS NOT NULL")),
        Index("ix_notifications_followed", "sent_at", postgresql_where=text("state = 'sent' AND asked_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    subject_type: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer)
    channel: Mapped[str] = mapped_column(Text)
    sender: Mapped[str] = mapped_column(Text)
    recipient: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    personalisation: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    va_notify_id: Mapped[str | None] = mapped_column(Text)
    upstream_status: Mapped[str | None] = mapped_column(Text)
    status_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    asked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # Why what it says is no longer true. If it was not sent by then, it must not be sent.
    superseded_why: Mapped[str | None] = mapped_column(Text)
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)
