"""Fresh databases in milliseconds: one is migrated once, every further one is its copy, or a copy that was put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor

from sandbox.servers import ADMIN, EmbeddedPostgres

# Whatever changes a table, its columns or rules writes new rows here; VACUUM and ANALYZE do not. Functions are put
# back.
SHAPE = """
    SELECT md5(string_agg(part, ' ' ORDER BY part)) FROM (
        SELECT format('class %s %s', oid, xmin) FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('column %s %s %s', attrelid, attnum, a.xmin) FROM pg_attribute a
            JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('rule %s %s', oid, xmin) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT format('function %s', oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT format('trigger %s %s', oid, xmin) FROM pg_trigger
    ) AS parts (part)
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
# Those of extensions are nobody's to change.
FUNCTIONS = """
    SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""
SEQUENCES = """
    SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
      FROM pg_sequences WHERE schemaname = 'public'
"""


class TemplateDatabase:
    """A database filled once by `migrate(url)`, and copies of it under new names.

    `migrate` must have closed its connections when it returns: PostgreSQL copies no database that is in use.
    """

    def __init__(self, server: EmbeddedPostgres, migrate: Callable[[str], None], name: str = "template") -> None:
        self.server = server
        self.name = name
        self._numbers = count(1)
        migrate(server.create_database(name))

    def new_name(self) -> str:
        return f"{self.name}_{next(self._numbers)}"

    def copy(self) -> str:
        """Create a copy and return its URL; it lives until the server is removed."""
        return self.server.create_database(self.new_name(), self.name)

    @contextmanager
    def copied(self) -> Iterator[str]:
        """A copy's URL for the length of a `with` block, which ends by ending its connections and dropping it."""
        url = self.copy()
        try:
            yield url
        finally:
            self.server.drop_database(url.rpartition("/")[2])


class LentDatabase:
    """One copy, lent to one user after another: rows, counters and functions are put back, its name is a new one.

    That costs PostgreSQL a fifth of copying some 300 files and dropping them. Whoever still works for the last user
    loses the connection and finds no database of that name. A copy whose tables themselves were changed is dropped,
    and the next user has a new one.
    """

    def __init__(self, template: TemplateDatabase) -> None:
        self.template = template
        self.server = template.server
        self._ready = ""
        self._shape = ""
        self._undo: sql.Composable = sql.SQL("")

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Its URL for the length of a `with` block; one block at a time."""
        name = self._ready or self._make()
        self._ready = ""
        try:
            yield self.server.url_of(name)
        finally:
            self._take_back(name)

    def _make(self) -> str:
        name = self.template.copy().rpartition("/")[2]
        with self._inside(name) as inside:
            self._shape = shape(inside)
            self._undo = undo(inside)
        return name

    def _take_back(self, name: str) -> None:
        free = self.template.new_name()
        self.server.rename_database(name, free)
        with self._inside(free) as inside:
            same = shape(inside) == self._shape
            if same:
                inside.execute(self._undo)
        if same:
            self._ready = free
        else:
            self.server.drop_database(free)

    @contextmanager
    def _inside(self, name: str) -> Iterator[cursor]:
        """As the superuser, whose session may ignore foreign keys, which no other may; one transaction."""
        url = self.server.url_of(name, ADMIN)
        with (
            closing(psycopg2.connect(url, connect_timeout=10)) as connection,
            connection,
            connection.cursor() as inside,
        ):
            yield inside


def shape(inside: cursor) -> str:
    """Another text after every change to anything but rows and what functions do."""
    inside.execute(SHAPE)
    return str(inside.fetchall()[0][0])


def undo(inside: cursor) -> sql.Composable:
    """Statements that bring back the rows, counters and functions of now, which are in their text."""
    inside.execute(TABLES)
    tables = [sql.Identifier("public", name) for (name,) in inside.fetchall()]
    steps: list[sql.Composable] = [sql.SQL("SET LOCAL session_replication_role = replica")]
    steps += [sql.SQL("DELETE FROM {}").format(table) for table in tables]
    for table in tables:
        inside.execute(sql.SQL("SELECT to_jsonb(kept)::text FROM {} AS kept").format(table))
        steps += [
            sql.SQL(
                "INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::{0}, {1})"
            ).format(table, sql.Literal(row))
            for (row,) in inside.fetchall()
        ]
    inside.execute(FUNCTIONS)
    steps += [sql.SQL(definition) for (definition,) in inside.fetchall()]
    inside.execute(SEQUENCES)
    steps += [sql.SQL("SELECT setval({}, {}, {})").format(*map(sql.Literal, counter)) for counter in inside.fetchall()]
    return sql.SQL("; ").join(steps)
