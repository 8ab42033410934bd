"""Real PostgreSQL, reached over connections that stop at every statement and every COMMIT.

They are psycopg2's own, so SQLAlchemy and the product see no difference. The ledger's clock is the hub's, and a
transaction keeps its start time, as with `now()`.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg2
from psycopg2 import errors, extensions
from sqlalchemy import Engine, create_engine, event

from tests.simulator.hub import TICK_SECONDS, Hub, Killed, Task
from tests.simulator.waiting import LOOK_SECONDS

LOST = "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally"
BLOCKED = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
VERB = re.compile(r"(UPDATE(?! OF)|INSERT INTO|DELETE FROM|FROM|NOTIFY|SET LOCAL)\s+([a-z_]+)")
# What the ledger calls now, and the start of Postgres itself: long ago.
CLOCK = """
    CREATE SCHEMA simulated;
    CREATE OR REPLACE FUNCTION outbox_now() RETURNS timestamptz LANGUAGE sql STABLE
        RETURN timestamptz '2031-03-04 12:00+00' + make_interval(secs => current_setting('simulated.now')::float8);
    CREATE FUNCTION simulated.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql STABLE
        RETURN outbox_now() - interval '1 day';
    CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE RETURN outbox_now()
"""
OPTIONS = "-c search_path=simulated,pg_catalog,public -c simulated.now=0 -c timezone=UTC -c jit=off"


@cache
def label_of(query: str) -> str:
    """The name of a statement in the steps: what it does to which tables."""
    found = dict.fromkeys(f"{verb} {table}" for verb, table in VERB.findall(query))
    writes = [each for each in found if not each.startswith("FROM")]
    return ", ".join(writes or list(found)[:1]) or " ".join(query.split())[:40]


class Server:
    """The connections of all processes, one that only looks on, and the faults that connections meet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.hub: Hub | None = None
        self.loses: Callable[[Task, str, str], bool] = lambda task, where, what: False
        self.restarts = 0
        self.idle: list[SimulatedConnection] = []
        self.planned: dict[str, str] = {}
        with psycopg2.connect(url) as plain, plain.cursor() as cursor:
            cursor.execute(CLOCK)
        plain.close()
        self.observer = psycopg2.connect(url, options=OPTIONS, application_name="observer")
        self.observer.autocommit = True

    def engine(self) -> Engine:
        """An engine with as many connections as anybody may want: a pool that waits would stop the only thread."""
        made = create_engine("postgresql+psycopg2://", creator=self.connect, pool_size=40, use_native_hstore=False)
        event.listen(made, "checkin", disown)
        return made

    def connect(self) -> SimulatedConnection:
        task = self.hub.current() if self.hub is not None else None
        if task is not None and task.dying:
            raise Killed
        if self.idle:
            found = self.idle.pop()
            found.begin_anew()
            return found
        made: SimulatedConnection = psycopg2.connect(
            self.url, connection_factory=SimulatedConnection, options=OPTIONS, application_name="simulated"
        )
        made.server = self
        extensions.connection.set_session(made, autocommit=True)
        return made

    def look(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What Postgres holds now, read outside all processes."""
        now = self.hub.now if self.hub is not None else 0.0
        with self.observer.cursor() as cursor:
            cursor.execute(f"SET simulated.now = '{now:.3f}'; {query}", values or None)
            return cursor.fetchall() if cursor.description else []

    def look_again(self, query: str) -> list[tuple[Any, ...]]:
        """For what is read between any two steps: planned once, because planning is most of its cost."""
        if query not in self.planned:
            self.planned[query] = f"look_{len(self.planned)}"
            self.look(f"PREPARE {self.planned[query]} AS {query}")
        return self.look(f"EXECUTE {self.planned[query]}")

    def wake_blocked(self) -> None:
        """A transaction ended: wait until everybody who was waiting behind it has gone as far as they can."""
        for task in self.hub.tasks if self.hub is not None else ():
            while task.blocked_on is not None and not self.is_blocked(task.blocked_on.info.backend_pid):
                if select.select([task.blocked_on.fileno()], [], [], LOOK_SECONDS)[0]:
                    task.blocked_on = None

    def is_blocked(self, pid: int) -> bool:
        return bool(self.look(BLOCKED, pid)[0][0])

    def cancel(self, connection: SimulatedConnection) -> None:
        """End a wait for a lock."""
        self.look("SELECT pg_cancel_backend(%s)", connection.info.backend_pid)

    def terminate(self, connection: SimulatedConnection) -> None:
        """End a session from the server's side, and wait until it is gone."""
        pid = connection.info.backend_pid
        self.look("SELECT pg_terminate_backend(%s)", pid)
        while self.look("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
            select.select([], [], [], TICK_SECONDS)
        self.wake_blocked()

    def vacuum(self) -> None:
        """In a request of its own: VACUUM may not stand beside another statement."""
        with self.observer.cursor() as cursor:
            cursor.execute(
                "VACUUM travel_claims, notifications, cases, outbox_messages, outbox_attempts, outbox_history"
            )

    def close(self) -> None:
        self.observer.close()
        for connection in self.idle:
            connection.hang_up()

    def restart(self) -> None:
        """Every transaction ends, and every connection with it."""
        self.restarts += 1
        for task in self.hub.tasks if self.hub is not None else ():
            for connection in list(task.connections):
                task.troubled = True
                connection.lose()


class SimulatedConnection(extensions.connection):
    """One process's connection. It begins, commits and rolls back as psycopg2 does, and may be lost."""

    server: Server

    def __init__(self, dsn: str, *args: Any, **options: Any) -> None:
        super().__init__(dsn, *args, **options)
        self.cursor_factory = SimulatedCursor
        self.begin_anew()

    def begin_anew(self) -> None:
        self.task: Task | None = None
        self.in_transaction = self.auto = self.lost = self.asynchronous = self.holds_lock = False
        self.timed_out = self.underway = self.cut_short = self.terminated = False

    def cursor(self, name: str | None = None, **options: Any) -> Any:
        """A client-side cursor, which reads the same rows: one at the server would need psycopg2's own idea of a
        transaction."""
        return super().cursor(**{key: value for key, value in options.items() if key != "scrollable"})

    @property
    def autocommit(self) -> bool:  # type: ignore[override]
        return self.auto

    @autocommit.setter
    def autocommit(self, wanted: bool) -> None:
        self.auto = wanted

    def set_isolation_level(self, level: int | None) -> None:
        self.auto = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT

    def meet(self, where: str, what: str) -> None:
        """Stop at a boundary; raises OperationalError when the connection is lost there."""
        hub = self.server.hub
        task = hub.current() if hub is not None else None
        if hub is None or task is None:
            return
        self.belong_to(task)
        if self.lost:
            task.troubled = True
            raise psycopg2.OperationalError(LOST)
        hub.boundary(where, what)
        if self.server.loses(task, where, what):
            hub.steps.append(f"{hub.now:.3f} {task.name}: loses its connection {where} {what}")
            task.troubled = True
            self.lose()
            raise psycopg2.OperationalError(LOST)

    def belong_to(self, task: Task) -> None:
        if self.task is not task:
            if self.task is not None:
                self.task.connections.discard(self)
            self.task = task
            task.connections.add(self)

    def begin(self) -> str:
        """The prefix of a statement: its transaction's beginning and the time of that."""
        if self.in_transaction:
            return ""
        self.in_transaction, self.asynchronous = not self.auto, False
        now = self.server.hub.now if self.server.hub is not None else 0.0
        return f"{'' if self.auto else 'BEGIN; '}SET simulated.now = '{now:.3f}'; "

    def commit(self) -> None:
        if not self.in_transaction and not self.cut_short:
            return
        # A task whose connection was ended while it stood still learns of it here.
        self.meet("before", "COMMIT")
        if self.asynchronous and self.task is not None and self.server.loses(self.task, "forgotten", "COMMIT"):
            # The server stops before this was written to disk, although it reported the commit as done.
            self.server.restart()
            return
        self.finish("COMMIT")
        self.meet("after", "COMMIT")

    def rollback(self) -> None:
        """Also for a process that dies: the server does the same when it sees the connection go dead."""
        if self.in_transaction and not self.lost:
            self.finish("ROLLBACK")

    def finish(self, how: str) -> None:
        with super().cursor(cursor_factory=extensions.cursor) as cursor:
            cursor.execute(how)
        self.in_transaction = self.asynchronous = False
        self.server.wake_blocked()

    def end(self) -> None:
        """The server's side of a connection that is gone: it ends at once, and not when the server would see it."""
        if not self.closed and self.in_transaction:
            self.finish("ROLLBACK")
        if not self.closed and self.holds_lock:
            self.finish("SELECT pg_advisory_unlock_all()")

    def give_up_waiting(self) -> None:
        """Postgres's own limit on waiting for a lock."""
        assert self.task is not None
        self.timed_out = True
        self.server.cancel(self)
        self.task.blocked_on = None

    def lose(self) -> None:
        self.cut_short = self.in_transaction
        if self.underway:
            assert self.task is not None
            self.task.blocked_on = None
            self.in_transaction = self.holds_lock = False
            self.server.terminate(self)
            self.terminated = True
        else:
            self.end()
        self.lost = True

    def close(self) -> None:
        """Give its session, if Postgres has not ended it, to the next one: a new session costs ten statements."""
        self.end()
        self.in_transaction = self.holds_lock = False
        disown(self)
        if self.closed or self.terminated or self.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
            self.hang_up()
        elif self not in self.server.idle:
            self.server.idle.append(self)

    def hang_up(self) -> None:
        super().close()


def disown(connection: SimulatedConnection, record: Any = None) -> None:
    """Back in the pool, or closed: it belongs to nobody. A dead one is not reused."""
    if record is not None and connection is not None and connection.lost:
        record.invalidate()
    if connection is not None and connection.task is not None:
        connection.task.connections.discard(connection)
        connection.task = None


class SimulatedCursor(extensions.cursor):
    def execute(self, query: Any, values: Any = None) -> None:
        connection: SimulatedConnection = self.connection  # type: ignore[assignment]
        text = query if isinstance(query, str) else query.decode()
        what = label_of(text)
        connection.meet("before", what)
        prefix = connection.begin()
        connection.asynchronous = connection.asynchronous or "synchronous_commit = off" in text
        connection.holds_lock = connection.holds_lock or "advisory_lock" in text
        try:
            super().execute(prefix + text, values)
        except psycopg2.Error:
            if connection.task is not None and connection.task.dying:
                raise Killed from None
            if connection.timed_out:
                connection.timed_out = False
                raise errors.LockNotAvailable("canceling statement due to lock timeout") from None
            raise
        finally:
            connection.underway = False
        connection.meet("after", what)
