"""Sign-in accounts. A token names an account, not a person: the person is looked up once and kept encrypted."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON, digest_of
from flaskapp.db import db
from outbox import NOW, Timestamp


class Account(db.Model):  # type: ignore[name-defined]
    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "(identity IS NULL) = (icn_digest IS NULL) AND (identity IS NULL) = (identified_at IS NULL)",
            name="identified_whole",
        ),
        # Not unique: one person may hold two accounts.
        Index("ix_accounts_icn_digest", "icn_digest"),
        Index("ix_accounts_identified_at", "identified_at", postgresql_where=text("identified_at IS NOT NULL")),
        Index("ix_accounts_created_at", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True)
    identity: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    icn_digest: Mapped[str | None] = mapped_column(Text, info=digest_of("identity", lambda who: (who["icn"],)))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    identified_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # When the account service last said that it has no ICN: nothing can be filed, and nobody written to. It counts only
    # while `identity` is null; beside one, it is when another person's was corrected to it.
    nobody_at: Mapped[datetime | None] = mapped_column(Timestamp)
