"""From POST to 202: only our own database counts, so no outage elsewhere may show in it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import requests

from sandbox.faults import UPSTREAMS
from sandbox.processes import Process, surroundings
from sandbox.server import free_port
from sandbox.servers import EmbeddedValkey
from sandbox.system import System
from tests.benchmarks.figures import figure, percentile, spread, title
from tests.benchmarks.people import Person, post

ROWS = "CREATE TABLE IF NOT EXISTS bare_rows (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb NOT NULL)"
POSTS = 400
WARM_UP = 40


@contextmanager
def everything_away(person: Person, redis_server: EmbeddedValkey) -> Iterator[None]:
    for upstream in UPSTREAMS:
        person.control.set(upstream, "refuse")
    redis_server.stop()
    try:
        yield
    finally:
        redis_server.start()
        for upstream in UPSTREAMS:
            person.control.clear(upstream)


@contextmanager
def bare_route(system: System, person: Person, log: Path) -> Iterator[int]:
    """A route that inserts one row, under the same gunicorn settings and on the same database; yields its port."""
    person.execute(ROWS)
    port = free_port()
    environment = surroundings(system.environment, port)
    process = Process("bare", "gunicorn tests.benchmarks.bare:app", environment, log, root=system.root)
    process.start()
    try:
        process.wait_ready(lambda: answers(port))
        yield port
    finally:
        process.terminate()


def answers(port: int) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 404
    return False


def bare_times(port: int) -> list[float]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        times = [post(connection, "/rows", {"travelClaims": {"uuid": "x" * 36}}) for _ in range(WARM_UP + POSTS)]
    return times[WARM_UP:]


def test_a_202_takes_as_long_with_every_upstream_and_redis_away(
    system: System, person: Person, redis_server: EmbeddedValkey, tmp_path: Path
) -> None:
    for _ in range(WARM_UP):
        person.file()
    up = [person.file() for _ in range(POSTS)]
    person.until_nothing_is_outstanding()
    with everything_away(person, redis_server):
        away = [person.file() for _ in range(POSTS)]
    person.until_nothing_is_outstanding()
    with bare_route(system, person, tmp_path / "bare.log") as port:
        bare = bare_times(port)

    title(f"POST to 202, one caller, {POSTS} claims each")
    figure("everything up (the worker files them meanwhile)", spread(up))
    figure("every upstream and Redis away", spread(away))
    figure("a bare Flask route that inserts one row", spread(bare))
    ratio_away = percentile(away, 50) / percentile(up, 50)
    ratio_bare = percentile(away, 50) / percentile(bare, 50)
    figure("away / up, p50", f"{ratio_away:.2f}")
    figure("away / bare route, p50", f"{ratio_bare:.2f}")
    assert ratio_away < 2
    assert percentile(away, 99) < 4 * percentile(up, 99)
    assert ratio_bare < 15
