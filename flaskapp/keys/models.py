"""Models of the keys that this database was used with. No key is in them: fingerprints, and a known value sealed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.db import db
from outbox import NOW, Timestamp, one_of

ENCRYPTION, DIGEST = "encryption", "digest"
# `used`: may be written with. `leaving`: no process may begin to write with it any more. `left`: nothing is written
# with it, but something may be stored under it. `gone`: nothing is, and it may be dropped from the settings.
USED, LEAVING, LEFT, GONE = "used", "leaving", "left", "gone"


class KeyCheck(db.Model):  # type: ignore[name-defined]
    """One key that a release found in the settings; the later it was recorded, the higher its id."""

    __tablename__ = "key_checks"
    __table_args__ = (
        CheckConstraint(one_of("kind", (ENCRYPTION, DIGEST)), name="kind"),
        CheckConstraint(one_of("state", (USED, LEAVING, LEFT, GONE)), name="state"),
        CheckConstraint("(kind = 'encryption') = (sealed IS NOT NULL)", name="encryption_is_sealed"),
        CheckConstraint("(state = 'used') = (left_at IS NULL)", name="left_at_a_time"),
        UniqueConstraint("kind", "fingerprint"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    # A known value under this encryption key: who can open it can open what is stored with the key.
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(Text, server_default=text("'used'"))
    recorded_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    left_at: Mapped[datetime | None] = mapped_column(Timestamp)


class KeyPass(db.Model):  # type: ignore[name-defined]
    """How far a pass over a table has come that writes what is stored there anew for one key."""

    __tablename__ = "key_passes"

    fingerprint: Mapped[str] = mapped_column(Text, primary_key=True)
    place: Mapped[str] = mapped_column(Text, primary_key=True)
    # The primary key of the last row that is done, as JSON.
    after: Mapped[str] = mapped_column(Text)
