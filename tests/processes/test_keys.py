"""Rotation of the keys of what is stored, as docs/keys.md says line by line, while people post and a worker works."""

from __future__ import annotations

import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from cryptography.fernet import Fernet

from sandbox.processes import Process, surroundings
from sandbox.server import free_port
from tests.forks import Fork
from tests.processes.running import Person, Running
from tests.product import eventually

pytestmark = pytest.mark.processes

OPENS_NOTHING = "the encryption keys do not open what is stored"
PAGE = Path(__file__).parents[2] / "docs" / "keys.md"
DAYS = [f"2031-04-{day:02}" for day in range(1, 16)]
# What retention would have removed if as many days had passed.
REMOVED = {"30 days": ("DELETE FROM check_in_sessions", "DELETE FROM idempotency_keys")}


def steps(title: str) -> Iterator[tuple[str, bool]]:
    """The lines of a section's program, and whether each is to succeed."""
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    for line in re.findall(r"^    (.*)$", section, re.MULTILINE):
        act, _, remark = line.partition("#")
        yield act.strip(), "exits 1" not in remark


@dataclass
class Operator:
    """Does what the page says, with the keys that the page only names."""

    running: Running
    names: dict[str, str]
    printed: dict[str, str] = field(default_factory=dict)
    forks: list[Fork] = field(default_factory=list)

    def follow(self, title: str) -> None:
        for line, succeeds in steps(title):
            verb, _, rest = line.partition(" ")
            if verb == "set":
                self.set(rest)
            elif verb == "flask":
                self.command(rest.split(), succeeds)
            elif verb == "wait":
                for statement in REMOVED[rest]:
                    self.running.rows(f"{statement} RETURNING 1")
            else:
                assert line == "restart every process"
                self.restart()

    def set(self, pairs: str) -> None:
        for pair in pairs.split():
            name, _, value = pair.partition("=")
            keys = [self.names[each] for each in value.split(",") if each]
            self.running.system.environment[name] = ",".join(keys)

    def command(self, arguments: list[str], succeeds: bool) -> None:
        hurry = ["--notice-seconds", "1"] if arguments == ["keys", "reseal"] else []
        fork = self.running.fork(*arguments, *hurry)
        code = fork.wait(120)
        self.printed[" ".join(arguments)] = "\n".join(fork.lines())
        assert code == (0 if succeeds else 1), (arguments, fork.lines())
        if arguments == ["keys", "new"]:
            self.names["NEW"] = fork.lines()[-1]

    def restart(self) -> None:
        """As a platform does: the new process first where both can run. Forks, because they start fastest."""
        crew = self.running.system.crew.processes
        earlier, self.forks = self.forks, [self.running.fork(name) for name in crew if name != "web"]
        for name, process in crew.items():
            process.environment = surroundings(self.running.system.environment, self.running.system.port)
            if name == "web" or process.running:
                process.terminate()
        crew["web"].start()
        self.end(earlier)
        eventually(self.running.is_ready)

    def end(self, forks: list[Fork]) -> None:
        for fork in forks:
            fork.signal(signal.SIGTERM)
        assert [fork.wait(30) for fork in forks] == [0] * len(forks)


@dataclass
class Crowd:
    """People who post claims until they are told to stop, and post again what was not answered."""

    running: Running
    people: list[Person]
    stopping: threading.Event = field(default_factory=threading.Event)
    claims: dict[tuple[str, str], str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def post_on(self) -> None:
        wanted = [(person, day) for day in DAYS for person in self.people]
        position = 0
        while not self.stopping.is_set() or position < len(wanted):
            person, day = wanted[position % len(wanted)]
            position += self.post(person, day)
            time.sleep(0.1)

    def post(self, person: Person, day: str) -> bool:
        try:
            reply = self.running.post_claim(person, day)
        except requests.RequestException:
            return False
        if reply.status_code == 202:
            claim = reply.json()["data"]["id"]
            if self.claims.setdefault((person.veteran.uuid, day), claim) != claim:
                self.wrong.append(f"{day} twice")
            return True
        if reply.status_code != 503:
            self.wrong.append(reply.text)
        return reply.status_code != 503


def test_keys_are_changed_while_people_post_and_nothing_is_lost_or_filed_twice(running: Running) -> None:
    environment = running.system.environment
    names = {
        "OLD": environment["ENCRYPTION_KEYS"],
        "OLD_DIGEST": environment["DIGEST_KEY"],
        "NEW_DIGEST": secrets.token_urlsafe(32),
    }
    crowd = Crowd(running, [running.newcomer(*DAYS) for _ in range(2)])
    operator = Operator(running, names)
    posting = threading.Thread(target=crowd.post_on)
    posting.start()
    try:
        operator.follow("Changing an encryption key")
        assert "0 left" in operator.printed["keys reseal"]
        assert environment["ENCRYPTION_KEYS"] == operator.names["NEW"] != names["OLD"]
        crowd.stopping.set()
        posting.join(120)
        operator.follow("Changing the digest key")
        assert "0 left" in operator.printed["keys redigest"]
        eventually(lambda: running.outstanding() == 0)
    finally:
        crowd.stopping.set()
        posting.join(120)
        operator.end(operator.forks)
    refuse_to_start(running)
    assert (crowd.wrong, len(crowd.claims)) == ([], 2 * len(DAYS))
    assert running.value("SELECT count(*) FROM travel_claims WHERE appointment_date = ANY(%s::date[])", DAYS) == 30
    assert [len(running.filed(person)) for person in crowd.people] == [len(DAYS)] * 2
    assert running.rows("SELECT 1 FROM outbox_attempts WHERE error_class = 'InvalidToken' AND charged") == []
    assert running.rows("SELECT 1 FROM cases WHERE kind IN ('unsettled', 'exhausted')") == []
    assert running.audit().returncode == 0


def refuse_to_start(running: Running) -> None:
    """Every process, with the keys of another environment."""
    environment = running.system.environment
    kept, environment["ENCRYPTION_KEYS"] = environment["ENCRYPTION_KEYS"], Fernet.generate_key().decode()
    try:
        web = running.process("web")
        other = Process("other", web.command, surroundings(environment, free_port()), web.log, root=web.root)
        other.start()
        for name in ("release", "worker", "relay", "scheduler"):
            fork = running.fork(name)
            assert (fork.wait(60), any(OPENS_NOTHING in line for line in fork.lines())) == (1, True), name
        # gunicorn says 3, or 1 where a second worker fails while it ends.
        assert other.wait(60) in (1, 3)
        assert any(OPENS_NOTHING in line for line in web.log.read_text().splitlines())
    finally:
        environment["ENCRYPTION_KEYS"] = kept
