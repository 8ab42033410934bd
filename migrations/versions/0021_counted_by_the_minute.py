"""The console shows the last day and week from counters that are written every minute, which release each process
runs, and parked work by its cause, by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

Timestamp = sa.DateTime(timezone=True)


def upgrade() -> None:
    """What stands before the block commits when it begins, and may be there from a run that was cut short."""
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
        if_not_exists=True,
    )
    op.add_column("outbox_processes", sa.Column("version", sa.Text), if_not_exists=True)
    with op.get_context().autocommit_block():
        # One that was left unfinished would be taken for one that is there.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_outbox_messages_cause")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_outbox_messages_cause ON outbox_messages (job, parked_reason, id)"
            " WHERE state = 'parked'"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_outbox_messages_cause")
    op.drop_column("outbox_processes", "version")
    op.drop_table("work_counts")
