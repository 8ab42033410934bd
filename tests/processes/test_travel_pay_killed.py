"""A worker that dies right after Travel Pay did its step: each of the four steps is found done, and none is repeated.

There is one disaster for four people, each at another step, so that its ten seconds of silence pass together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import requests

from sandbox.upstreams.cast import Veteran, veteran_from
from tests.processes.running import Running
from tests.product import eventually

pytestmark = pytest.mark.processes

STEPS = {
    "find_appointment": "POST /api/v3/appointments/find-or-add",
    "begin_claim": "POST /api/v3/claims",
    "add_mileage": "POST /api/v3/expenses/mileage",
    "submit_travel_pay_claim": "PATCH /api/v3/claims",
}
WRITES = list(STEPS)[1:]
BODY = {"appointmentDateTime": "2031-03-04T09:30:00", "facilityStationNumber": "983", "isComplete": False}


@dataclass
class Aftermath:
    """Who was struck at which step, by the name of its job, and the ids of their claims here."""

    running: Running
    people: dict[str, Veteran]
    claims: dict[str, str]
    sent_before: dict[str, int]


@pytest.fixture(scope="module")
def aftermath(running):
    """Each waits for a reply to something that is done, when the worker that waits for all replies is killed."""
    seen = Aftermath(running, {}, {}, {job: sent(running, job) for job in WRITES})
    for job, operation in STEPS.items():
        running.control.set("travel_pay", "late", seconds=60, times=1, operation=operation)
        seen.people[job] = traveler(running)
        seen.claims[job] = file(running, seen.people[job])
        eventually(lambda operation=operation: running.in_flight(operation, upstream="travel_pay"))
    running.process("worker").kill()
    running.replace("worker")
    eventually(lambda: all(e_mails(running, veteran) for veteran in seen.people.values()))
    eventually(lambda: running.outstanding() == 0)
    return seen


def sent(running: Running, job: str) -> int:
    """How often Travel Pay received this step, from anybody."""
    return len(running.received(STEPS[job], upstream="travel_pay"))


def traveler(running: Running) -> Veteran:
    number = len(running.people)
    veteran = veteran_from({"last_name": "Quillfeather", "email": f"wanda.{number}@example.com"})
    running.fakes.cast.add(veteran)
    running.people.append(veteran)
    return veteran


def file(running: Running, veteran: Veteran) -> str:
    """File a claim as the page does. Returns its id here."""
    token = running.control.call("POST", "sign_in", "tokens", json={"account": veteran.account})["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    reply = requests.post(f"{running.system.url}/travel_pay/v0/claims", json=BODY, headers=headers, timeout=90)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def e_mails(running: Running, veteran: Veteran) -> list[str]:
    return [mail["template"] for mail in running.control.phone() if mail["to"] == veteran.email]


def tried(seen: Aftermath, job: str) -> list[tuple[str, str, str]]:
    """The attempts for the person who was struck at this job's step, oldest first."""
    query = """SELECT job, purpose, status FROM outbox_attempts
                WHERE subject_id = %s AND upstream = 'travel_pay' ORDER BY id"""
    found = seen.running.rows(query, seen.claims[job])
    return [(row["job"].rpartition(".")[2], row["purpose"], row["status"]) for row in found]


def test_each_holds_one_submitted_claim_with_one_expense(aftermath):
    for job, veteran in aftermath.people.items():
        (claim,) = aftermath.running.control.call("GET", "travel_pay", "claims", params={"icn": veteran.icn})
        (row,) = aftermath.running.rows("SELECT * FROM travel_pay_claims WHERE id::text = %s", aftermath.claims[job])
        assert (claim["claimStatus"], len(claim["expenses"])) == ("ClaimSubmitted", 1), job
        assert (row["state"], row["claim_id"]) == ("submitted", claim["id"]), job


def test_no_write_was_sent_twice(aftermath):
    for job in WRITES:
        assert sent(aftermath.running, job) - aftermath.sent_before[job] == len(aftermath.people), job


@pytest.mark.parametrize("job", STEPS)
def test_the_step_it_died_in_is_read_again_and_only_that_one(aftermath, job):
    struck: dict[str, list[tuple[str, str]]] = {
        "find_appointment": [("read", "error"), ("read", "success")],
        **{write: [("write", "unknown"), ("look_up", "success")] for write in WRITES},
    }
    steps: list[tuple[str, str, str]] = []
    for name in STEPS:
        usual: Any = [("read" if name == "find_appointment" else "write", "success")]
        steps += [(name, *ending) for ending in (struck[name] if name == job else usual)]
    assert tried(aftermath, job) == steps


def test_each_got_one_e_mail_that_says_submitted(aftermath):
    received = {job: e_mails(aftermath.running, veteran) for job, veteran in aftermath.people.items()}
    assert received == dict.fromkeys(STEPS, ["travel_pay.submitted"])
    held = "SELECT kind FROM cases WHERE subject_id = ANY(%s)"
    assert aftermath.running.rows(held, list(aftermath.claims.values())) == []
    audit = aftermath.running.audit()
    assert audit.returncode == 0, audit.stdout
