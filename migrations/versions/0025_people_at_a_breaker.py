"""A breaker counts people: who was refused for our key's sake, and when it last opened or failed to close."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The release before writes neither, and empties only `unanswered`: whoever is not in that counts in neither.
    op.execute("""
        ALTER TABLE outbox_breakers ADD COLUMN refused bigint[] DEFAULT '{}' NOT NULL, ADD COLUMN tripped_at timestamptz
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE outbox_breakers DROP COLUMN refused, DROP COLUMN tripped_at")
