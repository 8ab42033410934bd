"""Statements that stand alone need no BEGIN and no COMMIT: two of their three round trips.

SQLAlchemy's own AUTOCOMMIT sets the session back afterwards by one more statement, and spends half of what it saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine


@contextmanager
def autocommit(db: Connection) -> Iterator[Connection]:
    """In here every statement is committed as it ends; nothing may have been executed on this connection before."""
    raw = db.connection.dbapi_connection
    assert raw is not None
    raw.autocommit = True
    try:
        yield db
    finally:
        # Setting it back asks nobody anything; on a connection that was lost it would hide what was raised.
        if not raw.closed:
            raw.autocommit = False


@contextmanager
def connect_autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection for statements that each stand alone."""
    with engine.connect() as db, autocommit(db):
        yield db
