"""The ledger's clock, moved while the processes run that use it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg2


def step_clock(url: str, offset: timedelta) -> None:
    """Move it away from the true time, ahead or behind, for every process on the database at this URL.

    It moves between transactions, as a real clock does for them: within one transaction Postgres's time stands still. A
    settle has locked a message first.
    """
    with closing(psycopg2.connect(url, connect_timeout=10)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE outbox_messages IN EXCLUSIVE MODE")
        cursor.execute("UPDATE outbox_clock SET clock_offset = %s", (offset,))
