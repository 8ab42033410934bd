"""Access to PostgreSQL: the SQLAlchemy object, the one way a transaction begins and ends, and advisory locks."""

from __future__ import annotations

import logging
import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import MetaData, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InvalidatePoolError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import scoped_session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from flaskapp.config import Config
from outbox import NAMING, autocommit, connect_autocommit

log = logging.getLogger("flaskapp.db")

T = TypeVar("T")
DbSession = scoped_session[Session]
# A connection that was idle for longer than this is tested before it is used again.
PING_AFTER_SECONDS = 1.0
# Connection lost, transaction rolled back for another, lock not obtained in time, too many connections, shutting down.
LOCK_TIMEOUT = "55P03"
PASSING_SQLSTATES = ("08", "40", LOCK_TIMEOUT, "53300", "57P")

# Advisory lock of the sweep and of `flask audit --repair`: both rescue, park and show outstanding work.
SWEEP = "surefile.sweep"
# Longer than a sweep takes.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2

db = SQLAlchemy(metadata=MetaData(naming_convention=NAMING))


def note_rest(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["rests_since"] = time.monotonic()


def test_if_idle(connection: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """Test the connection, but only where there is doubt. A test each time would be one round trip in three.

    Raises InvalidatePoolError; the pool then makes all its connections anew and goes on with a new one.
    """
    try:
        rested = time.monotonic() - record.info.get("rests_since", math.inf)
        if rested < PING_AFTER_SECONDS and not has_unread_bytes(connection):
            return
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.autocommit = False
    except psycopg2.Error as error:
        raise InvalidatePoolError from error


def has_unread_bytes(connection: Any) -> bool:
    """Whether the server sent something that no query called for, as it does before it shuts down."""
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    return bool(line.poll(0))


def engine_options(application_name: str, pool_size: int) -> dict[str, Any]:
    """At most `pool_size` connections in each process: small hosted plans allow twenty for all processes together."""
    return {
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": 10,
        "pool_events": [(note_rest, "checkin"), (test_if_idle, "checkout")],
        # Parameters may be personal data, so they are kept out of the texts of errors.
        "hide_parameters": True,
        "connect_args": {
            "connect_timeout": 5,
            "application_name": application_name,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # A client that hangs inside a transaction loses it before others give up waiting for its locks. A request
            # behind a lock is answered within five seconds.
            "options": "-c statement_timeout=25000 -c lock_timeout=4500"
            " -c idle_in_transaction_session_timeout=4000 -c timezone=UTC",
        },
    }


def init_app(app: Flask, config: Config) -> None:
    app.config["SQLALCHEMY_DATABASE_URI"] = config.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options("surefile", config.database_pool_size)
    db.init_app(app)


@contextmanager
def reading() -> Iterator[DbSession]:
    """Run statements that only read and need no common snapshot: each by itself, without BEGIN and COMMIT.

    The session is empty afterwards, so copy what you need inside the block. Inside a transaction this is a part of it.
    """
    session = db.session
    if session.info.get("open"):
        yield session
        return
    session.info["reading"] = True
    try:
        with autocommit(session.connection()):
            yield session
    finally:
        db.session.remove()


@contextmanager
def transaction() -> Iterator[DbSession]:
    """Commit at the end, roll back on any exception; inside another transaction it joins that one."""
    session = db.session
    if session.info.get("open"):
        yield session
        return
    if session.info.get("reading"):
        raise RuntimeError("a transaction cannot begin inside a block that only reads")
    session.info["open"] = True
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info["open"] = False


def is_passing(error: SQLAlchemyError) -> bool:
    """Whether the same statements may well succeed next time: Postgres away or restarting, a deadlock, a lost race."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeoutError)
    sqlstate = getattr(error.orig, "pgcode", None) or ""
    away = isinstance(error, OperationalError) and not sqlstate
    return away or error.connection_invalidated or sqlstate.startswith(PASSING_SQLSTATES)


def is_outage(error: BaseException) -> bool:
    """Whether the error is about Postgres and not about the row in work: any other row would have failed as well.

    Of the errors that Postgres itself reports, only those about values and constraints are about the row.
    """
    if isinstance(error, DBAPIError):
        return not isinstance(error, DataError | IntegrityError)
    return isinstance(error, DisconnectionError | PendingRollbackError | PoolTimeoutError)


def durably(work: Callable[[DbSession], T]) -> T:
    """Run idempotent work in one transaction, and once more if the connection broke or we lost a deadlock.

    A COMMIT whose answer was lost may have succeeded, so the work must find what it wrote. A second failure is raised:
    the caller gets a 503, never a 202 that is not known to be durable. Nobody waits for the same lock twice.
    """
    try:
        with transaction() as session:
            return work(session)
    except SQLAlchemyError as error:
        waited = isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == LOCK_TIMEOUT
        if waited or not is_passing(error):
            raise
        log.warning("transaction rerun", extra={"event": "db.rerun", "error": type(error).__name__})
        db.session.remove()
    with transaction() as session:
        return work(session)


def with_advisory_lock(name: str, work: Callable[[], None], patient: bool = False) -> bool:
    """Run the work under this advisory lock, so that one process at a time does it.

    False if another process has the lock; with `patient`, if it still has it after `PATIENCE_SECONDS`.
    """
    give_up_at = time.monotonic() + (PATIENCE_SECONDS if patient else 0.0)
    with connect_autocommit(db.engine) as lock:
        while not lock.execute(text("SELECT pg_try_advisory_lock(hashtext(:name))"), {"name": name}).scalar_one():
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(LOOK_SECONDS)
        try:
            work()
        finally:
            lock.execute(text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": name})
    return True
