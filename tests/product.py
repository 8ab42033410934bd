"""The product in one process, driven step by step, for the integration tests."""

from __future__ import annotations

import contextvars
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import compress
from threading import Event
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq import Queue
from sqlalchemy import text

from flaskapp import clock
from flaskapp.current import breaker_settings
from flaskapp.db import db, transaction
from flaskapp.flows import Flows
from jobs.engine.runner import Process
from jobs.processes import allow_our_jobs
from jobs.worker import Bulkhead, Fetcher
from outbox import rescue
from outbox.relay import Relay
from outbox.scan_marks import ScanMarks
from outbox.values import QueueSpec
from sandbox.faults import Control, Refused
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from sandbox.upstreams.keys import TODAYS_KEY, public_pem
from sandbox.upstreams.serve import Upstreams

# Delays are short, so that a test waits for conditions and not for schedules. Limits on a call are long: a test that
# waits for a limit to strike sets it itself, and no other test may depend on how fast a busy machine answers.
SETTINGS = {
    "TRAVEL_PAY_TOTAL_SECONDS": "60",
    "TRAVEL_PAY_CONFIRM_SECONDS": "0.05",
    "TRAVEL_PAY_WAIT_SECONDS": "0",
    "TRAVEL_PAY_READ_SECONDS": "60",
    "STS_TOTAL_SECONDS": "60",
    "VA_PROFILE_TOTAL_SECONDS": "60",
    # Published keys are fetched in the background; no test is to wait for that.
    "SIS_PUBLIC_KEYS": public_pem(TODAYS_KEY),
    "REQUEST_SECONDS": "60",
    "STATUS_WAIT_SECONDS": "20",
    "METRICS_KEEP_SECONDS": "0",
    "RETRY_SCALE": "0.001",
    "BTSSS_CONFIRM_SECONDS": "0.05",
    "VANOTIFY_CONFIRM_SECONDS": "0.05",
    "BTSSS_CLOCK_SKEW_SECONDS": "1",
    "BTSSS_TOTAL_SECONDS": "60",
    "VEIS_TOTAL_SECONDS": "60",
    "VANOTIFY_TOTAL_SECONDS": "60",
    "ACCOUNTS_TOTAL_SECONDS": "60",
    "LIGHTHOUSE_TOTAL_SECONDS": "60",
    "LIGHTHOUSE_CONFIRM_SECONDS": "0.05",
    "ITF_SYNC_SECONDS": "60",
    "ITF_FIRST_LOOK_SECONDS": "0",
    "FORM526_TOTAL_SECONDS": "60",
    "FORM526_CONFIRM_SECONDS": "0.05",
    "DOCUMENT_UPLOAD_SECONDS": "60",
    "DOCUMENT_STATUS_SECONDS": "60",
    "BREAKER_OPEN_SECONDS": "0.1",
    "BREAKER_CAP_SECONDS": "1",
}
ADA = DEFAULT_CAST[0]
APPOINTMENT_DATE = "2031-03-04"


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until the condition holds and return its value; fails with its last value.

    A long limit costs time only when something is broken: a busy machine starts a process in ten seconds. The longer it
    takes, the less often it polls: a query to a running product costs it a hundredth of a second.
    """
    deadline, pause = time.monotonic() + seconds, 0.02
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(pause)
        pause = min(pause * 1.1, 0.1)
    raise AssertionError(f"still not so after {seconds} s: {condition()!r}")


class AtOnce:
    """The threads of a bulkhead, replaced by the test's own."""

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        work(*args)


class Browser(FlaskClient):
    """Each request gets its own application context, as it does from gunicorn; nothing of it outlives the answer."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return contextvars.Context().run(super().open, *args, **kwargs)


class ControlInHand(Control):
    """The admin APIs of fakes in this process, called without HTTP."""

    def __init__(self, fakes: Upstreams) -> None:
        super().__init__(fakes["control"])
        self.app = fakes.fakes.control.app

    def _request(self, method: str, url: str, **parts: Any) -> Any:
        called = partial(self.app.test_client().open, url, method=method, query_string=parts.pop("params", None))
        reply = contextvars.Context().run(called, **parts)
        if reply.status_code >= 400:
            raise Refused(f"HTTP {reply.status_code}: {reply.text[:300]}")
        return reply.get_json() if reply.headers.get("Content-Type") == "application/json" else None


class NoMarks(ScanMarks):
    """No scan marks. Scans are slow on a slow machine, and then an earlier deadline would be found later than now."""

    @contextmanager
    def look(self) -> Iterator[None]:
        yield


class Product:
    """`work` relays and runs jobs until nothing moves; the rest posts and reads as people and upstreams do."""

    def __init__(self, app: Flask, fakes: Upstreams) -> None:
        self.app = app
        self.fakes = fakes
        self.control = ControlInHand(fakes)
        self.redis: Redis = app.extensions["redis"]
        self.flows: Flows = app.extensions["flows"]
        app.test_client_class = Browser
        allow_our_jobs(self.flows)
        app.extensions["process"] = Process(f"test-{secrets.token_hex(4)}")
        with app.app_context():
            self.relay = Relay(db.engine, self.redis, self.flows.queues, breaker_settings(app.extensions["config"]))
        self.relay.low = NoMarks()
        self.fetchers: dict[str, Fetcher] = {}
        # Answers that are not as described, if somebody checks.
        self.faults: list[str] = []

    # -- moving work -------------------------------------------------------

    def beat(self) -> None:
        rescue.beat(db.engine, self.app.extensions["process"].worker_id, "worker")

    def run_queued(self) -> None:
        """Run every pointer that Redis holds, as the worker's fetchers do, but in this thread."""
        with self.redis.pipeline(transaction=False) as pipe:
            for queue in self.flows.queues:
                pipe.exists(Queue.redis_queue_namespace_prefix + queue.name)
            held = pipe.execute()
        for queue in compress(self.flows.queues, held):
            fetcher = self.fetcher_of(queue)
            while found := fetcher.look():
                fetcher.execute_job(*found)

    def fetcher_of(self, queue: QueueSpec) -> Fetcher:
        if queue.name not in self.fetchers:
            # One thread: each job ends before the next one is granted.
            bulkhead = Bulkhead(replace(queue, threads=1))
            bulkhead.pool = AtOnce()  # type: ignore[assignment]
            self.fetchers[queue.name] = Fetcher(self.app, self.redis, bulkhead, f"fetcher-{queue.name}", Event())
        return self.fetchers[queue.name]

    def work(self, until: Callable[[], Any] | None = None, seconds: float = 60.0) -> Any:
        """Relay and run until the condition holds (by default: no work is left but parked work)."""
        deadline = time.monotonic() + seconds
        done = until or (lambda: self.outstanding() == 0)
        while time.monotonic() < deadline:
            if found := done():
                return found
            self.beat()
            self.relay.run_once()
            self.run_queued()
            time.sleep(0.01)
        raise AssertionError(f"still not so after {seconds} s: {self.messages()}")

    def move_clock(self, offset: timedelta) -> None:
        """Set our clock. Texts and e-mails that are on their way arrive in the time that passes."""
        passes = offset - (clock.now() - datetime.now(UTC))
        if passes > timedelta():
            self.control.call("POST", "va_notify", "skip", json={"seconds": passes.total_seconds()})
        with transaction() as session:
            clock.set_offset(session, offset)

    # -- looking -----------------------------------------------------------

    def rows(self, query: str, **values: Any) -> list[Any]:
        with transaction() as session:
            return list(session.execute(text(query), values).all())

    def value(self, query: str, **values: Any) -> Any:
        return self.rows(query, **values)[0][0]

    def outstanding(self) -> int:
        return int(self.value("SELECT count(*) FROM outbox_messages WHERE state <> 'parked'"))

    def messages(self) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self.rows("SELECT * FROM outbox_messages ORDER BY id")]

    def cases(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT kind FROM cases WHERE closed_at IS NULL ORDER BY opened_at")]

    def metrics(self) -> str:
        headers = {"Authorization": f"Bearer {self.app.extensions['config'].metrics_token}"}
        response = self.app.test_client().get("/metrics", headers=headers)
        assert response.status_code == 200, response.text
        return response.text

    def phone(self, texts: int = 1) -> list[dict[str, Any]]:
        """Every text that reached somebody, newest first, once there are so many. VANotify needs a little time."""
        return list(eventually(lambda: (found := self.control.phone()) and len(found) >= texts and found))

    def submits(self) -> list[dict[str, Any]]:
        """Every submit that reached BTSSS."""
        found: list[dict[str, Any]] = self.control.received("btsss", "submitclaim")
        return found

    def filed(self) -> list[dict[str, Any]]:
        """Every claim BTSSS holds."""
        found: list[dict[str, Any]] = self.control.call("GET", "btsss", "claims")
        return found

    # -- posting -----------------------------------------------------------

    def sign_in(self, veteran: Veteran = ADA, *days: str) -> FlaskClient:
        """Check in. Everybody has an appointment today, on `APPOINTMENT_DATE` and on these days."""
        self.fakes.fakes.lorota.turn({"days": [APPOINTMENT_DATE, *days]})
        client = self.app.test_client()
        body = {"session": {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}}
        response = client.post("/check_in/v2/sessions/", json=body)
        assert response.status_code == 200, response.text
        return client

    def ask(self, client: FlaskClient, veteran: Veteran = ADA, date: str = APPOINTMENT_DATE, **headers: str) -> Any:
        body = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": date}}
        return client.post("/check_in/v0/travel_claims/", json=body, headers=headers)

    def claim_state(self, client: FlaskClient, claim_id: str) -> dict[str, Any]:
        response = client.get(f"/check_in/v0/travel_claims/{claim_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.get_json()["data"]
        return found
