"""Connections in autocommit, for single statements: without BEGIN and COMMIT they save two of three round trips.

SQLAlchemy's own AUTOCOMMIT resets the session afterwards with one more statement, which spends half of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine


@contextmanager
def autocommit(db: Connection) -> Iterator[Connection]:
    """Commit every statement in this block as it ends. Nothing may have been executed on this connection before."""
    raw = db.connection.dbapi_connection
    assert raw is not None
    raw.autocommit = True
    try:
        yield db
    finally:
        # Resetting needs no round trip. On a lost connection it would raise, and hide the error that was raised here.
        if not raw.closed:
            raw.autocommit = False


@contextmanager
def connect_autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement is committed as it ends."""
    with engine.connect() as db, autocommit(db):
        yield db
