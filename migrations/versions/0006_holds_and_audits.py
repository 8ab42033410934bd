"""Holds on gates, what the last audits found, and the indexes by which an audit leaves out the long finished."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

HOLDS = "outbox_breaker_holds"
SUBJECTS = (
    "travel_claims",
    "intents_to_file",
    "form526_submissions",
    "form526_document_submissions",
    "travel_pay_claims",
)
PUBLISHED = "ck_outbox_messages_published_has_moment"


def timestamp(name: str, nullable: bool = True, default: sa.TextClause | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    op.create_table(
        HOLDS,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        timestamp("starts_at", nullable=False, default=sa.text("outbox_now()")),
        timestamp("ends_at", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        timestamp("lifted_at"),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.CheckConstraint("ends_at > starts_at", name=op.f(f"ck_{HOLDS}_ends_later")),
        sa.CheckConstraint("(lifted_at IS NULL) = (lifted_by IS NULL)", name=op.f(f"ck_{HOLDS}_lifted_by_somebody")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{HOLDS}")),
    )
    op.create_index(f"ix_{HOLDS}_upstream", HOLDS, ["upstream", "ends_at"], unique=False)
    op.create_table(
        "audits",
        sa.Column("scope", sa.Text(), nullable=False),
        timestamp("at", nullable=False, default=sa.text("outbox_now()")),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=False),
        sa.CheckConstraint("scope IN ('recent', 'full')", name=op.f("ck_audits_scope")),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_audits")),
    )
    for table in SUBJECTS:
        op.create_index(f"ix_{table}_finished_at", table, ["finished_at"], unique=False)
    rest = sa.text("COALESCE(finished_at, sent_at)")
    op.create_index("ix_notifications_rest", "notifications", [rest], unique=False)
    op.create_check_constraint(op.f(PUBLISHED), "outbox_messages", "state <> 'published' OR published_at IS NOT NULL")


def downgrade() -> None:
    op.drop_constraint(op.f(PUBLISHED), "outbox_messages")
    op.drop_index("ix_notifications_rest")
    for table in SUBJECTS:
        op.drop_index(f"ix_{table}_finished_at")
    op.drop_table("audits")
    op.drop_table(HOLDS)
