"""Failed documents are asked about again: a time of the next poll is not for pending ones only."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE, RULE = "form526_document_submissions", "ck_form526_document_submissions_only_uploaded_is_polled"


def upgrade() -> None:
    """The rows are read after the lock that swaps the rules is gone. Whoever dies in between runs it again."""
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {RULE}")
    op.execute(
        f"""ALTER TABLE {TABLE} ADD CONSTRAINT {RULE} CHECK (
            poll_due_at IS NULL OR (lighthouse_status <> 'done' AND lighthouse_request_id IS NOT NULL)) NOT VALID"""
    )
    with op.get_context().autocommit_block():
        op.execute(f"ALTER TABLE {TABLE} VALIDATE CONSTRAINT {RULE}")


def downgrade() -> None:
    op.execute(f"UPDATE {TABLE} SET poll_due_at = NULL WHERE lighthouse_status = 'failed' AND poll_due_at IS NOT NULL")
    op.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {RULE}")
    op.execute(
        f"""ALTER TABLE {TABLE} ADD CONSTRAINT {RULE} CHECK (
            poll_due_at IS NULL OR (lighthouse_status = 'pending' AND lighthouse_request_id IS NOT NULL))"""
    )
