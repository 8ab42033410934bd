"""The questions to Postgres while it is struck: what it cannot answer counts as unknown, and is queried again later."""

from __future__ import annotations

import threading
from typing import Any

import psycopg2

from sandbox.chaos.journeys import ITF, Promise

NOTIFIED = "SELECT 1 FROM notifications WHERE subject_type = %s AND subject_id = %s AND state <> 'pending' LIMIT 1"
# An ITF is known by its person's account.
ITF_NOTIFIED = """
    SELECT 1 FROM notifications n JOIN intents_to_file i ON n.subject_id = i.id::text
     WHERE n.subject_type = %s AND i.account_id::text = %s AND n.state <> 'pending' LIMIT 1
"""
COUNTS = """
    SELECT (SELECT count(*) FROM notifications WHERE state <> 'pending'),
           (SELECT count(*) FROM outbox_messages WHERE state <> 'parked'),
           (SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status = 'pending')
"""


class Witness:
    """Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._connection: Any = None

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def is_notified(self, promise: Promise) -> bool:
        query = ITF_NOTIFIED if promise.flow == ITF else NOTIFIED
        return bool(self._rows(query, promise.flow, promise.key))

    def counts(self) -> tuple[int, int, int] | None:
        """How many notifications were taken, how many messages are outstanding, and how many documents are under
        way."""
        found = self._rows(COUNTS)
        return (found[0][0], found[0][1], found[0][2]) if found else None

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]] | None:
        with self._lock:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg2.connect(self._url, connect_timeout=5)
                    self._connection.autocommit = True
                with self._connection.cursor() as cursor:
                    cursor.execute(query, values)
                    return list(cursor.fetchall())
            except psycopg2.Error:
                self._connection = None
                return None
