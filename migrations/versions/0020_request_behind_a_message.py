"""Messages keep the id of the request that asked for them: whoever does the work later logs and traces by it."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The release before neither reads nor writes it.
    op.execute("ALTER TABLE outbox_messages ADD COLUMN request_id text")


def downgrade() -> None:
    op.drop_column("outbox_messages", "request_id")
