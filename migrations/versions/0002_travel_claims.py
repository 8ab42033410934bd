"""Travel claims: check-in sessions, claims, idempotency keys, notices to the person, cases for humans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.CheckConstraint("owner <> ''", name=op.f("ck_cases_owned")),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name=op.f("ck_cases_closed_by_someone")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
    )
    op.create_index(
        "ix_cases_open_owner",
        "cases",
        ["owner", "opened_at"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "uq_cases_open",
        "cases",
        ["subject_type", "subject_id", "kind"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "check_in_sessions",
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("lorota_token", sa.LargeBinary(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_check_in_sessions")),
    )
    op.create_index("ix_check_in_sessions_expires_at", "check_in_sessions", ["expires_at"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key_digest", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cycle", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("recipient", sa.LargeBinary(), nullable=False),
        sa.Column("personalisation", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("va_notify_id", sa.Text(), nullable=True),
        sa.Column("upstream_status", sa.Text(), nullable=True),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("channel IN ('sms', 'email')", name=op.f("ck_notifications_channel")),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'delivered', 'undeliverable')", name=op.f("ck_notifications_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('delivered', 'undeliverable') OR finished_at IS NOT NULL",
            name=op.f("ck_notifications_finished"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint(
            "subject_type",
            "subject_id",
            "kind",
            "cycle",
            name=op.f("uq_notifications_subject_type_subject_id_kind_cycle"),
        ),
    )
    op.create_index(
        "ix_notifications_followed",
        "notifications",
        ["sent_at"],
        unique=False,
        postgresql_where=sa.text("state = 'sent' AND asked_at IS NULL"),
    )
    op.create_table(
        "travel_claims",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_digest", sa.Text(), nullable=False),
        sa.Column("station_digest", sa.Text(), nullable=False),
        sa.Column("appointment_date", sa.Date(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("unconfirmed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("filed", sa.LargeBinary(), nullable=True),
        sa.Column("notification", sa.Text(), nullable=True),
        sa.Column("cycle", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("asked_again", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("outbox_now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name=op.f("ck_travel_claims_final_is_finished")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'submitted', 'duplicate', 'failed')", name=op.f("ck_travel_claims_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('submitted', 'duplicate') OR filed IS NOT NULL", name=op.f("ck_travel_claims_filed_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_travel_claims")),
        sa.UniqueConstraint(
            "person_digest",
            "appointment_date",
            "station_digest",
            name=op.f("uq_travel_claims_person_digest_appointment_date_station_digest"),
        ),
    )
    op.create_index("ix_travel_claims_state", "travel_claims", ["state", "requested_at"], unique=False)


def downgrade() -> None:
    op.drop_table("travel_claims")
    op.drop_table("notifications")
    op.drop_table("idempotency_keys")
    op.drop_table("check_in_sessions")
    op.drop_table("cases")
