"""A Postgres that writes every COMMIT to disk and does not answer it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2
from psycopg2.extensions import connection

from sandbox.servers import EmbeddedPostgres
from tests.product import eventually


@contextmanager
def commits_unanswered(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Commits wait for a standby that does not exist."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute("SET synchronous_commit = local")
        run_and_reload(admin, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            eventually(lambda: a_commit_goes_unanswered(postgres))
            yield
        finally:
            run_and_reload(admin, "ALTER SYSTEM RESET synchronous_standby_names")


def run_and_reload(admin: connection, statement: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SELECT pg_reload_conf()")


def a_commit_goes_unanswered(postgres: EmbeddedPostgres) -> bool:
    """Whether Postgres uses its new setting yet: a commit of ours waits until it is cancelled."""
    with closing(psycopg2.connect(postgres.admin_url)) as asking, asking.cursor() as cursor:
        asking.autocommit = True
        enough = threading.Timer(0.2, asking.cancel)
        enough.start()
        # If it is cancelled before its commit, that proves nothing either way.
        with suppress(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_logical_emit_message(true, 'tests', 'is this answered?')")
        enough.cancel()
        enough.join()
        return any("wait for synchronous replication" in each for each in asking.notices)
