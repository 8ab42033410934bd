"""Where history opened a case is found by an index: the audit of every minute read all of history for the few.

History is long and always written to: the index is built a partition at a time beside the writes, without their locks
or the limits of a request. Cut short, it is begun again by the next release.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

HISTORY = "outbox_history"
CASE_OPENED = f"ix_{HISTORY}_case_opened"
COLUMNS = "(subject_type, subject_id) WHERE what = 'case.opened'"
# Those without it, and whether something was left of one that was cut short.
PARTITIONS = sa.text("""
    SELECT p.relname AS name, p.relname || '_case_opened' AS index, NOT coalesce(i.indisvalid, true) AS is_left_over
      FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhrelid
      LEFT JOIN pg_index i ON i.indexrelid = to_regclass(p.relname || '_case_opened')
     WHERE h.inhparent = to_regclass(:history) AND NOT EXISTS (
           SELECT 1 FROM pg_inherits a JOIN pg_index x ON x.indexrelid = a.inhrelid
            WHERE a.inhparent = to_regclass(:case_opened) AND x.indrelid = p.oid)
     ORDER BY p.relname
""")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")
        # From now on, new partitions have it by themselves.
        op.execute(f"CREATE INDEX IF NOT EXISTS {CASE_OPENED} ON ONLY {HISTORY} {COLUMNS}")
        for partition in op.get_bind().execute(PARTITIONS, {"history": HISTORY, "case_opened": CASE_OPENED}).all():
            if partition.is_left_over:
                op.execute(f"DROP INDEX {partition.index}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {partition.index} ON {partition.name} {COLUMNS}")
            op.execute(f"ALTER INDEX {CASE_OPENED} ATTACH PARTITION {partition.index}")
        op.execute("RESET statement_timeout")
        op.execute("SET lock_timeout = '10s'")


def downgrade() -> None:
    op.drop_index(CASE_OPENED, HISTORY)
