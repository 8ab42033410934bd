"""Access to PostgreSQL: the SQLAlchemy object, the limits on waiting for it, the one way a transaction begins and ends,
and work that one process at a time does."""

from __future__ import annotations

import logging
import math
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date
from typing import Any, TypeVar

import psycopg2
from flask import Flask, has_request_context
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import Date, ExceptionContext, Index, MetaData, event, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    InvalidatePoolError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Mapped, mapped_column, scoped_session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from flaskapp.config import Config
from flaskapp.upstreams.transport.http import seconds_left
from outbox import NAMING, Target, autocommit, away, leases

log = logging.getLogger("flaskapp.db")

T = TypeVar("T")
DbSession = scoped_session[Session]
# A connection that was idle for longer than this is tested before it is used again.
PING_AFTER_SECONDS = 1.0
# How long a request may wait for one answer of Postgres, and at least, however little of its time is left; a process,
# and its heartbeat on the line where it listens, which together must not be deaf for longer than 20 s; and work that
# may take long, or a command. Postgres itself ends a statement after 25 s.
ANSWER_SECONDS, LEAST_SECONDS = 10.0, 2.0
PROCESS_SECONDS, HEARTBEAT_ANSWER_SECONDS = 10.0, 5.0
LONG_SECONDS = 30.0
# A transaction that failed later than this is not run again while a person waits.
RERUN_WITHIN_SECONDS = 4.0
# A person waits for a lock for less than five seconds. A process waits until a client that hangs inside a transaction
# has lost it.
LIMITS = {
    "statement_timeout": "25000",
    "lock_timeout": "4000",
    "idle_in_transaction_session_timeout": "3500",
    "timezone": "UTC",
}
PROCESS_LOCK_TIMEOUT = "8000"

# Leases. That of the sweep is also that of `flask audit --repair`: both rescue, park and show outstanding work.
SWEEP, AUDIT, RETENTION = "sweep", "audit", "retention"
# Longer than a sweep takes.
PATIENCE_SECONDS = 60.0

db = SQLAlchemy(metadata=MetaData(naming_convention=NAMING))


class Markable:
    """Adds to a model the day (UTC) that a synthetic row is of: one that Surefile filed by itself for a test person, to
    see that a flow works. Null for whatever a person asked for.

    A document has that of its form, a notification that of what it is about.
    """

    synthetic_on: Mapped[date | None] = mapped_column(Date, sort_order=1_000)


def synthetic_index(table: str, *, one_a_day: bool = True) -> Index:
    """The index of a table's few synthetic rows. Where it is `one_a_day`, Postgres itself refuses a second one."""
    marked = text("synthetic_on IS NOT NULL")
    return Index(f"ix_{table}_synthetic", "synthetic_on", unique=one_a_day, postgresql_where=marked)


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
            cursor.execute("SELECT pg_is_in_recovery()")
            if cursor.fetchone()[0]:
                # It was the primary when we connected.
                raise InvalidatePoolError
        connection.autocommit = False
    except psycopg2.Error as error:
        raise InvalidatePoolError from error


def has_unread_bytes(connection: Any) -> bool:
    """Whether the server sent something that no query called for, as it does before it shuts down."""
    line = select.poll()
    line.register(connection.fileno(), select.POLLIN)
    return bool(line.poll(0))


class Patience:
    """How long this process waits for one answer of Postgres where nobody says otherwise."""

    seconds = LONG_SECONDS


LONG_WORK: ContextVar[bool] = ContextVar("long_work", default=False)


def wait_as_a_process(app: Flask) -> None:
    """From here on, nobody waits for this process. Call it before anything is asked of Postgres."""
    Patience.seconds = PROCESS_SECONDS
    target: Target = app.extensions["database_target"]
    target.settings = {**target.settings, "lock_timeout": PROCESS_LOCK_TIMEOUT}


def answer_seconds() -> float:
    """How long the statement that is sent now may wait for its answer."""
    if has_request_context():
        return max(LEAST_SECONDS, seconds_left(ANSWER_SECONDS))
    return LONG_SECONDS if LONG_WORK.get() else Patience.seconds


@contextmanager
def long_work() -> Iterator[None]:
    """Statements in this block may take as long as Postgres lets them: nobody waits for this thread."""
    before = LONG_WORK.set(True)
    try:
        yield
    finally:
        LONG_WORK.reset(before)


def note_pooler() -> None:
    log.info("a pooler stands before PostgreSQL", extra={"event": "database.pooler"})


def warn_of_pooler() -> None:
    log.warning(
        "a pooler stands before PostgreSQL and DATABASE_DIRECT_URL is not set: new work is found by looking once a"
        " second, and no release can be made",
        extra={"event": "database.pooler_without_direct_url"},
    )


def main_target(config: Config) -> Target:
    """Connections for transactions, which may go through a pooler."""
    on_pooler = note_pooler if config.database_direct_url else warn_of_pooler
    return Target(config.database_url, "surefile", LIMITS, answer_seconds, on_pooler)


def direct_target(config: Config, application_name: str, limit: Callable[[], float] = lambda: LONG_SECONDS) -> Target:
    """Connections for what needs a session of its own: LISTEN, and migrations."""
    url = config.database_direct_url or config.database_url
    return Target(url, application_name, LIMITS, limit)


def listening_target(config: Config) -> Target:
    return direct_target(config, "surefile-listen", lambda: HEARTBEAT_ANSWER_SECONDS)


def engine_options(target: Target, pool_size: int) -> dict[str, Any]:
    """At most `pool_size` connections in each process: small hosted plans allow twenty for all processes together."""
    return {
        "creator": target.connect,
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "pool_events": [(note_rest, "checkin"), (test_if_idle, "checkout")],
        # Parameters may be personal data, so they are kept out of the texts of errors.
        "hide_parameters": True,
        # Nothing of ours is an hstore, and looking for that type would be a statement on each new connection.
        "use_native_hstore": False,
    }


def renew_if_read_only(context: ExceptionContext) -> None:
    """A primary that became a standby keeps its connections: drop them all, so that the next ones find the new one."""
    if away.sqlstate_of(context.original_exception) == away.READ_ONLY:
        context.is_disconnect = True


def init_app(app: Flask, config: Config) -> None:
    app.extensions["database_target"] = target = main_target(config)
    app.config["SQLALCHEMY_DATABASE_URI"] = config.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(target, config.database_pool_size)
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "handle_error", renew_if_read_only)


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


def is_passing(error: BaseException) -> bool:
    """Whether the same statements may well succeed next time: Postgres away, a deadlock, a lost race."""
    return away.is_away(error) or away.sqlstate_of(error).startswith("40")


def is_outage(error: BaseException) -> bool:
    """Whether the error is about Postgres and not about the row in work: any other row would have failed as well.

    Of the errors that Postgres itself reports, only those about values and constraints are about the row.
    """
    if isinstance(error, DBAPIError):
        return not isinstance(error, DataError | IntegrityError)
    return isinstance(error, DisconnectionError | PendingRollbackError | PoolTimeoutError)


def durably(work: Callable[[DbSession], T], at_once: Callable[[], T | None] = lambda: None) -> T:
    """Run idempotent work in one transaction, and once more if the connection broke or we lost a deadlock.

    `at_once` may do the same before, in one statement that commits by itself; None says that this takes more.

    A COMMIT whose answer was lost may have succeeded, so the work must find what it wrote. A second failure is raised:
    the caller gets a 503, never a 202 that is not known to be durable. So is a first one that took long.
    """
    began = time.monotonic()
    try:
        done = at_once()
        if done is not None:
            return done
        with transaction() as session:
            return work(session)
    except SQLAlchemyError as error:
        # Nobody waits for the same lock twice.
        waited = away.is_slow(error) or time.monotonic() - began > RERUN_WITHIN_SECONDS
        if waited or not is_passing(error):
            raise
        log.warning("transaction rerun", extra={"event": "db.rerun", "error": type(error).__name__})
        db.session.remove()
    with transaction() as session:
        return work(session)


def alone(name: str, work: Callable[[], None], patient: bool = False) -> bool:
    """Run the work under the lease of this name, so that one process at a time does it.

    False if another process has the lease, which is counted; with `patient`, if it still has it after
    `PATIENCE_SECONDS`.
    """
    with long_work():
        return leases.run(db.engine, name, work, PATIENCE_SECONDS if patient else 0.0)
