"""Models of signed-in travel pay claims, one for each account and appointment, and of contact details that differ."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import EncryptedJSON, digest_from, digest_of
from flaskapp.db import Markable, db, synthetic_index
from flaskapp.travel_pay.states import APPOINTMENT, PENDING, STEPS, TRAVEL_PAY_CLAIM
from outbox import NOW, Timestamp, one_of

CONTACT_FIELDS = ("address", "phone", "email")


class TravelPayClaim(Markable, db.Model):  # type: ignore[name-defined]
    """`starts_at` is the appointment's wall-clock time at its facility: BTSSS knows no other time."""

    __tablename__ = "travel_pay_claims"
    __table_args__ = (
        CheckConstraint(one_of("state", TRAVEL_PAY_CLAIM.states), name="state"),
        CheckConstraint(one_of("step", STEPS), name="step"),
        CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="final_is_finished"),
        CheckConstraint("state <> 'submitted' OR step = 'submit'", name="submitted_last"),
        CheckConstraint("state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL", name="filed_known"),
        CheckConstraint("step = 'appointment' OR appointment_id IS NOT NULL", name="appointment_known"),
        CheckConstraint("step NOT IN ('expense', 'submit') OR claim_id IS NOT NULL", name="claim_known"),
        CheckConstraint("step <> 'submit' OR expense_id IS NOT NULL", name="expense_known"),
        CheckConstraint("requested IS NOT NULL OR emptied_at IS NOT NULL", name="kept_or_emptied"),
        UniqueConstraint("account_id", "starts_at", "station_digest"),
        Index("ix_travel_pay_claims_state", "state", "requested_at"),
        synthetic_index("travel_pay_claims"),
        Index("ix_travel_pay_claims_finished_at", "finished_at"),
        Index("ix_travel_pay_claims_claim_id", "claim_id", postgresql_where=text("claim_id IS NOT NULL")),
        Index("ix_travel_pay_claims_open", "account_id", postgresql_where=text("state = 'pending'")),
        Index("ix_travel_pay_claims_not_emptied", "finished_at", postgresql_where=text("emptied_at IS NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=False))
    station_digest: Mapped[str] = mapped_column(Text, info=digest_of("requested", lambda asked: (asked["station"],)))
    # Station, facility name, appointment type and name, and whether it is over, as the person's form gave them.
    requested: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    state: Mapped[str] = mapped_column(Text, default=PENDING)
    step: Mapped[str] = mapped_column(Text, default=APPOINTMENT)
    # BTSSS's ids of what is done so far.
    appointment_id: Mapped[str | None] = mapped_column(Text)
    claim_id: Mapped[str | None] = mapped_column(Text)
    expense_id: Mapped[str | None] = mapped_column(Text)
    # What BTSSS holds: `{"claim_id", "claim_number", "claim_status", "how"}`; how = answered, found, continued,
    # presumed or late.
    filed: Mapped[dict[str, Any] | None] = mapped_column(EncryptedJSON)
    unconfirmed: Mapped[bool] = mapped_column(server_default=text("false"))
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    asked_again: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    requested_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    moved_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)


class ContactDiscrepancy(db.Model):  # type: ignore[name-defined]
    """One field in which VA Profile and BTSSS differ, recorded once and until they agree. Values are masked."""

    __tablename__ = "contact_discrepancies"
    __table_args__ = (
        CheckConstraint(one_of("field", CONTACT_FIELDS), name="field"),
        Index(
            "uq_contact_discrepancies_standing",
            "account_id",
            "field",
            unique=True,
            postgresql_where=text("resolved_at IS NULL"),
        ),
        Index("ix_contact_discrepancies_account", "account_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("accounts.id"))
    field: Mapped[str] = mapped_column(Text)
    # `{"va_profile", "btsss"}`, each masked, or null where the source has none.
    masked: Mapped[dict[str, Any]] = mapped_column(EncryptedJSON)
    # Of both values, so that another difference in the same field is not taken for the same one seen again.
    digest: Mapped[str] = mapped_column(Text, info=digest_from("found_at", needed=False))
    found_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    resolved_at: Mapped[datetime | None] = mapped_column(Timestamp)
