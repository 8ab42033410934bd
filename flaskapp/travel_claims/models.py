"""Models of travel claims. Postgres itself allows one for each person, appointment date and station."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, DateTime, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON, digest_of
from flaskapp.db import Markable, db, synthetic_index
from flaskapp.travel_claims.states import PENDING, TRAVEL_CLAIM
from outbox import NOW, Timestamp, one_of


class TravelClaim(Markable, db.Model):  # type: ignore[name-defined]
    __tablename__ = "travel_claims"
    __table_args__ = (
        CheckConstraint(one_of("state", TRAVEL_CLAIM.states), name="state"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint("state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL", name="filed_known"),
        CheckConstraint("identity IS NOT NULL OR emptied_at IS NOT NULL", name="kept_or_emptied"),
        UniqueConstraint("person_digest", "appointment_date", "station_digest"),
        Index("ix_travel_claims_state", "state", "requested_at"),
        synthetic_index("travel_claims"),
        Index("ix_travel_claims_finished_at", "finished_at"),
        Index("ix_travel_claims_not_emptied", "finished_at", postgresql_where=text("emptied_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    person_digest: Mapped[str] = mapped_column(Text, info=digest_of("identity", lambda who: (who["icn"],)))
    station_digest: Mapped[str] = mapped_column(Text, info=digest_of("identity", lambda who: (who["station"],)))
    appointment_date: Mapped[date] = mapped_column(Date)
    # What the facility's clock shows when it starts, where that is known: by it BTSSS tells two of a day apart.
    starts_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False))
    # ICN, phone, station and facility type as they were at the request: a job that runs a day later still has them.
    identity: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    unconfirmed: Mapped[bool] = mapped_column(server_default=text("false"))
    # What BTSSS holds: `{"claim_number", "claim_status", "how"}`; how = answered, found, presumed or late.
    filed: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    asked_again: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    requested_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    # When it had ended for so long that nobody needs its identity any more.
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)
