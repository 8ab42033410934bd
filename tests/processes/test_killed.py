"""Processes that vanish in the middle of everything: each promise made before is kept once, and only once.

There is one disaster for all tests below, so that their waits (ten seconds of silence, two looks for a pointer) pass
together.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
import requests

from flaskapp import REGISTERED
from tests.processes.commits import commits_unanswered
from tests.processes.running import LOOK_UP, SUBMIT, Person, Running
from tests.product import eventually

pytestmark = pytest.mark.processes

SEND = "notifications/sms"


@dataclass
class Aftermath:
    """Whose claim met which end, and what was seen at that time."""

    running: Running
    done_upstream: Person
    not_yet_done: Person
    being_notified: Person
    pushed: Person
    unpushed: Person
    unanswered: Person
    shown_dead: dict[str, int] = field(default_factory=dict)
    pointer_was_there: bool = True
    request_failed: bool = False

    def people(self) -> dict[str, Person]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Person)}


@pytest.fixture(scope="module")
def aftermath(running):
    """The worker dies in three calls, the relay at its two worst times, the web after a COMMIT."""
    people = {name: running.newcomer() for name in ("done_upstream", "not_yet_done", "being_notified")}
    kill_worker_in_mid_call(running, **people)
    seen = Aftermath(running, **people, **{name: running.newcomer() for name in ("pushed", "unpushed", "unanswered")})
    seen.shown_dead = {fetcher.key: running.redis.ttl(fetcher.key) for fetcher in running.fetchers()}
    running.redis.delete(*seen.shown_dead)
    kill_relay_after_push(running, seen)
    kill_relay_before_push(running, seen)
    kill_web_after_commit(running, seen)
    running.replace("worker")
    running.until_notified(*seen.people().values())
    return seen


def kill_worker_in_mid_call(running, done_upstream, not_yet_done, being_notified):
    running.control.set("va_notify", "late", seconds=60, times=1, operation=SEND)
    running.ask(being_notified)
    running.until_in_flight(SEND, being_notified, "va_notify")
    late = {"kind": "late", "seconds": 60, "times": 1}
    for person, fault in ((done_upstream, late), (not_yet_done, {"kind": "hold"})):
        running.control.set("btsss", operation=SUBMIT, **fault)
        running.ask(person)
        running.until_in_flight(SUBMIT, person)
    running.process("worker").kill()
    running.control.clear("btsss")


def kill_relay_after_push(running, seen):
    """No worker is there to take the pointer before we have seen it."""
    running.ask(seen.pushed)
    eventually(lambda: running.waiting("travel_claims"))
    running.process("relay").kill()
    running.replace("relay")
    eventually(lambda: running.has_started(running.process("relay")))


def kill_relay_before_push(running, seen):
    """Redis holds up the push of what is already committed as published; the relay dies before it learns more."""
    with running.redis_frozen():
        running.ask(seen.unpushed)
        eventually(lambda: running.message(seen.unpushed)["state"] == "published")
        running.process("relay").kill()
    message = running.message(seen.unpushed)
    seen.pointer_was_there = f"{message['id']}-{message['fence']}" in running.waiting("travel_claims")
    running.replace("relay")


def kill_web_after_commit(running, seen):
    """Postgres holds back the answer to the COMMIT; when it comes, nobody is there to receive it."""

    def post():
        try:
            running.post_claim(seen.unanswered)
        except requests.ConnectionError:
            seen.request_failed = True

    poster = threading.Thread(target=post)
    with commits_unanswered(running.postgres):
        poster.start()
        eventually(lambda: running.waiting_for("SyncRep", "web"), seconds=20)
        running.process("web").kill()
        poster.join()
    running.replace("web")
    eventually(running.answers)


def test_the_processes_were_killed_at_the_intended_times(aftermath):
    assert not aftermath.pointer_was_there and aftermath.request_failed


def test_one_claim_and_one_text_came_of_each(aftermath):
    running = aftermath.running
    found = {
        name: (len(running.filed(person)), len(running.texts(person))) for name, person in aftermath.people().items()
    }
    assert found == dict.fromkeys(found, (1, 1))


def test_a_worker_killed_in_mid_call_leaves_a_question_that_a_look_up_answers(aftermath):
    running = aftermath.running
    for person in (aftermath.done_upstream, aftermath.not_yet_done):
        assert len(running.received(SUBMIT, person)) == 1
        assert running.attempts(person)[0] == ("write", "unknown")
        assert running.attempts(person)[-1] == ("look_up", "success")
        assert running.state(person) == "submitted"


def test_a_text_whose_sender_was_killed_is_found_by_its_reference(aftermath):
    running = aftermath.running
    assert len(running.received(SEND, aftermath.being_notified, "va_notify")) == 1


def test_what_the_relay_had_pushed_or_not_is_submitted_once_without_a_look_up(aftermath):
    running = aftermath.running
    for person in (aftermath.pushed, aftermath.unpushed):
        assert running.attempts(person) == [("write", "success")]
        assert (len(running.received(SUBMIT, person)), running.received(LOOK_UP, person)) == (1, [])


def test_posting_again_after_a_lost_answer_finds_the_claim_that_was_filed(aftermath):
    running, person = aftermath.running, aftermath.unanswered
    running.ask(person)
    assert running.state(person) == "submitted"
    assert (len(running.received(SUBMIT, person)), len(running.texts(person))) == (1, 1)


def test_a_dead_worker_leaves_the_dashboard_within_a_minute_and_its_name_is_forgotten(aftermath):
    """Their keys were removed as if that minute had passed; the next worker removes what is left of the names."""
    assert len(aftermath.shown_dead) == len(REGISTERED.queues) and max(aftermath.shown_dead.values()) <= 60
    names = {name.decode() for name in aftermath.running.redis.smembers("rq:workers")}
    assert len(names) >= len(REGISTERED.queues) and names.isdisjoint(aftermath.shown_dead)


def test_nothing_is_unaccounted_after_it(aftermath):
    audit = aftermath.running.audit()
    assert audit.returncode == 0, audit.stdout
