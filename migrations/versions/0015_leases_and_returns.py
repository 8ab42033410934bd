"""Leases instead of advisory locks, which a pooler mixes up; and when a process that could not beat beat again."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

LEASES = """
    CREATE TABLE outbox_leases (
        name text NOT NULL,
        holder text,
        held_until timestamptz,
        ran_at timestamptz,
        passed_over bigint DEFAULT 0 NOT NULL,
        passed_over_since timestamptz,
        CONSTRAINT pk_outbox_leases PRIMARY KEY (name),
        -- Forbids a holder for ever, and an end without a holder.
        CONSTRAINT ck_outbox_leases_held_has_end CHECK ((holder IS NULL) = (held_until IS NULL))
    );
    COMMENT ON TABLE outbox_leases IS 'Work that one process at a time does, and when it was done last.';
"""
# The release before neither reads nor writes it.
RETURNED = "ALTER TABLE outbox_processes ADD COLUMN returned_at timestamptz"


def upgrade() -> None:
    op.execute(LEASES)
    op.execute(RETURNED)


def downgrade() -> None:
    op.drop_column("outbox_processes", "returned_at")
    op.drop_table("outbox_leases")
