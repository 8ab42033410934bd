"""The running product in the hands of these tests: people who post, processes and servers to strike, and the
results."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import requests
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from flaskapp import REGISTERED
from outbox import rq_side
from sandbox.faults import Control
from sandbox.processes import Process, surroundings
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System
from sandbox.upstreams.cast import Veteran, veteran_from
from sandbox.upstreams.serve import Upstreams
from tests.forks import Fork
from tests.processes.kept import KeptConnection
from tests.product import eventually

DAY = "2031-03-04"
SUBMIT = "submitclaim"
LOOK_UP = "GetClaimsStatus"


@dataclass
class Person:
    """Somebody with an appointment, signed in. `claim_id` is the id of the claim that was filed."""

    veteran: Veteran
    session: requests.Session
    claim_id: str = ""


@dataclass
class Running:
    """Every process of the Procfile, on servers and fakes of its own."""

    system: System
    postgres: EmbeddedPostgres
    redis_server: EmbeddedValkey
    lines: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control = Control(self.system.upstreams["control"])
        self.redis = Redis.from_url(self.redis_server.url)
        self.database = KeptConnection(lambda: self.postgres.url)
        self.people: list[Veteran] = []
        assert isinstance(self.system.upstreams, Upstreams)
        self.fakes = self.system.upstreams.fakes

    # -- people ------------------------------------------------------------

    def newcomer(self, *days: str) -> Person:
        """A new person, signed in, with an appointment on `DAY` and on these days."""
        self.fakes.lorota.turn({"days": [DAY, *days]})
        veteran = veteran_from({"first_name": "Zebediah", "last_name": "Quillfeather"})
        self.fakes.cast.add(veteran)
        self.people.append(veteran)
        person = Person(veteran, requests.Session())
        person.session.trust_env = False
        body = {"session": {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}}
        assert person.session.post(f"{self.system.url}/check_in/v2/sessions/", json=body).status_code == 200
        return person

    def post_claim(self, person: Person, day: str = DAY) -> requests.Response:
        body = {"travelClaims": {"uuid": person.veteran.uuid, "appointmentDate": day}}
        return person.session.post(f"{self.system.url}/check_in/v0/travel_claims/", json=body, timeout=90)

    def ask(self, person: Person | None = None, day: str = DAY) -> Person:
        """File a claim as the form does, and keep the promise: 202."""
        person = person or self.newcomer()
        reply = self.post_claim(person, day)
        assert reply.status_code == 202, reply.text
        person.claim_id = reply.json()["data"]["id"]
        return person

    # -- what came of it ---------------------------------------------------

    def received(self, operation: str, person: Person | None = None, upstream: str = "btsss") -> list[dict[str, Any]]:
        """The calls of this operation that the upstream received, for one person or for all."""
        entries = self.control.received(upstream, operation)
        return [entry for entry in entries if person is None or person.veteran.icn in json.dumps(entry["body"])]

    def in_flight(self, operation: str, person: Person | None = None, upstream: str = "btsss") -> bool:
        """Whether a call of this person's is with the upstream right now."""
        return any(entry["answered_at"] is None for entry in self.received(operation, person, upstream))

    def filed(self, person: Person) -> list[dict[str, Any]]:
        found = self.control.call("GET", "btsss", "claims", params={"icn": person.veteran.icn})
        return list(found)

    def texts(self, person: Person) -> list[str]:
        return [item["body"] for item in self.control.phone() if item["to"] == person.veteran.phone]

    def until_notified(self, *people: Person, seconds: float = 90.0) -> None:
        """Wait until everybody named has a text and no work is outstanding."""
        for person in people:
            eventually(partial(self.texts, person), seconds)
        eventually(lambda: self.outstanding() == 0, seconds)

    def until_in_flight(self, operation: str, person: Person, upstream: str = "btsss") -> None:
        """Wait until a call of this person's is with the upstream."""
        eventually(partial(self.in_flight, operation, person, upstream))

    def state(self, person: Person) -> str:
        return str(self.value("SELECT state FROM travel_claims WHERE id::text = %s", person.claim_id))

    def message(self, person: Person) -> dict[str, Any]:
        """The claim's message while it is outstanding, else an empty one."""
        return next(iter(self.rows("SELECT * FROM outbox_messages WHERE subject_id = %s", person.claim_id)), {})

    def attempts(self, person: Person) -> list[tuple[str, str]]:
        """The attempts of the claim, as (purpose, status), oldest first."""
        found = self.rows(
            "SELECT purpose, status FROM outbox_attempts WHERE subject_id = %s ORDER BY id", person.claim_id
        )
        return [(row["purpose"], row["status"]) for row in found]

    def outstanding(self) -> int:
        return int(self.value("SELECT count(*) FROM outbox_messages WHERE state <> 'parked'"))

    def audit(self) -> subprocess.CompletedProcess[str]:
        """`flask audit --trace` and its output."""
        audit = self.fork("audit", "--trace")
        return subprocess.CompletedProcess("flask audit", audit.wait(120), "\n".join(audit.lines()))

    # -- Postgres ----------------------------------------------------------

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.database.rows(query, values)

    def value(self, query: str, *values: Any) -> Any:
        return next(iter(self.rows(query, *values)[0].values()))

    def waiting_for(self, event: str, process: str | None = None) -> int:
        """How many sessions of the product, or of one of its processes, wait for this event of Postgres's."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE %s IN (wait_event, wait_event_type) AND datname IS NOT NULL"
            " AND application_name = 'surefile' AND (%s IS NULL OR client_port = ANY(%s))"
        )
        return int(self.value(query, event, process, self.ports_of(process) if process else []))

    def ports_of(self, process: str) -> list[int]:
        """The local ports of the connections of this process and of its children."""
        head = psutil.Process(self.process(process).pid)
        family = [head, *head.children(recursive=True)]
        return [connection.laddr.port for each in family for connection in each.net_connections() if connection.laddr]

    # -- Redis -------------------------------------------------------------

    def waiting(self, queue: str) -> set[str]:
        return rq_side.pointers_held(self.redis, queue)[0]

    def started(self, queue: str) -> set[str]:
        return rq_side.pointers_held(self.redis, queue)[1]

    def shown_failed(self, queue: str) -> set[str]:
        return rq_side.failed_ids(self.redis, queue)

    def fetchers(self) -> list[BaseWorker]:
        """What RQ and its dashboard list of the worker now running: one fetcher for each queue."""
        known = Worker.all(connection=self.redis, serializer=JSONSerializer)
        return [fetcher for fetcher in known if fetcher.pid == self.process("worker").pid]

    def queued_outside_a_list(self) -> set[str]:
        """Jobs that say they wait although no queue holds them: what RQ loses. The lists are read last, because they
        grow."""
        hashes = [key for key in self.redis.scan_iter("rq:job:*") if self.redis.type(key) == b"hash"]
        queued = {key.decode().removeprefix("rq:job:") for key in hashes if self.redis.hget(key, "status") == b"queued"}
        return queued.difference(*(self.waiting(queue.name) for queue in REGISTERED.queues))

    @contextmanager
    def redis_frozen(self) -> Iterator[None]:
        """Redis neither answers nor goes away. Connections are cut first, so that nothing sent now arrives later."""
        process = psutil.Process(self.redis_server.pid)
        self.redis.client_kill_filter(_type="normal", skipme=True)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    # -- processes ---------------------------------------------------------

    def process(self, name: str) -> Process:
        return self.system.crew[name]

    @contextmanager
    def held_up(self, name: str) -> Iterator[None]:
        """A process that does nothing for a short time, shorter than it takes to be missed."""
        self.process(name).signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process(name).signal(signal.SIGCONT)

    def fork(self, name: str, *options: str) -> Fork:
        """`flask <name>`, which starts faster than the others: one more process of a kind, or a command."""
        environment = surroundings(self.system.environment, self.system.port)
        output = self.system.folder / "logs" / f"{name}.{secrets.token_hex(4)}"
        return Fork(["flask", name, *options], cwd=self.system.root, env=environment, output=output)

    def replace(self, name: str) -> Process:
        """Start a new process in place of one that is stopping or gone, as a dyno manager does. Returns the old one."""
        old = self.process(name)
        fresh = type(old)(name, old.command, old.environment, old.log, root=old.root, hear=old.hear)
        fresh.start()
        self.system.crew.processes[name] = fresh
        return old

    def has_started(self, process: Process) -> bool:
        """Whether this process has logged its start."""
        sign = f'"{process.name}-{process.pid}-'
        return any(f"{process.name}.started" in line and sign in line for line in self.log_lines(process.name))

    def restore(self) -> None:
        """Everything up and nothing broken, whatever the test before did."""
        for name in self.fakes.control.fakes:
            self.control.clear(name)
        for process in self.system.crew.processes.values():
            if not process.running:
                process.start()
        eventually(self.is_ready)

    def is_ready(self) -> bool:
        try:
            reply = requests.get(f"{self.system.url}/healthz/ready", timeout=5)
        except requests.RequestException:
            return False
        kinds = set(reply.json().get("processes", ()))
        return reply.status_code == 200 and kinds >= {"relay", "worker", "scheduler"}

    def answers(self) -> bool:
        """Whether the web process takes requests at all."""
        try:
            return requests.get(f"{self.system.url}/healthz/live", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def metrics(self) -> str:
        headers = {"Authorization": f"Bearer {self.system.environment['METRICS_TOKEN']}"}
        return requests.get(f"{self.system.url}/metrics", headers=headers, timeout=30).text

    def log_lines(self, *names: str) -> list[str]:
        return [line for name, line in list(self.lines) if not names or name in names]


def events(lines: list[str]) -> list[dict[str, Any]]:
    """Log lines as the data in them; raises ValueError for one that is not JSON."""
    return [json.loads(line) for line in lines]


def twice(process: Process | Fork, number: int = signal.SIGTERM) -> None:
    """The same signal again before the process can have obeyed the first."""
    process.signal(number)
    process.signal(number)


def connections(pid: int, port: int) -> int:
    """How many connections a process holds to a port of this machine."""
    held = psutil.Process(pid).net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == port and each.status == "ESTABLISHED" for each in held)
