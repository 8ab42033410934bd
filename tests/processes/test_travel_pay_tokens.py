"""A token that upstream stops taking, held by two web processes and a worker: replaced once, and nobody is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import requests

from tests.processes.running import Running
from tests.processes.test_travel_pay_killed import BODY, e_mails, traveler
from tests.product import eventually

pytestmark = pytest.mark.processes

# As many as may read at once in one process: then nobody is refused, whichever process takes the requests.
READERS = 5
DAYS = ("2031-04-01", "2031-04-02", "2031-04-03")
FETCHES = {"veis": ("veis", "/oauth2/token"), "sts": ("sts", "sign_in"), "person": ("travel_pay", "access-token")}


@dataclass
class Tale:
    """What reads were answered, and what tokens were fetched, before and after each kind was revoked."""

    reads: list[list[int]] = field(default_factory=list)
    fetched: list[dict[str, int]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def tale(running: Running) -> Iterator[Tale]:
    veteran, seen = traveler(running), Tale()
    token = running.control.call("POST", "sign_in", "tokens", json={"account": veteran.account})["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    for number, (day, revoked) in enumerate(zip(DAYS, (None, "btsss", "veis"), strict=True), 1):
        if revoked is not None:
            running.control.call("POST", "travel_pay", "revoke", json={"token": revoked})
        before = fetches(running)
        seen.reads.append(read_at_once(running, headers))
        file(running, headers, day)
        eventually(lambda number=number: len(e_mails(running, veteran)) == number)
        seen.fetched.append({name: count - before[name] for name, count in fetches(running).items()})
    query = "SELECT state FROM travel_pay_claims WHERE account_id::text = %s"
    seen.states = [row["state"] for row in running.rows(query, veteran.account)]
    yield seen


def fetches(running: Running) -> dict[str, int]:
    return {name: len(running.control.received(fake, call)) for name, (fake, call) in FETCHES.items()}


def read_at_once(running: Running, headers: dict[str, str]) -> list[int]:
    url = f"{running.system.url}/travel_pay/v0/claims"
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(lambda _: requests.get(url, headers=headers, timeout=90).status_code, range(READERS)))


def file(running: Running, headers: dict[str, str], day: str) -> None:
    body = {**BODY, "appointmentDateTime": f"{day}T09:30:00"}
    reply = requests.post(f"{running.system.url}/travel_pay/v0/claims", json=body, headers=headers, timeout=90)
    assert reply.status_code == 202, reply.text


def test_all_processes_together_fetch_each_token_once(tale: Tale) -> None:
    """VEIS's token is shared by everybody, and may have been there already."""
    assert (tale.fetched[0]["sts"], tale.fetched[0]["person"]) == (1, 1)
    assert tale.fetched[0]["veis"] <= 1


def test_a_revoked_token_costs_one_new_one_of_its_kind_and_none_of_the_other(tale: Tale) -> None:
    assert tale.fetched[1:] == [{"veis": 0, "sts": 1, "person": 1}, {"veis": 1, "sts": 0, "person": 0}]


def test_no_reader_and_no_claim_is_refused(tale: Tale) -> None:
    assert tale.reads == [[200] * READERS] * 3
    assert tale.states == ["submitted"] * 3
