"""What the sweep asks every few seconds is found by an index of its own: parked and overdue messages, earlier cases.

An index by deadline alone tempted the planner to look there for the next of one queue, past those of all others.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MESSAGES = "outbox_messages"
DEADLINE, OVERDUE, PARKED = (f"ix_{MESSAGES}_{name}" for name in ("deadline", "overdue", "parked"))
CASES = "ix_cases_subject"
OUTSTANDING = sa.text("state <> 'parked'")


def upgrade() -> None:
    op.create_index(OVERDUE, MESSAGES, ["subject_type", "deadline_at"], postgresql_where=OUTSTANDING)
    op.create_index(PARKED, MESSAGES, ["queue"], postgresql_where=sa.text("state = 'parked'"))
    op.create_index(CASES, "cases", ["subject_type", "subject_id", "kind"])
    op.drop_index(DEADLINE, MESSAGES)


def downgrade() -> None:
    op.create_index(DEADLINE, MESSAGES, ["deadline_at"], postgresql_where=OUTSTANDING)
    op.drop_index(CASES, "cases")
    op.drop_index(PARKED, MESSAGES)
    op.drop_index(OVERDUE, MESSAGES)
