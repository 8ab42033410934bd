"""Clients that stay connected, and the two processes of a web dyno."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sandbox.processes import surroundings
from sandbox.server import free_port
from tests.forks import ForkedProcess
from tests.product import eventually

ROOT = Path(__file__).parents[2]
CLIENTS = 8
APP = "gunicorn tests.processes.pids:app --workers 2"


@contextmanager
def web(log: Path) -> Iterator[int]:
    port = free_port()
    process = ForkedProcess("web", APP, surroundings({}, port), log, root=ROOT)
    process.start()
    try:
        eventually(lambda: len({pid for _ in range(4) if (pid := pid_of(port))}) > 0)
        yield port
    finally:
        process.kill()


def pid_of(port: int) -> int | None:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            return ask(connection)
    except OSError:
        return None


def ask(connection: http.client.HTTPConnection) -> int:
    """The process that answered; the connection stays open, or is opened again by the next call."""
    connection.request("GET", "/")
    return int(json.loads(connection.getresponse().read()))


def test_kept_open_connections_are_shared_evenly(tmp_path: Path) -> None:
    with web(tmp_path / "web.log") as port, ExitStack() as stack:
        clients = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)))
            for _ in range(CLIENTS)
        ]
        even = {CLIENTS // 2}
        eventually(lambda: set(Counter(map(ask, clients)).values()) == even)
