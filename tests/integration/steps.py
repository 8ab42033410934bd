"""Steps that tests of the flow take again and again: ask, break, wait, look, and act as an operator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from flaskapp.db import db
from flaskapp.upstreams import build
from jobs import housekeeping
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.engine.runner import Pen
from jobs.engine.spec import JobSpec
from jobs.registry import SPECS
from outbox import attempts, rescue
from outbox.values import Grant
from sandbox.upstreams.cast import Veteran
from tests.house import ADA, APPOINTMENT_DATE, House

SUBMIT = SPECS["jobs.travel_claims.submit_claim"]
SEND = SPECS["jobs.notifications.send_notice"]
WRITTEN = ("travel_claims", "outbox_messages", "idempotency_keys", "outbox_history", "notifications", "cases")
LATER_THAN_EVER = timedelta(days=5, hours=1)


@dataclass
class Asked:
    """One claim somebody asked for, and the browser it was asked from."""

    house: House
    veteran: Veteran
    client: FlaskClient
    id: str

    @property
    def state(self) -> dict[str, Any]:
        """What its person is told now, signed in anew: days may have passed on the test's clock."""
        return self.house.claim_state(self.house.sign_in(self.veteran), self.id)

    @property
    def message(self) -> dict[str, Any]:
        """The message that files it."""
        (found,) = [each for each in self.house.messages() if each["subject_id"] == self.id]
        return found


def file_claim(house: House, veteran: Veteran = ADA, date: str = APPOINTMENT_DATE) -> Asked:
    """Sign in and ask for a claim; nothing has worked on it yet."""
    client = house.sign_in(veteran)
    response = house.ask(client, veteran, date)
    assert response.status_code == 202, response.text
    return Asked(house, veteran, client, response.get_json()["data"]["id"])


def filed_and_not_told_yet(house: House) -> Asked:
    asked = file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM notifications"))
    return asked


def told(house: House) -> Asked:
    asked = file_claim(house)
    house.work()
    return asked


def refused(house: House) -> Asked:
    house.control.play("btsss", "refused")
    return told(house)


def reconfigure(house: House, **changes: Any) -> None:
    """Other settings from here on, for the jobs and for the clients they use."""
    config = replace(house.app.extensions["config"], **changes)
    house.app.extensions["config"] = config
    house.app.extensions["upstreams"] = build(config, house.redis)


def counts(house: House) -> dict[str, int]:
    """Rows in every table a request may write to."""
    return {table: house.value(f"SELECT count(*) FROM {table}") for table in WRITTEN}


def sweep(house: House) -> None:
    house.beat()
    housekeeping.sweep()


def command(house: House, *args: str) -> Result:
    return house.app.test_cli_runner().invoke(args=list(args))


def texts(house: House, number: int = 1) -> list[str]:
    """The templates of the texts that reached somebody, oldest first."""
    return [text["template"] for text in reversed(house.phone(number))]


def look_ups(house: House) -> int:
    return len(house.control.received("btsss", "GetClaimsStatus"))


def sends(house: House) -> list[dict[str, Any]]:
    """Every text VANotify was asked for, whatever it answered."""
    return [entry["body"] for entry in house.control.received("va_notify", "POST /v2/notifications/sms")]


# -- an attempt held in the hand ----------------------------------------------


def publish(house: House) -> None:
    house.beat()
    house.relay.run_once()


def take(house: House, asked: Asked, spec: JobSpec = SUBMIT) -> Grant:
    """Publish the claim's message and grant an attempt at it, as a worker would, but without going on."""
    publish(house)
    message = asked.message
    assert message["state"] == "published", message
    process = house.app.extensions["process"]
    grant = attempts.grant(
        db.engine, message["id"], message["fence"], worker_id=process.worker_id, lease_seconds=60, writes=spec.writes
    )
    assert grant is not None
    house.redis.flushall()
    return grant


def call(house: House, grant: Grant, spec: JobSpec = SUBMIT) -> Outcome:
    """Make the call of a held attempt: real HTTP, nothing recorded yet."""
    process, config = house.app.extensions["process"], house.app.extensions["config"]
    return runner.attempt(spec, grant, config, Pen(process, ends_at=float("inf"), call_seconds=0.0))


def lose(house: House, grant: Grant) -> None:
    """The lease of a held attempt is over: whoever held it is given up, and the message is due again."""
    with db.engine.begin() as connection:
        house_now = "UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 second' WHERE id = %s"
        connection.exec_driver_sql(house_now, (grant.message_id,))
    assert rescue.rescue_lost(db.engine) == 1


# -- the product on a port of its own -----------------------------------------


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """The application on loopback, so that an upstream can call it back; yields its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.log = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
