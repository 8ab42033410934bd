"""The console shows the last day and week from counters that are written every minute, and which release each process
runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

Timestamp = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "work_counts",
        sa.Column("width", sa.Text, nullable=False),
        sa.Column("began_at", Timestamp, nullable=False),
        sa.Column("subject_type", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("width", "began_at", "subject_type", "event", name="pk_work_counts"),
        sa.CheckConstraint("width IN ('minute', 'hour')", name="ck_work_counts_width"),
    )
    op.add_column("outbox_processes", sa.Column("version", sa.Text))


def downgrade() -> None:
    op.drop_column("outbox_processes", "version")
    op.drop_table("work_counts")
