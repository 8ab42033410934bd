"""The ledger's clock, moved under the processes that go by it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import psycopg2


def step_clock(url: str, offset: timedelta) -> None:
    """Set it so far from the true one, ahead or behind, for every process on the database at this URL.

    Between transactions, as the true one steps: within one, Postgres's time stands still. Whoever settles has locked a
    message first.
    """
    with closing(psycopg2.connect(url, connect_timeout=10)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE outbox_messages IN EXCLUSIVE MODE")
        cursor.execute("UPDATE outbox_clock SET clock_offset = %s", (offset,))
