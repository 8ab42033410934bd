"""What may be struck, and the blows themselves: processes, servers, our clock, and the outside world."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.chaos.fleet import Fleet
from sandbox.clock import step_clock
from sandbox.faults import UPSTREAMS, Control
from sandbox.story_form526 import KNOBS

SNAPSHOT = "dump.rdb"
# No account can make a file here: it acts as a full disk.
NO_SPACE = "/proc"
# A settle has its message locked, and closes the cases that its answer ends; there it waits for the lock on `cases`.
SETTLING = """
    SELECT 1 FROM pg_locks waits JOIN pg_locks holds USING (pid)
     WHERE waits.relation = 'cases'::regclass AND NOT waits.granted
       AND holds.relation = 'outbox_messages'::regclass AND holds.mode = 'RowShareLock' AND holds.granted
"""
CATCH_SETTLE_WITHIN = 2.0
SERVICE_CALLBACKS = "callback_url"


class Ground:
    """Raises what the servers' clients raise, so a blow at something that is down is noticed."""

    def __init__(self, fleet: Fleet, control: Control) -> None:
        self.fleet = fleet
        self.control = control
        self._callback_url = control.call("GET", "va_notify", "knobs")[SERVICE_CALLBACKS]

    # -- servers -----------------------------------------------------------

    def kill_postgres(self) -> None:
        self.fleet.postgres.kill()

    def start_postgres(self) -> None:
        self.fleet.postgres.start()

    def restart_postgres(self) -> None:
        """A fast shutdown: everything under way is rolled back."""
        self.fleet.postgres.restart()

    def restart_postgres_in_mid_settle(self) -> None:
        """An immediate shutdown while a worker's transaction records an answer: every session is cut, and the start
        recovers from the log. Raises psycopg2.OperationalError when no such transaction comes."""
        with closing(psycopg2.connect(self.fleet.postgres.url, connect_timeout=10)) as holding:
            cursor = holding.cursor()
            cursor.execute("LOCK TABLE cases IN EXCLUSIVE MODE")
            ends_at = time.monotonic() + CATCH_SETTLE_WITHIN
            while time.monotonic() < ends_at and cursor.rowcount < 1:
                time.sleep(0.01)
                cursor.execute(SETTLING)
            if cursor.rowcount < 1:
                raise psycopg2.OperationalError("no answer came to be recorded")
            os.kill(self.fleet.postgres.pid, signal.SIGQUIT)
            self.fleet.postgres.restart()

    def end_sessions(self) -> None:
        self._administer(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def step_clock(self, seconds: float) -> None:
        """Move our clock from the true one, ahead or behind; Postgres has it for all processes."""
        step_clock(self.fleet.postgres.url, timedelta(seconds=seconds))

    def kill_redis(self) -> None:
        self.fleet.redis.kill()

    def start_redis(self) -> None:
        """Start it empty: everything it knew was in memory."""
        self.fleet.redis.start()

    def freeze_redis(self) -> None:
        os.kill(self.fleet.redis.pid, signal.SIGSTOP)

    def thaw_redis(self) -> None:
        os.kill(self.fleet.redis.pid, signal.SIGCONT)

    def flush_redis(self) -> None:
        self._redis("FLUSHALL")

    def save_snapshot(self) -> None:
        self._redis("SAVE")

    def restore_snapshot(self) -> None:
        """Kill Redis, and start one that knows what the last one knew when it was saved."""
        self.fleet.redis.kill()
        self.fleet.redis.start()
        self._snapshot.unlink(missing_ok=True)

    def fill_memory(self) -> None:
        self._redis("CONFIG", "SET", "maxmemory", "1")

    def free_memory(self) -> None:
        self._redis("CONFIG", "SET", "maxmemory", "0")

    def fill_disk(self) -> None:
        """Snapshots are wanted and cannot be written: from the first failure on, Redis refuses every write."""
        self._redis("CONFIG", "SET", "dir", NO_SPACE)
        self._redis("CONFIG", "SET", "save", "3600 1")
        # Only a snapshot that fails in the background makes it refuse writes: SAVE tells its caller, and nobody else.
        self._redis("BGSAVE")

    def free_disk(self) -> None:
        self._redis("CONFIG", "SET", "dir", str(self.fleet.redis.folder))
        self._redis("CONFIG", "SET", "save", "")

    # -- the outside world -------------------------------------------------

    def break_upstream(self, upstream: str, kind: str, **fields: Any) -> None:
        self.control.set(upstream, kind, **fields)

    def mend_upstream(self, upstream: str) -> None:
        self.control.clear(upstream)

    def contradict(self) -> None:
        """VANotify calls back early, twice, and says the opposite afterwards."""
        self.control.turn("va_notify", callback_url=self._callback_url, early=True, twice=True, contradict=True)

    def be_silent(self) -> None:
        """VANotify reports no delivery: otherwise half of the web's work would be to receive them."""
        self.control.turn("va_notify", callback_url=None, early=False, twice=False, contradict=False)

    def hold_documents(self, steps: float | None) -> None:
        """Documents stay at this step, whatever was reported of them before; None lets them go on."""
        self.control.call("PATCH", "documents", "uploads", json={"steps_done": steps})

    # -- all of it ---------------------------------------------------------

    def prepare(self) -> None:
        """Upstreams that answer at once and take everything that we send."""
        self.control.turn("va_notify", minute_limit=None, callback_url=None)
        self.control.turn("documents", **KNOBS)

    def heal(self) -> None:
        """Repair everything, whatever was struck last."""
        for upstream in UPSTREAMS:
            self.control.clear(upstream)
        self.hold_documents(None)
        self.be_silent()

    @property
    def _snapshot(self) -> Path:
        return self.fleet.redis.folder / SNAPSHOT

    def _redis(self, *command: str) -> Any:
        client = redis.Redis.from_url(self.fleet.redis.url, socket_timeout=10, retry=Retry(NoBackoff(), 0))
        with closing(client):
            return client.execute_command(*command)

    def _administer(self, statement: str) -> Sequence[Any]:
        with closing(psycopg2.connect(self.fleet.postgres.admin_url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()
