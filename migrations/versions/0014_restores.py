"""Restores from a backup: by what a restored database is noticed, and what was recorded of each restore."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two new tables: nobody else reads them, so nobody waits."""
    op.execute("""
        CREATE TABLE outbox_era (
            single boolean NOT NULL DEFAULT true,
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            messages_oid bigint NOT NULL,
            beat_at timestamptz NOT NULL,
            doubted_why text,
            CONSTRAINT pk_outbox_era PRIMARY KEY (single),
            CONSTRAINT ck_outbox_era_single_row CHECK (single)
        )
    """)
    op.execute("""
        CREATE TABLE outbox_restores (
            id bigint GENERATED ALWAYS AS IDENTITY,
            recorded_at timestamptz NOT NULL DEFAULT outbox_now(),
            recorded_by text NOT NULL,
            reason text NOT NULL,
            restored_to timestamptz NOT NULL,
            lost_at timestamptz NOT NULL,
            look_first_until timestamptz NOT NULL,
            last_message_id bigint NOT NULL,
            marked_to_id bigint NOT NULL DEFAULT 0,
            ended_at timestamptz,
            CONSTRAINT pk_outbox_restores PRIMARY KEY (id),
            CONSTRAINT ck_outbox_restores_lost_later CHECK (lost_at >= restored_to)
        )
    """)
    # Postgres itself allows one at a time: whoever repeats the command goes on with it.
    op.execute("CREATE UNIQUE INDEX uq_outbox_restores_open ON outbox_restores ((true)) WHERE ended_at IS NULL")


def downgrade() -> None:
    op.execute("DROP TABLE outbox_restores")
    op.execute("DROP TABLE outbox_era")
