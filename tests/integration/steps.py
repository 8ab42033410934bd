"""Steps for tests of travel claims and of the engine: request, break, work, look, and act as an operator."""

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
from redis import Redis
from werkzeug.serving import make_server

from flaskapp.db import db, transaction
from flaskapp.upstreams import build
from jobs import housekeeping
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.engine.runner import WriteGuard
from jobs.engine.spec import JobSpec
from jobs.registry import spec_of
from outbox import grants, rescue
from outbox.values import Grant
from sandbox.upstreams.cast import Veteran
from tests.product import ADA, APPOINTMENT_DATE, Product

SUBMIT = spec_of("jobs.travel_claims.file_check_in_claim")
SEND = spec_of("jobs.notifications.send_notification")
WRITTEN = ("travel_claims", "outbox_messages", "idempotency_keys", "outbox_history", "notifications", "cases")
LATER_THAN_EVER = timedelta(days=5, hours=1)


@dataclass
class RequestedClaim:
    """One claim that somebody requested, and the browser session it came from."""

    product: Product
    veteran: Veteran
    client: FlaskClient
    id: str

    @property
    def state(self) -> dict[str, Any]:
        """What its person sees now, signed in again where that is needed: days may have passed on the test's clock."""
        seen = self.client.get(f"/check_in/v0/travel_claims/{self.id}")
        if seen.status_code == 200:
            found: dict[str, Any] = seen.get_json()["data"]
            return found
        self.client = self.product.sign_in(self.veteran)
        return self.product.claim_state(self.client, self.id)

    @property
    def message(self) -> dict[str, Any]:
        """The message that files it."""
        (found,) = [each for each in self.product.messages() if each["subject_id"] == self.id]
        return found


def file_claim(product: Product, veteran: Veteran = ADA, date: str = APPOINTMENT_DATE) -> RequestedClaim:
    """Sign in and request a claim; nothing has worked on it yet."""
    client = product.sign_in(veteran, date)
    response = product.ask(client, veteran, date)
    assert response.status_code == 202, response.text
    return RequestedClaim(product, veteran, client, response.get_json()["data"]["id"])


@contextmanager
def sweeping(product: Product) -> Iterator[None]:
    """The sweep is running elsewhere."""
    product.rows(
        "INSERT INTO outbox_leases (name, holder, held_until) VALUES ('sweep', 'another', 'infinity')"
        " ON CONFLICT (name) DO UPDATE SET holder = 'another', held_until = 'infinity' RETURNING 1"
    )
    yield
    product.rows("UPDATE outbox_leases SET holder = NULL, held_until = NULL WHERE name = 'sweep' RETURNING 1")


def filed_and_not_notified_yet(product: Product) -> RequestedClaim:
    claim = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM notifications"))
    return claim


def filed_and_notified(product: Product) -> RequestedClaim:
    claim = file_claim(product)
    product.work()
    return claim


def refused(product: Product) -> RequestedClaim:
    product.control.play("btsss", "refused")
    return filed_and_notified(product)


def reconfigure(product: Product, **changes: Any) -> None:
    """Use other settings from here on, for the jobs and for the clients they use."""
    config = replace(product.app.extensions["config"], **changes)
    product.app.extensions["config"] = config
    product.app.extensions["upstreams"] = build(config, product.redis)


def counts(product: Product) -> dict[str, int]:
    """The number of rows in every table that a request may write to."""
    return {table: product.value(f"SELECT count(*) FROM {table}") for table in WRITTEN}


@contextmanager
def undone() -> Iterator[None]:
    """One transaction, which is rolled back: a story is lived through once, and damaged in many ways. Only this
    session sees the damage."""
    with transaction() as session:
        yield
        session.rollback()


def sweep(product: Product) -> None:
    product.beat()
    housekeeping.sweep()


def command(product: Product, *args: str) -> Result:
    return product.app.test_cli_runner().invoke(args=list(args))


def tokens_may_be_replaced(redis: Redis) -> None:
    """As if no token had been replaced for a while."""
    redis.delete("none", *redis.keys("surefile:token:*:replaced"))


def texts(product: Product, number: int = 1) -> list[str]:
    """The templates of the texts that reached somebody, oldest first."""
    return [text["template"] for text in reversed(product.phone(number))]


def plant(product: Product, **fields: Any) -> Any:
    """Add a claim that somebody else filed for Ada's day, at the kiosk for example."""
    return product.control.call("POST", "btsss", "claims", json={"icn": ADA.icn, "date": APPOINTMENT_DATE, **fields})


def look_ups(product: Product) -> int:
    return len(product.control.received("btsss", "GetClaimsStatus"))


def sends(product: Product) -> list[dict[str, Any]]:
    """Every text that VANotify was requested to send, whatever it answered."""
    return [entry["body"] for entry in product.control.received("va_notify", "POST /v2/notifications/sms")]


# -- an attempt, step by step -----------------------------------------------


def publish(product: Product) -> None:
    product.beat()
    product.relay.run_once()


def take(product: Product, claim: RequestedClaim, spec: JobSpec = SUBMIT) -> Grant:
    """Publish the claim's message and grant an attempt at it, as a worker does before it goes on."""
    publish(product)
    message = claim.message
    assert message["state"] == "published", message
    process = product.app.extensions["process"]
    grant = grants.grant(
        db.engine, message["id"], message["fence"], worker_id=process.worker_id, lease_seconds=60, writes=spec.writes
    )
    assert grant is not None
    product.redis.flushall()
    return grant


def call(product: Product, grant: Grant, spec: JobSpec = SUBMIT) -> Outcome:
    """Make the call of a granted attempt: real HTTP, nothing recorded yet."""
    process, config = product.app.extensions["process"], product.app.extensions["config"]
    return runner.attempt(spec, grant, config, WriteGuard(process, ends_at=float("inf"), call_seconds=0.0))


def lose(product: Product, grant: Grant) -> None:
    """The lease of a granted attempt is over: its worker is given up, and the message is due again."""
    with db.engine.begin() as connection:
        product_now = "UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 second' WHERE id = %s"
        connection.exec_driver_sql(product_now, (grant.message_id,))
        # A test that moved the clock made its own beats look late, as after an outage of Postgres.
        connection.exec_driver_sql("UPDATE outbox_processes SET returned_at = NULL")
    assert rescue.rescue_lost(db.engine) == 1


# -- the product on a port of its own -----------------------------------------


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Serve the application on loopback, so that an upstream can call it back; yields its URL."""
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
