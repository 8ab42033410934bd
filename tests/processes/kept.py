"""One connection to the product's database for all queries of a test: each new one costs Postgres a fork."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor


class KeptConnection:
    """Each statement is a transaction of its own. The connection is made anew when Postgres was gone in the
    meantime."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._connection: Any = None

    def rows(self, query: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        if self._connection is not None:
            try:
                return self._ask(query, values)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self.close()
        self._connection = psycopg2.connect(self._url())
        self._connection.autocommit = True
        return self._ask(query, values)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        with self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(query, values)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []
