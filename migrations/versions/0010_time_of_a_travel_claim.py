"""The time of day of a check-in's travel claim, by which BTSSS tells two appointments of one day apart."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE travel_claims ADD COLUMN starts_at timestamp")


def downgrade() -> None:
    op.execute("ALTER TABLE travel_claims DROP COLUMN starts_at")
