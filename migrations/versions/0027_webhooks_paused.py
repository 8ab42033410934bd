"""Operators pause a receiver of webhooks, see what it answered, and find what it refused beside all that it took."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

ENDED = "ix_webhook_deliveries_ended"


def upgrade() -> None:
    # The release before writes none of them, and delivers on: pause when every process is of this one.
    op.execute("""
        ALTER TABLE webhooks ADD COLUMN IF NOT EXISTS paused_at timestamptz,
                             ADD COLUMN IF NOT EXISTS paused_by text,
                             ADD COLUMN IF NOT EXISTS paused_reason text,
                             DROP CONSTRAINT IF EXISTS ck_webhooks_paused_by_someone,
                             -- Forbids a pause without a name and a reason.
                             ADD CONSTRAINT ck_webhooks_paused_by_someone
                                 CHECK (num_nonnulls(paused_at, paused_by, paused_reason) IN (0, 3))
    """)
    op.execute("ALTER TABLE webhook_deliveries ADD COLUMN IF NOT EXISTS refused_with integer")
    with op.get_context().autocommit_block():
        # One that was left unfinished would be taken for one that is there.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {ENDED}")
        op.execute(f"""
            CREATE INDEX CONCURRENTLY {ENDED} ON webhook_deliveries (webhook_id, state, finished_at)
             WHERE finished_at IS NOT NULL""")


def downgrade() -> None:
    op.execute(f"DROP INDEX {ENDED}")
    op.execute("ALTER TABLE webhook_deliveries DROP COLUMN refused_with")
    op.execute("ALTER TABLE webhooks DROP COLUMN paused_at, DROP COLUMN paused_by, DROP COLUMN paused_reason")
