"""What an account may have at most is counted by indexes of only what counts."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_form526_attachments_account": "form526_attachments (account_id)"
    " WHERE submission_id IS NULL AND purged_at IS NULL",
    "ix_form526_submissions_open": "form526_submissions (account_id) WHERE state = 'pending'",
    "ix_travel_pay_claims_open": "travel_pay_claims (account_id) WHERE state = 'pending'",
}


def upgrade() -> None:
    """Beside the release before this one, which goes on writing. Whoever dies in between runs it again."""
    with op.get_context().autocommit_block():
        for name, rows in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {rows}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
