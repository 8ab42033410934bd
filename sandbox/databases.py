"""Fresh databases in milliseconds: one is migrated once, every further one is its copy, or a copy that was put back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection, cursor

from sandbox.servers import ADMIN, EmbeddedPostgres

# Whatever changes a table, its columns or rules writes rows here, of which the newest has a higher number than all
# before, or deletes some; VACUUM and ANALYZE do not. Functions are put back.
SHAPE = """
    SELECT concat_ws(' ',
        (SELECT (count(*), max(xmin::text::int8)) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
        (SELECT (count(*), max(a.xmin::text::int8)) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
          WHERE relnamespace = 'public'::regnamespace),
        (SELECT (count(*), max(xmin::text::int8)) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
        (SELECT (count(*), max(oid)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
        (SELECT (count(*), max(xmin::text::int8)) FROM pg_trigger))
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
# Those of extensions are nobody's to change.
FUNCTIONS = """
    SELECT p.oid::int8, pg_get_functiondef(p.oid) FROM pg_proc p
     WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""
# ALTER DATABASE would refuse while anybody is connected.
RENAME = "UPDATE pg_database SET datname = %s WHERE datname = current_database()"
# PostgreSQL itself would look again every 100 ms whether they are gone.
END_OTHERS = """
    CREATE FUNCTION pg_temp.end_others(kept int[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        FOR look IN 1..2000 LOOP
            PERFORM pg_stat_clear_snapshot();
            PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL(kept);
            EXIT WHEN NOT FOUND;
            PERFORM pg_sleep(0.001);
        END LOOP;
    END $$
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

    Whoever still works for the last user loses the session and finds no database of that name. Only tables that hold
    something else than they should are written, by a session that stays open and knows its plans; that costs PostgreSQL
    a twentieth of copying some 300 files and dropping them. A copy whose tables themselves were changed is dropped, and
    the next user has a new one.
    """

    def __init__(self, template: TemplateDatabase) -> None:
        self.template = template
        self.server = template.server
        self._name = ""
        self._shape = ""
        self._inside: connection | None = None

    @contextmanager
    def lent(self, kept: Callable[[], Collection[int]] = tuple) -> Iterator[str]:
        """Its URL for the length of a `with` block; one block at a time. The sessions of the processes of PostgreSQL
        that `kept` names afterwards stay open for the next user."""
        if not self._name:
            self._make()
        try:
            yield self.server.url_of(self._name)
        finally:
            self._take_back(list(kept()))

    def _make(self) -> None:
        self._name = self.template.copy().rpartition("/")[2]
        # As the superuser, whose session may ignore foreign keys, which no other may.
        self._inside = psycopg2.connect(self.server.url_of(self._name, ADMIN), connect_timeout=10)
        self._inside.autocommit = True
        with self._inside.cursor() as inside:
            inside.execute("SET session_replication_role = replica")
            inside.execute(END_OTHERS)
            inside.execute(sql.SQL("PREPARE shape AS {}").format(sql.SQL(SHAPE)))
            self._shape = shape(inside)
            inside.execute(put_back(inside))

    def _take_back(self, kept: list[int]) -> None:
        assert self._inside is not None
        try:
            with self._inside.cursor() as inside:
                free = self.template.new_name()
                inside.execute(RENAME, [free])
                self._name = free
                inside.execute("SELECT pg_temp.end_others(%s::int[])", [kept])
                if shape(inside, "EXECUTE shape") == self._shape:
                    inside.execute("SELECT pg_temp.put_back()")
                    return
        except psycopg2.OperationalError:
            pass  # The server was stopped, or a superuser ended this session: a new copy is as good.
        self._inside.close()
        self.server.drop_database(self._name)
        self._name = ""


def shape(inside: cursor, query: str = SHAPE) -> str:
    """Another text after every change to anything but rows and what functions do."""
    inside.execute(query)
    return str(inside.fetchall()[0][0])


def put_back(inside: cursor) -> sql.Composable:
    """Definition of a function of this session that brings back the rows, counters and functions of now, which are in
    its text. It writes nothing that is as it was."""
    inside.execute(TABLES)
    steps: list[sql.Composable] = []
    for table in [sql.Identifier("public", name) for (name,) in inside.fetchall()]:
        inside.execute(sql.SQL("SELECT kept::text, to_jsonb(kept)::text FROM {} AS kept ORDER BY 1").format(table))
        rows = inside.fetchall()
        changed = (
            sql.SQL("(SELECT array_agg(r::text ORDER BY r::text) FROM {} AS r) IS DISTINCT FROM {}::text[]").format(
                table, sql.Literal([text for text, _ in rows])
            )
            if rows
            else sql.SQL("EXISTS (SELECT 1 FROM {})").format(table)
        )
        again = [
            sql.SQL(
                "INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::{0}, {1})"
            ).format(table, sql.Literal(row))
            for _, row in rows
        ]
        steps += [sql.SQL("IF {} THEN DELETE FROM {}").format(changed, table), *again, sql.SQL("END IF")]
    inside.execute(FUNCTIONS)
    steps += [
        sql.SQL("IF pg_get_functiondef({}::oid) <> {definition} THEN EXECUTE {definition}; END IF").format(
            sql.Literal(oid), definition=sql.Literal(definition)
        )
        for oid, definition in inside.fetchall()
    ]
    inside.execute(SEQUENCES)
    steps += [sql.SQL("PERFORM setval({}, {}, {})").format(*map(sql.Literal, counter)) for counter in inside.fetchall()]
    body = sql.SQL("BEGIN {}; END").format(sql.SQL("; ").join(steps)).as_string(inside)
    return sql.SQL("CREATE FUNCTION pg_temp.put_back() RETURNS void LANGUAGE plpgsql AS {}").format(sql.Literal(body))
