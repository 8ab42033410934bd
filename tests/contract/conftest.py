"""The fakes on loopback: one set for the whole run, reset for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from flaskapp.upstreams import Upstreams as Clients
from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams, running_upstreams
from sandbox.upstreams.settings import FakeSettings
from tests.contract.clients import PATIENT_SECONDS, clients_for


@pytest.fixture(scope="session")
def _listening() -> Iterator[Upstreams]:
    hasty = FakeSettings(vanotify_delays=(0.01, 0.01, 0.02))
    with running_upstreams(hasty) as upstreams:
        yield upstreams


@pytest.fixture
def upstreams(_listening: Upstreams) -> Iterator[Upstreams]:
    """Base URLs by name. `.fakes` is the state behind them, which is reset after the test."""
    yield _listening
    _listening.fakes.reset()


@pytest.fixture
def clients(upstreams: Upstreams, request: pytest.FixtureRequest) -> Clients:
    """The product's own clients, with long limits unless a `strike` ends only at a limit."""
    struck = "strike" in request.fixturenames
    return clients_for(upstreams, request.getfixturevalue("strike").limit_seconds if struck else PATIENT_SECONDS)


@pytest.fixture
def control(upstreams: Upstreams) -> Iterator[Control]:
    """The fault switches and admin APIs, over HTTP."""
    client = Control(upstreams["control"])
    yield client
    client.close()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    """Raw HTTP: the fakes are tested without any of the product's own clients."""
    with requests.Session() as session:
        session.trust_env = False
        yield session
