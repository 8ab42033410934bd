"""The waits of the one thread for Postgres: a task that waits for a lock lets the others go on.

Postgres says that it waits, not a timer.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import extensions

# Answers come within a millisecond, or not before somebody else has moved.
LOOK_SECONDS = 0.005


def wait(connection: Any) -> None:
    """psycopg2's wait for an answer."""
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        if state == extensions.POLL_WRITE:
            select.select([], [connection.fileno()], [])
        elif not select.select([connection.fileno()], [], [], LOOK_SECONDS)[0]:
            stand_back(connection)


def stand_back(connection: Any) -> None:
    task = getattr(connection, "task", None)
    server = getattr(connection, "server", None)
    if task is None or server is None or server.hub is None or server.hub.current() is not task:
        return
    if not task.dying and server.is_blocked(connection.info.backend_pid):
        connection.underway = True
        server.hub.wait_for_lock(connection)


@contextmanager
def handing_over() -> Iterator[None]:
    extensions.set_wait_callback(wait)
    try:
        yield
    finally:
        extensions.set_wait_callback(None)
