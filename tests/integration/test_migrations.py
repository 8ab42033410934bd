"""Migrations: they create exactly what the models say, and can be undone and repeated."""

from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from flaskapp.db import db
from flaskapp.ops.commands.release import MIGRATIONS
from flaskapp.ops.health import newest_migration
from outbox.tables import metadata as ledger
from tests.integration.steps import command
from tests.product import Product

# Partitions are made by the release and follow their parent; the version table is Alembic's.
OURS = """
    FROM pg_class c JOIN ({rows}) part USING (oid)
   WHERE c.relnamespace = to_regnamespace(:schema) AND NOT c.relispartition AND c.relname <> 'alembic_version'
"""
PARTS = {
    "tables": """
        SELECT oid, relkind::text, pg_get_partkeydef(oid) FROM pg_class WHERE relkind IN ('r', 'p')""",
    "columns": """
        SELECT attrelid AS oid, attname, format_type(atttypid, atttypmod), attnotnull, attidentity::text,
               pg_get_expr(adbin, adrelid)
          FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
          JOIN pg_class r ON r.oid = attrelid AND relkind IN ('r', 'p')
         WHERE attnum > 0 AND NOT attisdropped""",
    "constraints": """
        SELECT conrelid AS oid, conname, pg_get_constraintdef(oid) FROM pg_constraint""",
    "indexes": """
        SELECT indrelid AS oid, indexrelid::regclass::text, pg_get_indexdef(indexrelid, 0, true) FROM pg_index""",
}
LEFT = """
    SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
# What no model describes: the clock's functions and trigger, and the partition that takes what no month takes.
BESIDE_THE_MODELS = """
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE proname LIKE 'outbox%'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'outbox%'
    UNION ALL SELECT relname || ' ' || pg_get_expr(relpartbound, oid) FROM pg_class
     WHERE relname = 'outbox_history_rest'
    ORDER BY 1
"""


def described(connection: Connection, schema: str = "public") -> dict[str, set[str]]:
    """Every table, column, constraint and index with its definition, names without their schema."""
    connection.execute(text(f"SET LOCAL search_path TO {schema}, public"))
    found = {}
    for kind, rows in PARTS.items():
        query = text("SELECT c.relname, part.* " + OURS.format(rows=rows))
        found[kind] = {" ".join(map(str, (row[0], *row[2:]))) for row in connection.execute(query, {"schema": schema})}
    return found


def schema_now() -> dict[str, set[str]]:
    with db.engine.connect() as connection:
        return described(connection)


def test_the_models_and_the_migrations_make_the_same_tables(product: Product) -> None:
    """Rules and partial indexes too, word for word: Alembic's own comparison leaves out every CHECK and every WHERE."""
    with db.engine.connect() as connection:
        migrated = described(connection)
        connection.execute(text("CREATE SCHEMA models"))
        connection.execute(text("SET LOCAL search_path TO models, public"))
        for metadata in (ledger, db.metadata):
            metadata.create_all(connection, checkfirst=False)
        modelled = described(connection, "models")
        connection.rollback()
    assert any("ck_travel_claims_final_is_finished" in rule for rule in migrated["constraints"])
    for kind in PARTS:
        assert migrated[kind] ^ modelled[kind] == set(), kind


def test_a_migration_file_begins_with_its_number_and_readiness_requires_the_last_one() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert newest_migration(MIGRATIONS) == scripts.get_current_head()
    assert all(Path(each.path).name.startswith(f"{each.revision}_") for each in scripts.walk_revisions())


def test_a_downgrade_to_nothing_and_an_upgrade_give_the_same_schema(product: Product) -> None:
    before, beside = schema_now(), product.rows(BESIDE_THE_MODELS)
    db.session.remove()
    assert command(product, "db", "downgrade", "base").exit_code == 0
    assert {row.name for row in product.rows(LEFT)} == {"alembic_version", "alembic_version_pkc"}
    db.session.remove()
    assert command(product, "db", "upgrade", "head").exit_code == 0
    assert (schema_now(), product.rows(BESIDE_THE_MODELS)) == (before, beside)
    assert all(before.values()) and len(beside) == 4


def test_a_release_refuses_a_database_that_is_newer(product: Product) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = command(product, "release")
    assert refused.exit_code != 0
    assert product.value("SELECT version_num FROM alembic_version") == "9999"


def test_an_index_over_partitions_that_was_cut_short_is_finished_by_the_next_run(product: Product) -> None:
    whole = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_outbox_history_request'::regclass"
    assert product.value(whole) is True
    db.session.remove()
    assert command(product, "db", "downgrade", "0017").exit_code == 0
    product.rows(
        "CREATE INDEX ix_outbox_history_request ON ONLY outbox_history ((detail ->> 'request_id'))"
        " WHERE (detail ->> 'request_id') IS NOT NULL; SELECT 1"
    )
    assert product.value(whole) is False
    db.session.remove()
    assert command(product, "db", "upgrade", "head").exit_code == 0
    assert product.value(whole) is True
