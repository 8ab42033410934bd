"""A Postgres that does what it is told to and does not say so: every COMMIT is on disk, and its answer is kept back."""

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
    """They wait for a standby that does not exist."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute("SET synchronous_commit = local")
        tell(admin, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            eventually(lambda: a_commit_goes_unanswered(postgres))
            yield
        finally:
            tell(admin, "ALTER SYSTEM RESET synchronous_standby_names")


def tell(admin: connection, statement: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SELECT pg_reload_conf()")


def a_commit_goes_unanswered(postgres: EmbeddedPostgres) -> bool:
    """Whether Postgres goes by its new setting yet: a commit of ours waits until it is cancelled."""
    with closing(psycopg2.connect(postgres.admin_url)) as asking, asking.cursor() as cursor:
        asking.autocommit = True
        enough = threading.Timer(0.2, asking.cancel)
        enough.start()
        # Cancelled before its commit, it says nothing either way.
        with suppress(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT pg_logical_emit_message(true, 'tests', 'is this answered?')")
        enough.cancel()
        enough.join()
        return any("wait for synchronous replication" in notification for notification in asking.notifications)
