"""Models of intents to file and of first looks. Postgres itself forbids a person a second valid one of a type."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.db import Markable, db, synthetic_index
from flaskapp.intent_to_file.states import FIRST_LOOK, INTENT_TO_FILE, PATHS, PENDING, TYPES
from outbox import NOW, Timestamp, one_of


class IntentToFile(Markable, db.Model):  # type: ignore[name-defined]
    """Times are UTC. Valid from `asked_at` to `expires_at`; `effective_date` is the time that counts for the law.

    The range begins at `asked_at`, not at `effective_date`: an ITF found upstream may be dated back into the time of
    an earlier one that has since expired, and must not be refused for it.
    """

    __tablename__ = "intents_to_file"
    __table_args__ = (
        CheckConstraint(one_of("state", INTENT_TO_FILE.states), name="state"),
        CheckConstraint(one_of("type", TYPES), name="type"),
        CheckConstraint(one_of("path", PATHS), name="path"),
        CheckConstraint("effective_date <= asked_at", name="effective_only_earlier"),
        CheckConstraint("expires_at > asked_at", name="expires_later"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint(
            "state NOT IN ('confirmed', 'used', 'broken') OR (upstream_id IS NOT NULL AND upstream_status IS NOT NULL"
            " AND upstream_created_at IS NOT NULL AND upstream_expires_at IS NOT NULL)",
            name="confirmed_is_known_upstream",
        ),
        CheckConstraint("refresh_due_at IS NULL OR state = 'confirmed'", name="only_confirmed_is_refreshed"),
        ExcludeConstraint(
            ("account_id", "="),
            ("type", "="),
            (func.tstzrange(text("asked_at"), text("expires_at")), "&&"),
            using="gist",
            where=text("state IN ('pending', 'confirmed')"),
            name="ex_intents_to_file_one_valid",
        ),
        Index("ix_intents_to_file_account", "account_id", "type", "asked_at"),
        synthetic_index("intents_to_file"),
        Index("ix_intents_to_file_finished_at", "finished_at"),
        Index("ix_intents_to_file_follows", "follows_id", postgresql_where=text("follows_id IS NOT NULL")),
        Index(
            "ix_intents_to_file_midnight",
            "legal_midnight_at",
            postgresql_where=text("state = 'pending' AND NOT past_midnight"),
        ),
        Index("ix_intents_to_file_pending", "legal_midnight_at", postgresql_where=text("state = 'pending'")),
        Index("ix_intents_to_file_upstream_id", "upstream_id", postgresql_where=text("upstream_id IS NOT NULL")),
        Index("ix_intents_to_file_refresh", "refresh_due_at", postgresql_where=text("refresh_due_at IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    type: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    unconfirmed: Mapped[bool] = mapped_column(server_default=text("false"))
    asked_at: Mapped[datetime] = mapped_column(Timestamp)
    effective_date: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    # The first midnight in LEGAL_TIME_ZONE after the request: if it is filed later, upstream gives it a later date.
    legal_midnight_at: Mapped[datetime] = mapped_column(Timestamp)
    past_midnight: Mapped[bool] = mapped_column(server_default=text("false"))
    upstream_id: Mapped[str | None] = mapped_column(Text)
    upstream_status: Mapped[str | None] = mapped_column(Text)
    upstream_created_at: Mapped[datetime | None] = mapped_column(Timestamp)
    upstream_expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # How we know what upstream holds: created, found (read before creating) or late.
    how: Mapped[str | None] = mapped_column(Text)
    last_synced_at: Mapped[datetime | None] = mapped_column(Timestamp)
    refresh_due_at: Mapped[datetime | None] = mapped_column(Timestamp)
    doubted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # When an accepted 526 used it up. It is `used` as soon as upstream shows it no more.
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    # The one before it that failed or broke, whose earlier date its open case defends.
    follows_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("intents_to_file.id"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class RefreshTick(db.Model):  # type: ignore[name-defined]
    """One row with the time at which the rolling refresh last took its share, so that two schedulers take only one."""

    __tablename__ = "itf_refresh_ticks"
    __table_args__ = (CheckConstraint("single", name="single_row"),)

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    ticked_at: Mapped[datetime] = mapped_column(Timestamp)


class FirstLook(db.Model):  # type: ignore[name-defined]
    """Whether upstream holds an ITF of this account and type from elsewhere; `found` once `finished_at` says when we
    looked. Looked again in a later visit, it is the same row in its next `cycle`."""

    __tablename__ = "itf_first_looks"
    __table_args__ = (
        UniqueConstraint("account_id", "type"),
        CheckConstraint(one_of("state", FIRST_LOOK.states), name="state"),
        CheckConstraint(one_of("type", TYPES), name="type"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint("(state = 'done') = (found IS NOT NULL)", name="done_is_known"),
        Index("ix_itf_first_looks_finished_at", "finished_at"),
        Index("ix_itf_first_looks_pending", "asked_at", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    type: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    found: Mapped[bool | None]
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    asked_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
