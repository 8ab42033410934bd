"""Redis forgets everything, then dies during the end of a job: the ledger brings back all it held, and nothing twice.

There is one disaster for all tests below: pointers that wait, jobs that run, one that is parked, and the periodic
table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from flaskapp import REGISTERED
from flaskapp.notifications.service import NOTIFICATIONS
from jobs.periodic.schedule import PERIODIC
from tests.processes.running import LOOK_UP, SUBMIT, Person, Running, events
from tests.product import eventually

pytestmark = pytest.mark.processes

SEND = "notifications/sms"
THREADS = NOTIFICATIONS.threads
WAITING = 3


@dataclass
class Aftermath:
    running: Running
    parked: Person
    being_notified: list[Person]
    hidden: Person
    meanwhile: Person
    pids: list[int]
    lines_before: int = 0
    fetchers_after_flush: set[str] = field(default_factory=set)
    fetchers_before: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def aftermath(running):
    parked = park_one(running)
    being_notified = fill_the_bulkhead(running)
    hidden, meanwhile = running.newcomer(), running.newcomer()
    seen = Aftermath(running, parked, being_notified, hidden, meanwhile, pids(running))
    flush(running, seen)
    die_over_the_end_of_a_job(running, seen)
    running.until_notified(*being_notified, hidden, meanwhile)
    return seen


def pids(running):
    return [process.pid for process in running.system.crew.processes.values()]


def park_one(running):
    """Somebody whose claim BTSSS refuses: a case, a text that says so, and a parked message."""
    person = running.newcomer()
    plan = {"icn": person.veteran.icn, "outcome": "refused", "times": 1}
    running.control.call("POST", "btsss", "outcomes", json=plan)
    running.ask(person)
    running.until_notified(person)
    return person


def fill_the_bulkhead(running):
    """More texts than the worker has threads for: the rest waits in Redis."""
    running.control.set("va_notify", "hold", operation=SEND)
    people = [running.newcomer() for _ in range(THREADS + WAITING)]
    for person in people:
        running.ask(person)
    eventually(lambda: len(running.waiting("notifications")) == WAITING)
    eventually(lambda: len(running.started("notifications")) == THREADS)
    return people


def flush(running, seen):
    seen.lines_before = len(running.lines)
    seen.fetchers_before = {fetcher.name for fetcher in running.fetchers()}
    running.redis.flushall()
    running.control.clear("va_notify")
    eventually(lambda: len(running.fetchers()) == len(REGISTERED.queues))
    seen.fetchers_after_flush = {fetcher.name for fetcher in running.fetchers()}
    eventually(lambda: running.redis.zcard("rq:scheduler:scheduled_jobs") == len(PERIODIC))
    eventually(lambda: running.shown_failed("travel_claims"))


def die_over_the_end_of_a_job(running, seen):
    """Redis is killed in mid-call and stays away until the answer has been settled."""
    running.control.set("btsss", "hold", operation=SUBMIT)
    running.ask(seen.hidden)
    running.until_in_flight(SUBMIT, seen.hidden)
    running.redis_server.kill()
    running.control.clear("btsss")
    eventually(lambda: running.state(seen.hidden) == "submitted")
    running.ask(seen.meanwhile)
    running.redis_server.start()


def test_every_text_is_sent_once_whether_it_was_waiting_or_being_sent(aftermath):
    running = aftermath.running
    for person in aftermath.being_notified:
        assert len(running.received(SEND, person, "va_notify")) == 1
        assert len(running.texts(person)) == 1


def test_living_workers_show_up_again_under_their_own_names(aftermath):
    assert len(aftermath.fetchers_before) == len(REGISTERED.queues)
    assert aftermath.fetchers_after_flush == aftermath.fetchers_before


def test_a_job_whose_end_redis_never_saw_is_not_done_again(aftermath):
    running, person = aftermath.running, aftermath.hidden
    assert running.attempts(person) == [("write", "success")]
    assert (len(running.received(SUBMIT, person)), running.received(LOOK_UP, person)) == (1, [])
    assert len(running.texts(person)) == 1


def test_a_claim_posted_while_redis_is_away_is_filed_when_it_is_back(aftermath):
    running, person = aftermath.running, aftermath.meanwhile
    assert (len(running.filed(person)), len(running.texts(person))) == (1, 1)


def test_registries_and_periodic_table_are_whole_again(aftermath):
    running = aftermath.running
    parked = running.rows("SELECT id, fence FROM outbox_messages WHERE state = 'parked' AND queue = 'travel_claims'")
    assert running.message(aftermath.parked)["id"] in {message["id"] for message in parked}
    shown = {f"{message['id']}-{message['fence']}" for message in parked}
    eventually(lambda: running.shown_failed("travel_claims") == shown)
    eventually(lambda: not running.started("travel_claims") | running.started("notifications"))
    assert running.redis.zcard("rq:scheduler:scheduled_jobs") == len(PERIODIC)
    assert running.queued_outside_a_list() == set()
    assert len(running.fetchers()) == len(REGISTERED.queues)


def test_an_outage_of_redis_is_logged_as_a_warning_and_not_as_an_error(aftermath):
    written = events([line for _, line in aftermath.running.lines[aftermath.lines_before :]])
    assert {line["level"] for line in written} == {"INFO", "WARNING"}


def test_no_process_had_to_be_started_again(aftermath):
    assert pids(aftermath.running) == aftermath.pids
    aftermath.running.system.must_run()


def test_nothing_is_unaccounted_after_it(aftermath):
    audit = aftermath.running.audit()
    assert audit.returncode == 0, audit.stdout
