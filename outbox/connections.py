"""Connections to Postgres: proven writable, with a limit on every statement, and the same behind a pooler.

- **A limit on every statement.** A server that is hung, or whose host went silent, holds libpq for ever. A thread ends
  the connections on which an answer is overdue; psycopg2's own way, a wait callback, would make every statement slower.
- **Nothing that a pooler could mix up.** In transaction mode, each transaction may get another session of the server,
  and what one sets there the next one finds. So settings travel with the first statement of each transaction, in the
  same message: that costs no round trip. Without a pooler they are start-up parameters.
- **Autocommit** for single statements: without BEGIN and COMMIT they save two of three round trips. SQLAlchemy's own
  AUTOCOMMIT resets the session afterwards with one more statement, which spends half of that.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, TypeVar, cast

import psycopg2
from psycopg2 import extensions
from psycopg2.extras import NamedTupleCursor
from sqlalchemy import Connection, Engine, TextClause
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError

from outbox import away
from outbox.statements import MARK, Statements

log = logging.getLogger("outbox.connections")

T = TypeVar("T")

CONNECT_SECONDS = 5
LOOK_SECONDS = 0.25
# A host that went silent is noticed after 14 s where nothing was sent, else after 15.
KEPT_ALIVE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# A pooler answers for a session of the server, and gives a process id of its own.
PROBE = "SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('transaction_read_only')"
# A statement that is prepared is planned once, for any values. By itself, Postgres plans those with arrays anew each
# time, because they look cheaper with the few values at hand.
PREPARED = {"plan_cache_mode": "force_generic_plan"}
OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)\s*")
LISTS = ("search_path", "temp_tablespaces", "datestyle")
BLANK, ESCAPED = re.compile(r"([\\\s])"), r"\\\1"


class Overdue(psycopg2.OperationalError):
    """No answer came in time, and the connection was ended. Whether the statement took effect is not known."""


class Watch:
    """Thread that ends the connections on which an answer is overdue. It starts with the first statement, and again
    with the next one if anything ended it: without it a statement would wait for ever."""

    def __init__(self) -> None:
        self.calls: dict[LimitedConnection, float] = {}
        self.thread: threading.Thread | None = None
        self.starting = threading.Lock()

    @property
    def is_looking(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def start(self) -> None:
        with self.starting:
            if not self.is_looking:
                self.thread = threading.Thread(target=self.look_forever, name="overdue", daemon=True)
                self.thread.start()

    def look_forever(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for connection, due in self.calls.copy().items():
                # Whoever takes the call out of the dictionary decides about it: the caller with its answer, or we.
                if due <= now and self.calls.pop(connection, None) is not None:
                    hang_up(connection)

    def call(self, connection: LimitedConnection, work: Callable[..., T], *args: Any) -> T:
        """Do the work, which waits for the server, and raise Overdue when the answer does not come in time."""
        limit = connection.limit()
        if not self.is_looking:
            self.start()
        self.calls[connection] = time.monotonic() + limit
        try:
            found = work(*args)
        except psycopg2.Error as error:
            if self.calls.pop(connection, None) is None:
                raise Overdue(f"no answer in {limit:.1f} s") from error
            raise
        except BaseException:
            self.calls.pop(connection, None)
            raise
        if self.calls.pop(connection, None) is None:
            connection.close()
            raise Overdue(f"no answer in {limit:.1f} s")
        return found


def hang_up(connection: Any) -> None:
    """End a connection from another thread than the one that waits on it."""
    with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


WATCH = Watch()
# The thread does not live on in a child.
os.register_at_fork(after_in_child=lambda: WATCH.__init__())  # type: ignore[misc]


class LimitedCursor(extensions.cursor):
    connection: LimitedConnection

    def execute(self, query: Any, vars: Any = None) -> None:
        connection = self.connection
        prefix = connection.prefix
        if not prefix and isinstance(query, str) and query.startswith(MARK):
            limited = partial(WATCH.call, connection, super().execute)
            connection.statements.run(limited, query, vars)
            return
        if prefix and connection.status == extensions.STATUS_READY:
            if self.name or not isinstance(query, str):
                connection.execute_plainly(prefix)
            else:
                query = prefix + query
        WATCH.call(connection, super().execute, query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        if self.connection.prefix and self.connection.status == extensions.STATUS_READY:
            self.connection.execute_plainly(self.connection.prefix)
        WATCH.call(self.connection, super().executemany, query, vars_list)

    # Only a cursor at the server asks it for rows.

    def fetchmany(self, size: int | None = None) -> Any:
        size = size or self.arraysize
        return WATCH.call(self.connection, super().fetchmany, size) if self.name else super().fetchmany(size)

    def fetchall(self) -> Any:
        return WATCH.call(self.connection, super().fetchall) if self.name else super().fetchall()

    def fetchone(self) -> Any:
        return WATCH.call(self.connection, super().fetchone) if self.name else super().fetchone()


class LimitedConnection(extensions.connection):
    """A connection on which no statement waits longer than `limit` says, in seconds.

    `prefix` is sent before the first statement of each transaction; it is empty where no pooler stands before Postgres.
    """

    limit: Callable[[], float] = staticmethod(lambda: math.inf)
    prefix: str = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cursor_factory = LimitedCursor
        self.statements = Statements()

    def execute_plainly(self, statement: str) -> None:
        with super().cursor(cursor_factory=extensions.cursor) as cursor:
            WATCH.call(self, cursor.execute, statement)

    def commit(self) -> None:
        WATCH.call(self, super().commit)

    def rollback(self) -> None:
        WATCH.call(self, super().rollback)


@dataclass
class Target:
    """Where and how to connect. `settings` are ours; those in the URL's own `options` come on top of them.

    After the first connection, `pooled` says whether a pooler answered.
    """

    url: str
    application_name: str
    settings: Mapping[str, str]
    limit: Callable[[], float]
    on_pooler: Callable[[], None] = field(default=lambda: None)
    pooled: bool | None = None
    refuses_options: bool = False
    trouble: str | None = None

    def __post_init__(self) -> None:
        args = PGDialect_psycopg2().create_connect_args(make_url(self.url))[1]
        self.settings = {**self.settings, **read_options(args.pop("options", ""))}
        self.args = {**KEPT_ALIVE, "application_name": self.application_name, **args}
        if "," in str(args.get("host", "")):
            # Of several hosts, the one that takes writes. Behind a pooler, what libpq is told of that may be old.
            self.args.setdefault("target_session_attrs", "read-write")

    def connect(self) -> LimitedConnection:
        """A connection that is proven writable. Raises psycopg2.OperationalError; each new reason is logged once."""
        try:
            made = self.proven()
        except psycopg2.Error as error:
            reason = away.reason_of(error)
            if reason != self.trouble:
                self.trouble = reason
                log.error(reason, extra={"event": "database.no_connection", "for": self.application_name})
            raise
        self.trouble = None
        return made

    def proven(self) -> LimitedConnection:
        made = self.open()
        try:
            made.autocommit = True
            with made.cursor() as cursor:
                cursor.execute(PROBE)
                pid, is_standby, read_only = cursor.fetchone() or (0, False, "off")
            made.autocommit = False
            if is_standby:
                raise psycopg2.OperationalError("the server is in recovery")
            if read_only == "on":
                raise psycopg2.OperationalError("the session is read-only")
        except BaseException:
            made.close()
            raise
        pooled = pid != made.info.backend_pid
        if pooled:
            made.prefix = as_prefix(self.settings)
            if not self.pooled:
                self.on_pooler()
        self.pooled = pooled
        return made

    def open(self) -> LimitedConnection:
        if not self.refuses_options:
            try:
                return self.open_with(options=as_options({**PREPARED, **self.settings}))
            except psycopg2.OperationalError as error:
                if "unsupported startup parameter" not in str(error):
                    raise
        made = self.open_with()
        self.refuses_options = True
        return made

    def open_with(self, **options: str) -> LimitedConnection:
        args: dict[str, Any] = {**self.args, **options}
        made = psycopg2.connect(connection_factory=LimitedConnection, **args)
        made.limit = self.limit
        return made


def read_options(text: str) -> dict[str, str]:
    """Settings in libpq's `options`: `-c name=value` or `--name=value`, a backslash before a blank in a value.

    Raises ValueError for anything else.
    """
    found, at = {}, 0
    text = text.strip()
    while at < len(text):
        option = OPTION.match(text, at)
        if option is None:
            raise ValueError("options may hold only -c name=value")
        found[option[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", option[2])
        at = option.end()
    return found


def as_options(settings: Mapping[str, str]) -> str:
    """Settings as a start-up parameter."""
    return " ".join(f"-c {name}={BLANK.sub(ESCAPED, value)}" for name, value in settings.items())


def as_prefix(settings: Mapping[str, str]) -> str:
    """Settings for one transaction, as SQL before its first statement.

    Unlike a SELECT of set_config, this takes no snapshot: the statement after it may choose the isolation level.
    """
    return "".join(f"SET LOCAL {name} = {as_literals(name, value)};\n" for name, value in settings.items())


def as_literals(name: str, value: str) -> str:
    """The value as SQL, without a per cent sign, which is psycopg2's. A list is several literals, or it is one name."""
    each = [item.strip().strip('"') for item in value.split(",")] if name in LISTS else [value]
    doubled = (item.replace("\\", "\\\\").replace("'", "''").replace("%", "\\045") for item in each)
    return ", ".join(f"E'{item}'" for item in doubled)


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


class NamingCursor(LimitedCursor, NamedTupleCursor):
    """Rows with their columns as attributes, like SQLAlchemy's."""


@cache
def as_sent(statement: TextClause) -> str:
    """The statement as psycopg2 takes it."""
    return str(statement.compile(dialect=PGDialect_psycopg2()))


class PlainResult:
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def one_or_none(self) -> Any:
        assert len(self.rows) < 2, "more than one row"
        return self.rows[0] if self.rows else None

    def one(self) -> Any:
        assert self.rows, "no row"
        return self.one_or_none()


class PlainConnection:
    """A `Database` for texts only, each committed as it ends."""

    def __init__(self, engine: Engine, raw: Any) -> None:
        self.engine = engine
        self.raw = raw

    def execute(self, statement: Any, parameters: Any = None, /) -> PlainResult:
        """If the connection is gone, or leads to a standby now, the pool makes all of them anew."""
        sent = as_sent(statement)
        try:
            with self.raw.cursor(cursor_factory=NamingCursor) as cursor:
                cursor.execute(sent, parameters or {})
                return PlainResult(cursor.fetchall())
        except psycopg2.Error as error:
            is_gone = self.engine.dialect.is_disconnect(cast(DBAPIModule.Error, error), self.raw, None)
            if is_gone or away.sqlstate_of(error) == away.READ_ONLY:
                self.raw.close()
                self.engine.dispose()
            raise as_sqlalchemys(error, self.engine, is_gone, sent) from error


def as_sqlalchemys(error: psycopg2.Error, engine: Engine, is_gone: bool, statement: str | None = None) -> BaseException:
    """Without parameters, which may be personal data. `away` looks at the statement: whether it was to write."""
    return DBAPIError.instance(
        statement,
        None,
        error,
        psycopg2.Error,
        hide_parameters=True,
        connection_invalidated=is_gone,
        dialect=engine.dialect,
    )


@contextmanager
def connect_plainly(engine: Engine) -> Iterator[PlainConnection]:
    """As `connect_autocommit`, without SQLAlchemy between us and psycopg2: half of the time that it takes to send a
    statement, where that counts. Errors are SQLAlchemy's all the same."""
    try:
        pooled = engine.raw_connection()
    except psycopg2.Error as error:
        raise as_sqlalchemys(error, engine, is_gone=False) from error
    raw: Any = pooled.dbapi_connection
    try:
        raw.autocommit = True
        yield PlainConnection(engine, raw)
    finally:
        if not raw.closed:
            raw.autocommit = False
        pooled.close()
