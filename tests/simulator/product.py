"""The product in several simulated processes over one database, with its clocks, sleeps and random numbers
controlled."""

from __future__ import annotations

import logging
import random
import secrets
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask

from flaskapp import REGISTERED, create_app
from flaskapp.cases.flow import FLOW as CASES
from flaskapp.config import Config, from_env
from flaskapp.db import db
from flaskapp.flows import Flows
from flaskapp.form526.flow import FLOW as FORM526
from flaskapp.intent_to_file.flow import FLOW as INTENT_TO_FILE
from flaskapp.notifications.flow import FLOW as NOTIFICATIONS
from flaskapp.travel_claims.flow import FLOW as TRAVEL_CLAIMS
from jobs import worker
from jobs.engine import gathering
from jobs.engine.runner import Process
from jobs.processes import allow_our_jobs
from outbox import breakers
from sandbox.faults import UPSTREAMS
from sandbox.settings import environment, kept_secrets
from tests.simulator.hub import Hub
from tests.simulator.postgres import Server
from tests.simulator.waiting import handing_over

# All of an upstream's times are shortened alike: the product still waits longer than a write may take to show.
SETTINGS = {
    "VEIS_TOTAL_SECONDS": "5",
    "BTSSS_TOTAL_SECONDS": "20",
    "BTSSS_CONFIRM_SECONDS": "90",
    "BTSSS_CLOCK_SKEW_SECONDS": "20",
    "VANOTIFY_TOTAL_SECONDS": "10",
    "VANOTIFY_CONFIRM_SECONDS": "45",
    "ACCOUNTS_TOTAL_SECONDS": "5",
    "LIGHTHOUSE_TOTAL_SECONDS": "10",
    "LIGHTHOUSE_CONFIRM_SECONDS": "110",
    "FORM526_TOTAL_SECONDS": "10",
    "FORM526_CONFIRM_SECONDS": "45",
    "DOCUMENT_UPLOAD_SECONDS": "20",
    "DOCUMENT_STATUS_SECONDS": "10",
    # A PDF of our own for each form would be most of a story's time.
    "BDD_INSTRUCTIONS": "qualified",
    "RETRY_SCALE": "2",
}
NOWHERE = "http://127.0.0.1:9"
# The sweep of unused queues and the audit of unused flows would be most of a story's time.
AT_THE_CLINIC = Flows(TRAVEL_CLAIMS, NOTIFICATIONS, CASES)
SIGNED_IN = Flows(INTENT_TO_FILE, FORM526, NOTIFICATIONS, CASES)
OURS = ("outbox.", "jobs.", "flaskapp.intent_to_file.")
# Its thread watches the real server, by the real clock, also after the simulation.
NOT_IN_HAND = "outbox.connections"
APPS = ("worker-1", "worker-2", "worker-3", "product")
EMPTY = """
    DELETE FROM form526_attachment_chunks; DELETE FROM form526_document_submissions; DELETE FROM form526_attachments;
    DELETE FROM form526_submissions; DELETE FROM intents_to_file; DELETE FROM accounts;
    DELETE FROM travel_claims; DELETE FROM notifications; DELETE FROM cases; DELETE FROM outbox_messages;
    DELETE FROM outbox_attempts; DELETE FROM outbox_history; DELETE FROM outbox_breakers;
    DELETE FROM outbox_breaker_trips; DELETE FROM outbox_processes; DELETE FROM outbox_leases; DELETE FROM audits;
    DELETE FROM itf_first_looks; DELETE FROM itf_refresh_ticks; DELETE FROM idempotency_keys;
    DELETE FROM outbox_counts; DELETE FROM outbox_tally;
    UPDATE outbox_counted SET upto = 0, next_upto = 0, next_xid = DEFAULT;
    SELECT setval(pg_get_serial_sequence('outbox_messages', 'id'), 1),
           setval(pg_get_serial_sequence('outbox_attempts', 'id'), 1),
           setval(pg_get_serial_sequence('outbox_history', 'id'), 1),
           setval(pg_get_serial_sequence('outbox_breaker_trips', 'id'), 1)
"""


def simulated_config(url: str, folder: Path) -> Config:
    """For one database; there is neither Redis nor any upstream."""
    return from_env(
        environment(url, "redis://127.0.0.1:1/0", dict.fromkeys(UPSTREAMS, NOWHERE), kept_secrets(folder), SETTINGS)
    )


def migrate(config: Config) -> None:
    """Bring a database to where `flask release` leaves it."""
    app = create_app(config)
    result = app.test_cli_runner().invoke(args=["release"])
    assert result.exit_code == 0, result.output
    with app.app_context():
        db.engine.dispose()


class StandIn:
    """A module, with some of its functions replaced by ours."""

    def __init__(self, module: ModuleType, **ours: Any) -> None:
        self.module = module
        vars(self).update(ours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


class Product:
    """Lasts for many seeds. `rng` makes the product's random numbers and starts anew with each seed."""

    def __init__(self, config: Config) -> None:
        self.server = Server(config.database_url.replace("+psycopg2", ""))
        self.engine = self.server.engine()
        self.rng = random.Random()
        self.config = config
        # How many stories have begun in it.
        self.begun = 0
        self.apps = {name: self.make_app(config) for name in APPS}
        allow_our_jobs(REGISTERED)

    def make_app(self, config: Config) -> Flask:
        app = create_app(config)
        with app.app_context():
            db.engines[None].dispose()
            db.engines[None] = self.engine
        return app

    def move_in(self, hub: Hub, redis: Any, flows: Flows, clients: Mapping[str, Any]) -> None:
        """Empty everything, and connect every process to the hub's world; `clients` by their names in `Upstreams`."""
        self.server.hub = None
        self.server.look(EMPTY)
        with self.engine.begin() as connection:
            breakers.ensure_breakers(connection, REGISTERED.queues, REGISTERED.sync_upstreams)
        self.server.hub = hub
        for name, app in self.apps.items():
            app.extensions["redis"] = redis
            app.extensions["flows"] = flows
            app.extensions["upstreams"] = replace(app.extensions["upstreams"], **clients)
            app.extensions["process"] = Process(name)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Clocks, sleeps and random numbers are ours, and the product's logs of its troubles are dropped."""
        clock = StandIn(time, monotonic=self.monotonic, sleep=self.sleep)
        draws = StandIn(secrets, randbits=self.rng.getrandbits, randbelow=self.rng.randrange)
        stand_ins = {"time": (time, clock), "random": (random, self.rng), "secrets": (secrets, draws)}
        logging.disable(logging.CRITICAL)
        with pytest.MonkeyPatch.context() as patch, handing_over():
            modules = {name: module for name, module in sys.modules.items() if name.startswith(OURS)}
            modules.pop(NOT_IN_HAND, None)
            for module in modules.values():
                for name, (real, ours) in stand_ins.items():
                    if getattr(module, name, None) is real:
                        patch.setattr(module, name, ours)
            # By the real clock: a thread that is free is so at once.
            patch.setattr(worker, "WAIT_SECONDS", 0.001)
            # Long enough for calls that began together to end meanwhile.
            patch.setattr(gathering, "GATHER_SECONDS", 8.0)
            for names_it in ("uuid.uuid4", "rq.executions.uuid4"):
                patch.setattr(names_it, lambda: uuid.UUID(int=self.rng.getrandbits(128), version=4))
            try:
                yield
            finally:
                logging.disable(logging.NOTSET)

    def vacuum(self) -> None:
        self.server.vacuum()

    def monotonic(self) -> float:
        return self.server.hub.now if self.server.hub is not None else 0.0

    def sleep(self, seconds: float) -> None:
        assert self.server.hub is not None
        self.server.hub.sleep(seconds)

    def close(self) -> None:
        self.server.hub = None
        self.engine.dispose()
        self.server.close()
