"""Fresh databases in milliseconds: one is migrated once, every further one is a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from sandbox.servers import EmbeddedPostgres


class TemplateDatabase:
    """A database filled once by `migrate(url)`, and copies of it under new names.

    `migrate` must have closed its connections when it returns: PostgreSQL copies no database that is in use.
    """

    def __init__(self, server: EmbeddedPostgres, migrate: Callable[[str], None], name: str = "template") -> None:
        self.server = server
        self.name = name
        self._numbers = count(1)
        migrate(server.create_database(name))

    def copy(self) -> str:
        """Create a copy and return its URL; it lives until the server is removed."""
        return self.server.create_database(f"{self.name}_{next(self._numbers)}", self.name)

    @contextmanager
    def copied(self) -> Iterator[str]:
        """A copy's URL for the length of a `with` block, which ends by ending its connections and dropping it."""
        url = self.copy()
        try:
            yield url
        finally:
            self.server.drop_database(url.rpartition("/")[2])
