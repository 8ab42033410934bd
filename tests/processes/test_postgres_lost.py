"""Postgres dies during a call and during a half-made settle: the worker keeps the answers until it is back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import psycopg2
import pytest

from tests.processes.running import LOOK_UP, SUBMIT, Person, Running
from tests.product import eventually

pytestmark = pytest.mark.processes


@dataclass
class Aftermath:
    running: Running
    in_mid_call: Person
    in_mid_settle: Person
    refused: Person
    pids: list[int]
    status_while_away: int = 0


@pytest.fixture(scope="module")
def aftermath(running):
    people = [running.newcomer() for _ in range(3)]
    seen = Aftermath(running, *people, pids(running))
    running.control.set("btsss", "hold", operation=SUBMIT)
    running.ask(seen.in_mid_settle)
    running.until_in_flight(SUBMIT, seen.in_mid_settle)
    with closing(psycopg2.connect(running.postgres.url)) as other:
        hold_up_settle(running, seen.in_mid_settle, other)
        running.control.set("btsss", "hold", operation=SUBMIT)
        running.ask(seen.in_mid_call)
        running.until_in_flight(SUBMIT, seen.in_mid_call)
        running.postgres.kill()
    running.control.clear("btsss")
    seen.status_while_away = running.post_claim(seen.refused).status_code
    eventually(lambda: not running.in_flight(SUBMIT, seen.in_mid_call))
    running.postgres.start()
    running.until_notified(seen.in_mid_call, seen.in_mid_settle)
    return seen


def pids(running):
    return [process.pid for process in running.system.crew.processes.values()]


def hold_up_settle(running, person, other):
    """Somebody else locks the claim's row: the settle stops with the message locked and half its work done."""
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM travel_claims WHERE id::text = %s FOR UPDATE", (person.claim_id,))
    running.control.clear("btsss")
    eventually(lambda: running.waiting_for("Lock"))


def test_an_answer_that_came_while_postgres_was_away_is_recorded_and_not_looked_up(aftermath):
    running = aftermath.running
    for person in (aftermath.in_mid_call, aftermath.in_mid_settle):
        assert running.attempts(person) == [("write", "success")]
        assert (len(running.received(SUBMIT, person)), running.received(LOOK_UP, person)) == (1, [])
        assert (len(running.filed(person)), len(running.texts(person))) == (1, 1)


def test_nothing_is_promised_that_could_not_be_recorded(aftermath):
    assert aftermath.status_while_away == 503
    assert aftermath.running.filed(aftermath.refused) == []


def test_no_process_had_to_be_started_again(aftermath):
    assert pids(aftermath.running) == aftermath.pids
    aftermath.running.system.must_run()


def test_nothing_is_unaccounted_after_it(aftermath):
    audit = aftermath.running.audit()
    assert audit.returncode == 0, audit.stdout
