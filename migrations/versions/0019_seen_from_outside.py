"""What is looked at from outside: a kept count of what is outstanding, counters, and what they were counted up to."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TALLY = """
    CREATE TABLE outbox_tally (
        single boolean DEFAULT true NOT NULL,
        counted_at timestamptz NOT NULL,
        counts jsonb NOT NULL,
        CONSTRAINT pk_outbox_tally PRIMARY KEY (single),
        -- Forbids a second row.
        CONSTRAINT ck_outbox_tally_single_row CHECK (single)
    );
    COMMENT ON TABLE outbox_tally IS 'What was outstanding when it was counted last, where there is much of it.';
"""
# Rows are updated all the time and never grow: half of each page is left for it.
COUNTS = """
    CREATE TABLE outbox_counts (
        name text NOT NULL,
        labels jsonb NOT NULL,
        value double precision NOT NULL,
        CONSTRAINT pk_outbox_counts PRIMARY KEY (name, labels)
    ) WITH (fillfactor = 50);
    COMMENT ON TABLE outbox_counts IS 'Counters of all processes together: they only grow. No personal data.';
"""
COUNTED = """
    CREATE TABLE outbox_counted (
        source text NOT NULL,
        upto bigint NOT NULL,
        next_upto bigint NOT NULL,
        next_xid xid8 DEFAULT '0' NOT NULL,
        CONSTRAINT pk_outbox_counted PRIMARY KEY (source),
        -- Forbids counting backwards, which would count twice.
        CONSTRAINT ck_outbox_counted_forward CHECK (next_upto >= upto)
    );
    COMMENT ON TABLE outbox_counted IS 'Up to which row of the ledger the counters have counted.';

    INSERT INTO outbox_counted (source, upto, next_upto)
    SELECT source, last, last
      FROM (SELECT 'history', COALESCE(pg_sequence_last_value(pg_get_serial_sequence('outbox_history', 'id')), 0)
             UNION ALL
            SELECT 'attempts', COALESCE(pg_sequence_last_value(pg_get_serial_sequence('outbox_attempts', 'id')), 0)
             UNION ALL
            SELECT 'trips', COALESCE(pg_sequence_last_value(pg_get_serial_sequence('outbox_breaker_trips', 'id')), 0)
           ) AS sources (source, last);
"""
# What is only ever added to, in the order of these numbers: such an index costs next to nothing.
ATTEMPTS = "ix_outbox_attempts_end_number"
HISTORY = "ix_outbox_history_id"
PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass ORDER BY 1"
BRIN = "USING brin ({column}) WITH (pages_per_range = 16, autosummarize = on)"


def upgrade() -> None:
    for statements in (TALLY, COUNTS, COUNTED):
        op.execute(statements)
    # As in 0018: partition by partition beside the traffic, then at once for the whole.
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {ATTEMPTS}")
        op.execute(f"CREATE INDEX CONCURRENTLY {ATTEMPTS} ON outbox_attempts {BRIN.format(column='end_number')}")
        op.execute(f"CREATE INDEX IF NOT EXISTS {HISTORY} ON ONLY outbox_history {BRIN.format(column='id')}")
        for partition in op.get_bind().execute(text(PARTITIONS)).scalars().all():
            index = f"{partition}_id_idx"
            if not is_attached(index):
                op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
                op.execute(f"CREATE INDEX CONCURRENTLY {index} ON {partition} {BRIN.format(column='id')}")
                op.execute(f"ALTER INDEX {HISTORY} ATTACH PARTITION {index}")


def is_attached(index: str) -> bool:
    """Whether the part of the index is there and belongs to the whole, from a run that was cut short."""
    query = text("SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(:index))")
    return bool(op.get_bind().execute(query, {"index": index}).scalar_one())


def downgrade() -> None:
    op.execute(f"DROP INDEX {HISTORY}")
    op.execute(f"DROP INDEX {ATTEMPTS}")
    for table in ("counted", "counts", "tally"):
        op.drop_table(f"outbox_{table}")
