"""Schema of the ledger for an application without migrations, and the clock that all of its SQL goes by.

An application with migrations writes its own, compares them with `metadata`, and takes from here what metadata cannot
say: the functions and the trigger of the clock, and the partition for history of a month that has none.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text

from outbox.retention import make_partitions
from outbox.tables import metadata
from outbox.write import Database

# The offset is written into the function's text instead of being read from the table at every call: a claim calls it
# about a hundred times, and this way the planner sees a plain `now()`.
NOW = """
    CREATE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT now() + interval '0' $$
"""
SET_CLOCK = """
    INSERT INTO outbox_clock (single) VALUES (true);

    CREATE FUNCTION outbox_set_clock() RETURNS trigger LANGUAGE plpgsql AS $outer$
    BEGIN
        EXECUTE format('CREATE OR REPLACE FUNCTION %I.outbox_now() RETURNS timestamptz LANGUAGE sql STABLE'
                       ' AS $$ SELECT now() + %L::interval $$', TG_TABLE_SCHEMA, NEW.clock_offset);
        RETURN NULL;
    END
    $outer$;

    CREATE TRIGGER outbox_clock_set AFTER UPDATE OF clock_offset ON outbox_clock
        FOR EACH ROW WHEN (OLD.clock_offset IS DISTINCT FROM NEW.clock_offset) EXECUTE FUNCTION outbox_set_clock();
"""
KEPT = "INSERT INTO outbox_retention (single) VALUES (true)"
COUNTED = """
    INSERT INTO outbox_counted (source, upto, next_upto) VALUES ('history', 0, 0), ('attempts', 0, 0), ('trips', 0, 0)
"""
REST = "CREATE TABLE outbox_history_rest PARTITION OF outbox_history DEFAULT"


def create(db: Connection) -> None:
    """Make the clock, all tables, and the history partitions of this month and the next three.

    Works in the caller's transaction and never commits. Raises ProgrammingError where any of it exists.
    """
    db.execute(text(NOW))
    metadata.create_all(db, checkfirst=False)
    db.execute(text(SET_CLOCK))
    db.execute(text(KEPT))
    db.execute(text(COUNTED))
    db.execute(text(REST))
    make_partitions(db, db.execute(text("SELECT (outbox_now() AT TIME ZONE 'UTC')::date")).scalar_one())


def set_clock(db: Database, offset: timedelta) -> None:
    """Move the ledger's clock to the database's time plus `offset`. For tests; when the caller commits, it holds for
    every process."""
    db.execute(text("UPDATE outbox_clock SET clock_offset = :offset"), {"offset": offset})
