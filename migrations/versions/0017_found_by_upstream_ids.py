"""Operators find a submission or a notification by the id that its upstream gave it."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_intents_to_file_upstream_id": "intents_to_file (upstream_id) WHERE upstream_id IS NOT NULL",
    "ix_travel_pay_claims_claim_id": "travel_pay_claims (claim_id) WHERE claim_id IS NOT NULL",
    "ix_notifications_va_notify_id": "notifications (va_notify_id) WHERE va_notify_id IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            # One that was left unfinished would be taken for one that is there.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {columns}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
