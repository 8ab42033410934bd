"""Check-in sessions: who proved to be the person behind an appointment link, and what LoROTA says about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON, digest_from
from flaskapp.db import db
from outbox import NOW, Timestamp


class CheckInSession(db.Model):  # type: ignore[name-defined]
    __tablename__ = "check_in_sessions"
    __table_args__ = (Index("ix_check_in_sessions_expires_at", "expires_at"),)

    # Only the digest of the cookie is kept: somebody who reads this table cannot sign in with it.
    token_digest: Mapped[str] = mapped_column(Text, primary_key=True, info=digest_from("created_at"))
    uuid: Mapped[str] = mapped_column(Text)
    lorota_token: Mapped[str] = mapped_column(EncryptedJSON)
    identity: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    # A list of `{"start", "zone", "station"}`; none while LoROTA has told nothing, and in sessions older than this.
    appointments: Mapped[list[dict[str, Any]] | None] = mapped_column(EncryptedJSON)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class CheckInTries(db.Model):  # type: ignore[name-defined]
    """`taken`: wrong ones and those that have no answer yet."""

    __tablename__ = "check_in_tries"
    __table_args__ = (
        CheckConstraint("0 <= wrong AND wrong <= taken", name="wrong_is_taken"),
        Index("ix_check_in_tries_expires_at", "expires_at"),
    )

    uuid: Mapped[str] = mapped_column(Text, primary_key=True)
    wrong: Mapped[int]
    taken: Mapped[int]
    taken_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
