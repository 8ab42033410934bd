"""Where history opened a case is found by an index: the audit of every minute read all of history for the few."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

HISTORY = "outbox_history"
CASE_OPENED = f"ix_{HISTORY}_case_opened"


def upgrade() -> None:
    where = sa.text("what = 'case.opened'")
    op.create_index(CASE_OPENED, HISTORY, ["subject_type", "subject_id"], postgresql_where=where)


def downgrade() -> None:
    op.drop_index(CASE_OPENED, HISTORY)
