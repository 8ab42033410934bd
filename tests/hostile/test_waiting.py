"""A web process of which every thread is taken still says that it lives, and one slow upstream leaves threads free."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil
import psycopg2
import requests

from flaskapp.config import Config
from sandbox.faults import Control
from tests.hostile.conftest import Web
from tests.hostile.wire import Wire
from tests.product import ADA, eventually

THREADS = Config().web_threads
LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n"
SESSION = json.dumps({"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name}})
CLAIM = json.dumps({"travelClaims": {"uuid": ADA.uuid, "appointmentDate": "2031-03-04"}})


@contextmanager
def many(web: Web, number: int, path: str, body: str, cookie: str = "") -> Iterator[list[Wire]]:
    """So many people who each send this request and wait."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with ExitStack() as held:
        yield [held.enter_context(web.wire(f"{head}Cookie: {cookie}\r\n\r\n{body}")) for _ in range(number)]


@contextmanager
def locked(web: Web, table: str) -> Iterator[None]:
    url = web.process.environment["DATABASE_URL"]
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


def test_liveness_is_answered_while_every_thread_is_taken(web: Web) -> None:
    """Without a thread of its own it would be answered after all who came before, but for the last `THREADS`."""
    cookie = f"cie_session={web.checked_in().cookies['cie_session']}"
    crowd = many(web, 60, "/check_in/v0/travel_claims", CLAIM, cookie)
    with locked(web, "check_in_sessions"), crowd as wires, web.wire() as prober:
        for more in (b"", b"X-Request-Id: probe-7\r\n", b"Connection: close\r\n"):
            prober.send(LIVE + more + b"\r\n")
            answer = prober.answer()
            assert (answer.status, answer.json) == (200, {"status": "alive"})
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert (answer.headers["x-request-id"] == "probe-7") == (b"probe-7" in more)
        assert answer.headers["connection"] == "close" and prober.answers() == []
        assert sum(wire.is_quiet() for wire in wires) >= THREADS
    assert web.claim(web.checked_in()).status_code == 202


def test_in_the_sandbox_it_listens_on_this_machine_only(web: Web) -> None:
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.ip for each in listening if each.laddr.port == web.port} == {"127.0.0.1"}


def test_one_hanging_upstream_takes_few_threads_and_refuses_the_rest_at_once(web: Web) -> None:
    person = web.checked_in()
    with closing(Control(web.fakes["control"])) as control:
        control.set("lorota", "hold")
        try:
            with many(web, 60, "/check_in/v2/sessions", SESSION) as wires:
                assert [web.claim(person).status_code for _ in range(5)] == [202] * 5
                assert requests.get(f"{web.url}/healthz/ready", timeout=60).status_code == 200
                eventually(lambda: sum(wire.is_quiet() for wire in wires) <= THREADS // 4)
                waiting = [wire for wire in wires if wire.is_quiet()]
                for wire in wires:
                    if wire not in waiting:
                        refused = wire.answer()
                        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 2
                control.clear("lorota")
                assert {wire.answer().status for wire in waiting} == {200}
        finally:
            control.clear("lorota")
