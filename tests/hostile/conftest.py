"""A real gunicorn as the Procfile starts it, with one worker, on real servers: one for each file that uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from sandbox.databases import TemplateDatabase
from sandbox.faults import Control
from sandbox.processes import Process, surroundings
from sandbox.server import free_port
from sandbox.servers import EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.forks import ForkedProcess
from tests.hostile.wire import Wire
from tests.product import ADA, SETTINGS, eventually

ROOT = Path(__file__).parents[2]
COMMAND = "gunicorn wsgi:app --workers 1 --worker-class tests.hostile.hasty.HastyWorker"


@dataclass
class Web:
    """The running web process. `lines` is everything it has written."""

    port: int
    process: Process
    fakes: Upstreams
    redis: Redis
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_alive(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz/live", timeout=30).status_code == 200
        except requests.RequestException:
            return False

    def checked_in(self) -> requests.Session:
        """A browser whose person has checked in."""
        self.fakes.fakes.lorota.turn({"days": ["2031-03-04"]})
        session = requests.Session()
        session.trust_env = False
        body = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name}}
        assert session.post(f"{self.url}/check_in/v2/sessions/", json=body, timeout=60).status_code == 200
        return session

    def claim(self, session: requests.Session) -> requests.Response:
        """Request travel pay, on a connection of its own, as each of many people does."""
        body = {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": "2031-03-04"}}
        headers = {"Connection": "close"}
        return session.post(f"{self.url}/check_in/v0/travel_claims/", json=body, headers=headers, timeout=60)

    def bearer(self, account: str = ADA.account) -> str:
        """The header of somebody who is signed in."""
        with closing(Control(self.fakes["control"])) as control:
            issued = control.call("POST", "sign_in", "tokens", json={"account": account, "seconds": 1800})
        return f"Authorization: Bearer {issued['access_token']}"

    def wire(self, data: bytes | str = b"") -> Wire:
        return Wire(self.port, data.encode("latin-1") if isinstance(data, str) else data)

    def events(self) -> list[dict[str, Any]]:
        """What it has logged; raises ValueError for a line that is not JSON."""
        return [json.loads(line) for line in list(self.lines)]


# Crowds here are many requests of one person.
OVERRIDES = {**SETTINGS, "CHECK_IN_TRIES": "1000"}


@pytest.fixture(scope="module")
def web(
    migrated: TemplateDatabase,
    redis_server: EmbeddedValkey,
    fakes: Upstreams,
    secrets_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Web]:
    port, lines, log = free_port(), [], tmp_path_factory.mktemp("hostile") / "web.log"
    fakes.fakes.reset()
    with migrated.copied() as database:
        settings = environment(database, redis_server.url, fakes, kept_secrets(secrets_folder), OVERRIDES)
        process = ForkedProcess(
            "web", COMMAND, surroundings(settings, port), log, root=ROOT, hear=lambda _, line: lines.append(line)
        )
        process.start()
        running = Web(port, process, fakes, Redis.from_url(redis_server.url), lines)
        try:
            eventually(running.is_alive)
            yield running
        finally:
            process.kill()
            running.redis.close()
