"""Somebody who signs in once and then files a claim for one day after another, over a kept-open connection."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg2
import requests

from sandbox.faults import Control
from sandbox.system import System
from sandbox.upstreams.cast import DEFAULT_CAST

ADA = DEFAULT_CAST[0]
DAYS = count()


class Person:
    """`file` is one POST and the seconds it took; `rows` and `value` query the database."""

    def __init__(self, system: System) -> None:
        self.port = system.port
        self.control = Control(system.upstreams["control"])
        self.database = psycopg2.connect(system.environment["DATABASE_URL"])
        self.database.autocommit = True
        self.connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=60)
        with closing(requests.Session()) as browser:
            who = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name}}
            browser.post(f"{system.url}/check_in/v2/sessions/", json=who, timeout=30).raise_for_status()
            self.cookie = f"cie_session={browser.cookies['cie_session']}"
        # As in a session from before appointments were kept: any day may be claimed.
        self.execute("UPDATE check_in_sessions SET appointments = NULL")

    def close(self) -> None:
        self.connection.close()
        self.database.close()
        self.control.close()

    def file(self) -> float:
        """Request travel pay for a new day. Returns the seconds from the first byte sent to the last byte read."""
        day = date(2031, 1, 1) + timedelta(days=next(DAYS))
        body = {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": day.isoformat()}}
        return post(self.connection, "/check_in/v0/travel_claims/", body, Cookie=self.cookie)

    def rows(self, query: str) -> list[Any]:
        with self.database.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def execute(self, statement: str) -> None:
        with self.database.cursor() as cursor:
            cursor.execute(statement)

    def value(self, query: str) -> Any:
        return self.rows(query)[0][0]

    def until_nothing_is_outstanding(self, seconds: float = 60) -> None:
        until(lambda: self.value("SELECT count(*) FROM outbox_messages") == 0, seconds)


def headers_of(control: Control, count: int) -> list[dict[str, str]]:
    """New people, signed in."""
    added = control.call("POST", "lorota", "veterans", json=[{"email": f"{uuid4()}@example.com"} for _ in range(count)])
    issued = control.call("POST", "sign_in", "tokens", json=[{"uuid": veteran["uuid"]} for veteran in added])
    return [{"Authorization": f"Bearer {each['access_token']}"} for each in issued]


def post(connection: http.client.HTTPConnection, path: str, body: Any, **headers: str) -> float:
    encoded = json.dumps(body)
    began = time.perf_counter()
    connection.request("POST", path, encoded, {"Content-Type": "application/json", **headers})
    reply = connection.getresponse()
    text = reply.read()
    took = time.perf_counter() - began
    assert reply.status == 202, text
    return took


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.02)
