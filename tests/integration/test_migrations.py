"""The migrations make exactly what the models say, and go down to nothing and up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, text

from flaskapp.db import db
from flaskapp.ops.commands.release import MIGRATIONS
from flaskapp.ops.health import newest_migration
from outbox.tables import metadata as ledger
from tests.integration.steps import command
from tests.product import Product

RELATIONS = """
    SELECT relname, relkind::text, pg_get_expr(relpartbound, oid) FROM pg_class
     WHERE relnamespace = 'public'::regnamespace ORDER BY relname
"""
COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default
      FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
"""
CONSTRAINTS = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


def known(thing: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """Partitions belong to their parent, and the version table to alembic."""
    return not (kind == "table" and reflected and str(name).startswith(("outbox_history_", "alembic_")))


def differences() -> list[Any]:
    options = {"compare_type": True, "include_object": known, "target_metadata": [ledger, db.metadata]}
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, [ledger, db.metadata]))  # type: ignore[arg-type]


def schema(product: Product) -> dict[str, list[Any]]:
    queries = {"relations": RELATIONS, "columns": COLUMNS, "constraints": CONSTRAINTS, "indexes": INDEXES}
    return {name: sorted(map(str, product.rows(query))) for name, query in queries.items()}


def test_the_models_and_the_migrated_database_agree(product: Product) -> None:
    assert differences() == []


def test_every_check_of_the_models_is_in_the_database(product: Product) -> None:
    """Alembic compares no CHECKs, and these are the rules that must never break."""
    present = {row.conname for row in product.rows(CONSTRAINTS)}
    wanted = {
        constraint.name
        for metadata in (ledger, db.metadata)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert "ck_travel_claims_final_is_finished" in wanted
    assert wanted <= present


def test_the_predicate_of_every_partial_index_is_in_the_database(product: Product) -> None:
    definitions = {row.indexname: row.indexdef for row in product.rows(INDEXES)}
    for metadata in (ledger, db.metadata):
        for table in metadata.tables.values():
            for index in table.indexes:
                partial = index.dialect_options["postgresql"]["where"] is not None
                assert (" WHERE " in definitions[str(index.name)]) == partial, index.name


def test_a_migrations_file_begins_with_its_number_and_the_last_one_is_what_readiness_wants() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert newest_migration(MIGRATIONS) == scripts.get_current_head()
    assert all(Path(each.path).name.startswith(f"{each.revision}_") for each in scripts.walk_revisions())


def test_downgrading_to_nothing_and_up_again_gives_the_same_schema(product: Product) -> None:
    before = schema(product)
    db.session.remove()
    assert command(product, "db", "downgrade", "base").exit_code == 0
    left = {row.relname for row in product.rows(RELATIONS)}
    functions = product.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    assert (left, functions) == ({"alembic_version", "alembic_version_pkc"}, [])
    assert command(product, "db", "upgrade", "head").exit_code == 0
    again = schema(product)
    assert again["constraints"] and differences() == []
    for name, rows in before.items():
        lost = [row for row in rows if row not in again[name] and "outbox_history_2" not in row]
        assert lost == [], name


def test_an_index_of_history_that_was_cut_short_is_begun_again(product: Product) -> None:
    """Left behind: the index of the whole, which serves nobody before each of its parts has one, and one of these."""
    before = schema(product)["indexes"]
    db.session.remove()
    assert command(product, "db", "downgrade", "0012").exit_code == 0
    on_cases = "(subject_type, subject_id) WHERE what = 'case.opened'"
    with db.engine.begin() as connection:
        connection.execute(text(f"CREATE INDEX outbox_history_rest_case_opened ON outbox_history_rest {on_cases}"))
        connection.execute(text(f"CREATE INDEX ix_outbox_history_case_opened ON ONLY outbox_history {on_cases}"))
    assert command(product, "release").exit_code == 0
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_outbox_history_case_opened'::regclass"
    assert product.value(valid)
    assert len(schema(product)["indexes"]) == len(before)


def test_a_release_refuses_a_database_that_is_ahead_of_it(product: Product) -> None:
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = command(product, "release")
    assert refused.exit_code != 0
    assert product.value("SELECT version_num FROM alembic_version") == "9999"
