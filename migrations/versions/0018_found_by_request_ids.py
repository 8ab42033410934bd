"""Operators find what a request asked for by its id, which stands in the history of what it asked for."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

NAME = "ix_outbox_history_request"
INDEXED = "((detail ->> 'request_id')) WHERE (detail ->> 'request_id') IS NOT NULL"
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass ORDER BY 1"


def upgrade() -> None:
    """Partition by partition beside the traffic, then at once for the whole: on a partitioned table itself, Postgres
    builds no index beside the traffic."""
    with op.get_context().autocommit_block():
        op.execute(f"CREATE INDEX IF NOT EXISTS {NAME} ON ONLY outbox_history {INDEXED}")
        for partition in op.get_bind().execute(text(PARTITIONS)).scalars().all():
            index = f"{partition}_request_idx"
            if not is_attached(index):
                # One that was left unfinished would be taken for one that is there.
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
                op.execute(f"CREATE INDEX CONCURRENTLY {index} ON {partition} {INDEXED}")
                op.execute(f"ALTER INDEX {NAME} ATTACH PARTITION {index}")


def is_attached(index: str) -> bool:
    """Whether the part of the index is there and belongs to the whole, from a run that was cut short."""
    query = text("SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(:index))")
    return bool(op.get_bind().execute(query, {"index": index}).scalar_one())


def downgrade() -> None:
    op.execute(f"DROP INDEX {NAME}")
