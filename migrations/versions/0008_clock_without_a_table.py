"""The ledger's clock is asked a hundred times a claim, so it reads no table: the planner sees no more than `now()`.

Its offset still stands in `outbox_clock`, where tests set it; whoever does has the function made anew.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# By its text and not by RETURN: a body kept as a tree is read from its text again wherever it is inlined.
SET = """
    CREATE FUNCTION outbox_set_clock() RETURNS trigger LANGUAGE plpgsql AS $outer$
    BEGIN
        EXECUTE format('CREATE OR REPLACE FUNCTION %I.outbox_now() RETURNS timestamptz LANGUAGE sql STABLE'
                       ' AS $$ SELECT now() + %L::interval $$', TG_TABLE_SCHEMA, NEW.clock_offset);
        RETURN NULL;
    END
    $outer$
"""
WHEN_SET = """
    CREATE TRIGGER outbox_clock_set AFTER UPDATE OF clock_offset ON outbox_clock
        FOR EACH ROW WHEN (OLD.clock_offset IS DISTINCT FROM NEW.clock_offset) EXECUTE FUNCTION outbox_set_clock()
"""
FROM_NOW_ON = """
    CREATE OR REPLACE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE
        AS $$ SELECT now() + interval '0' $$
"""
BY_TABLE = """
    CREATE OR REPLACE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN now() + (SELECT clock_offset FROM outbox_clock)
"""


def upgrade() -> None:
    op.execute("UPDATE outbox_clock SET clock_offset = '0'")
    for statement in (SET, WHEN_SET, FROM_NOW_ON):
        op.execute(statement)


def downgrade() -> None:
    op.execute(BY_TABLE)
    op.execute("DROP TRIGGER outbox_clock_set ON outbox_clock")
    op.execute("DROP FUNCTION outbox_set_clock()")
