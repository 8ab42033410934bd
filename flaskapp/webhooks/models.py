"""Webhooks: who is told what happens, and each delivery that one is owed. No personal data stands in either."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON
from flaskapp.db import db
from outbox import NOW, Timestamp, one_of

# A delivery waits until its receiver took it, refused it for good, or is not a receiver any more.
PENDING, DELIVERED, REFUSED, WITHDRAWN = "pending", "delivered", "refused", "withdrawn"
STATES = (PENDING, DELIVERED, REFUSED, WITHDRAWN)


class Webhook(db.Model):  # type: ignore[name-defined]
    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("cardinality(kinds) > 0", name="kinds"),
        CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="removed_by_someone"),
        CheckConstraint("(removed_at IS NULL) = (secret IS NOT NULL)", name="has_secret"),
        CheckConstraint("(earlier_secret IS NULL) = (rotated_at IS NULL)", name="rotated"),
        CheckConstraint("num_nonnulls(paused_at, paused_by, paused_reason) IN (0, 3)", name="paused_by_someone"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    url: Mapped[str] = mapped_column(Text)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    secret: Mapped[str | None] = mapped_column(EncryptedJSON)
    # For some time after a rotation, deliveries are signed with it as well.
    earlier_secret: Mapped[str | None] = mapped_column(EncryptedJSON)
    rotated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    made_by: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    removed_by: Mapped[str | None] = mapped_column(Text)
    removed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # While it is paused nothing is sent to it, and what it is owed waits.
    paused_at: Mapped[datetime | None] = mapped_column(Timestamp)
    paused_by: Mapped[str | None] = mapped_column(Text)
    paused_reason: Mapped[str | None] = mapped_column(Text)


class WebhookDelivery(db.Model):  # type: ignore[name-defined]
    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(one_of("state", STATES), name="state"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished"),
        # However often it is read what happened, a receiver is owed one delivery for it.
        UniqueConstraint("webhook_id", "event"),
        Index("ix_webhook_deliveries_pending", "webhook_id", "sequence", postgresql_where=text("state = 'pending'")),
        Index("ix_webhook_deliveries_kept", text("COALESCE(finished_at, created_at)")),
        Index(
            "ix_webhook_deliveries_ended",
            *("webhook_id", "state", "finished_at"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
    )

    # Of what it tells and of whom, so that it is the same whenever it is made.
    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    webhook_id: Mapped[uuid.UUID] = mapped_column(Uuid, ForeignKey("webhooks.id"))
    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    event: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    occurred_at: Mapped[datetime] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    state: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    # How often it was refused, with which HTTP status the last time, and when it is tried again.
    refusals: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    refused_with: Mapped[int | None] = mapped_column(Integer)
    due_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
