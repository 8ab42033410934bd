"""Databases for tests: they cost little and are as good as new, whatever the last user did to them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from sandbox.databases import LentDatabase, TemplateDatabase, shape
from sandbox.servers import EmbeddedPostgres

KEPT = """
    CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, born timestamptz, known jsonb);
    CREATE TABLE claims (id serial, person bigint NOT NULL REFERENCES people);
    INSERT INTO people (name, born, known) VALUES ('Zoë "Q"', '2031-03-04 05:06:07.123456+00', '{"a": [1, null]}');
    INSERT INTO claims (person) VALUES (1), (1);
    CREATE FUNCTION year() RETURNS int LANGUAGE sql RETURN 2031
"""
EVERYTHING = "SELECT c.id, p.id, name, born, known FROM claims c FULL JOIN people p ON person = p.id ORDER BY 1"


def query(url: str, statement: str) -> list[Any]:
    with closing(psycopg2.connect(url, connect_timeout=5)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def migrations() -> list[str]:
    return []


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, migrations: list[str]) -> TemplateDatabase:
    def migrate(url: str) -> None:
        migrations.append(url)
        query(url, KEPT)

    return TemplateDatabase(postgres, migrate, "kept")


@pytest.fixture(scope="module")
def spare(template: TemplateDatabase) -> LentDatabase:
    return LentDatabase(template)


def test_a_template_is_migrated_once_and_copied(template, migrations, postgres):
    with template.copied() as one, template.copied() as two, closing(psycopg2.connect(two)):
        query(one, "DELETE FROM claims")
        assert len(query(two, "SELECT id FROM claims")) == 2
    assert len(migrations) == 1
    assert query(postgres.admin_url, "SELECT count(*) FROM pg_database WHERE datname LIKE 'kept\\__%'") == [(0,)]


def test_rows_and_counters_are_restored_for_the_next_user(spare):
    with spare.lent() as url:
        before = query(url, EVERYTHING)
        query(
            url,
            "INSERT INTO people (name) SELECT 'x' FROM generate_series(1, 5); INSERT INTO claims (person) VALUES (3)",
        )
        query(url, "UPDATE people SET name = 'changed'; DELETE FROM claims WHERE person = 1")
    with spare.lent() as url:
        assert len(before) == 2 and query(url, EVERYTHING) == before
        assert query(url, "INSERT INTO people (name) VALUES ('next') RETURNING id") == [(2,)]
        assert query(url, "INSERT INTO claims (person) VALUES (2) RETURNING id") == [(3,)]


def test_a_replaced_function_is_restored(spare):
    """It is no reason for a new copy: many tests replace the ledger's clock, which is a function."""
    with spare.lent() as url:
        oid = query(url, "SELECT oid FROM pg_database WHERE datname = current_database()")
        query(url, "CREATE OR REPLACE FUNCTION year() RETURNS int LANGUAGE sql RETURN 2032")
    with spare.lent() as url:
        assert query(url, "SELECT year()") == [(2031,)]
        assert query(url, "SELECT oid FROM pg_database WHERE datname = current_database()") == oid


def test_a_user_who_keeps_a_connection_finds_the_database_gone(spare):
    with spare.lent() as url:
        straggler = psycopg2.connect(url)
        straggler.cursor().execute("DELETE FROM claims")
    with spare.lent() as successor, closing(straggler):
        with pytest.raises(psycopg2.OperationalError, match="terminat"):
            straggler.cursor().execute("SELECT 1")
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            query(url, "SELECT 1")
        assert len(query(successor, "SELECT id FROM claims")) == 2


def test_a_database_with_changed_tables_is_not_lent_again(spare, postgres):
    with spare.lent() as changed:
        query(changed, "DROP TABLE claims")
    with spare.lent() as fresh:
        assert len(query(fresh, "SELECT id FROM claims")) == 2
        assert len(query(postgres.admin_url, "SELECT 1 FROM pg_database WHERE datname LIKE 'kept\\__%'")) == 1


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE another ()",
        "DROP TABLE claims",
        "ALTER TABLE claims ALTER person DROP NOT NULL",
        "ALTER TABLE people ALTER name SET DEFAULT 'nobody'",
        "ALTER TABLE claims DROP CONSTRAINT claims_person_fkey",
        "CREATE INDEX ON people (name)",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ],
)
def test_every_change_to_more_than_rows_is_detected(spare, change):
    with spare.lent() as url, closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        before = shape(cursor)
        cursor.execute("UPDATE people SET name = 'a row only'; ANALYZE people")
        assert shape(cursor) == before
        cursor.execute(change)
        assert shape(cursor) != before
