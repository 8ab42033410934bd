"""What a check-in session was told about its appointments, so that a claim is for one of them.

Null in a session from before: its claims are taken for any day, as they were. The release before this one does not
know the column and leaves it null, so both may run at once.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE check_in_sessions ADD COLUMN appointments bytea")
    op.execute(
        "COMMENT ON COLUMN check_in_sessions.appointments IS"
        " 'Start and time zone of each appointment that LoROTA named (encrypted); null where none were kept.'"
    )


def downgrade() -> None:
    op.drop_column("check_in_sessions", "appointments")
