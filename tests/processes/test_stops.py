"""Dynos are stopped every day: SIGTERM to every process, maybe twice, and the new ones start at once.

A terminal that closes sends SIGHUP, which is obeyed in the same way. What can end in 20 seconds ends, the rest is
handed back, and a worker that is stopped anywhere in its loop loses nothing.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from dataclasses import dataclass, field
from functools import partial

import pytest

from flaskapp.form526 import polling
from sandbox.processes import Process
from tests.processes.running import SUBMIT, Person, Running, twice
from tests.product import eventually

pytestmark = pytest.mark.processes

STOPS = 12
AT_A_TIME = 4
LOAD = 400
DYNO_SECONDS = 30
# Under `nohup`, which the tests may run under, nobody hears a SIGHUP.
SIGNALS = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
ADD = """
    INSERT INTO outbox_messages
        (job, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT %s, 'documents', 'lighthouse_documents', 'document_poll', gen_random_uuid()::text, 'ready', now(),
           now() + interval '1 day', now() + interval '1 day'
      FROM generate_series(1, %s)
"""
ENDS = """
    SELECT message_id, count(*) FILTER (WHERE status = 'success') AS successes, count(*) AS attempts
      FROM outbox_attempts WHERE job = %s GROUP BY message_id
"""


class Leaving(threading.Thread):
    """Signals a process to stop, twice, and records its exit code and the seconds until it ended."""

    def __init__(self, process: Process) -> None:
        super().__init__(name=f"watch-{process.name}")
        self.process = process
        self.code: int | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        signalled_at = time.monotonic()
        twice(self.process)
        self.code = self.process.wait(DYNO_SECONDS)
        self.seconds = time.monotonic() - signalled_at


@dataclass
class Restart:
    running: Running
    ends_in_time: Person
    takes_too_long: Person
    leaving: dict[str, Leaving] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    messages: int = 0
    left_over: list[int] = field(default_factory=list)
    queued_outside: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def restart(running):
    """Every process stopped twice in mid-job and replaced. The old worker's last 20 seconds are used for more stops."""
    seen = Restart(running, running.newcomer(), running.newcomer())
    running.until_notified(running.ask())
    for person, seconds in ((seen.takes_too_long, 60), (seen.ends_in_time, 3)):
        running.control.set("btsss", "late", seconds=seconds, times=1, operation=SUBMIT)
        running.ask(person)
        running.until_in_flight(SUBMIT, person)
    stop_everything(running, seen)
    stop_at_random(running, seen)
    seen.leaving["worker"].join()
    running.replace("worker")
    running.until_notified(seen.ends_in_time, seen.takes_too_long)
    return seen


def stop_everything(running, seen):
    seen.leaving = {name: Leaving(process) for name, process in running.system.crew.processes.items()}
    for name in ("scheduler", "relay", "web"):
        seen.leaving[name].join()
        running.replace(name)
    eventually(running.answers)


def stop_at_random(running, seen):
    """Workers loaded with jobs that find nothing left to do, each stopped somewhere in its loop."""
    while len(seen.codes) < STOPS:
        workers = [running.fork("worker") for _ in range(AT_A_TIME)]
        for worker in workers:
            eventually(partial(has_started, worker))
        load(running, seen)
        eventually(lambda: left(running) < LOAD)
        for worker in workers:
            time.sleep(random.uniform(0, 0.1))
            twice(worker, random.choice(SIGNALS))
        seen.codes += [worker.wait(DYNO_SECONDS) for worker in workers]
        running.lines += [("worker", line) for worker in workers for line in worker.lines()]
        seen.left_over.append(left(running))
        seen.queued_outside |= running.queued_outside_a_list()


def has_started(worker):
    return any("worker.started" in line for line in worker.lines())


def load(running, seen):
    """More than the workers can do before the last of them has stopped; the relay is woken at once."""
    added = LOAD - left(running)
    running.rows(ADD, polling.POLL_WORK.path, added)
    running.rows("NOTIFY outbox_ready")
    seen.messages += added


def left(running):
    return int(running.value("SELECT count(*) FROM outbox_messages WHERE job = %s", polling.POLL_WORK.path))


def test_relay_and_scheduler_wait_for_no_call_and_the_web_is_gone_in_time(restart):
    assert [restart.leaving[name].code for name in ("web", "relay", "scheduler")] == [0, 0, 0]
    assert max(restart.leaving[name].seconds for name in ("relay", "scheduler")) < restart.leaving["worker"].seconds
    assert restart.leaving["web"].seconds < DYNO_SECONDS


def test_a_worker_leaves_cleanly_before_it_would_be_killed(restart):
    worker = restart.leaving["worker"]
    assert worker.code == 0 and 20 <= worker.seconds < DYNO_SECONDS


def test_a_call_that_ends_in_time_is_settled_by_the_worker_that_made_it(restart):
    running, person = restart.running, restart.ends_in_time
    assert running.attempts(person) == [("write", "success")]
    assert (len(running.received(SUBMIT, person)), len(running.texts(person))) == (1, 1)


def test_a_longer_call_is_handed_back_uncharged_and_found_by_the_next_worker(restart):
    running, person = restart.running, restart.takes_too_long
    assert running.attempts(person) == [("write", "unknown"), ("look_up", "success")]
    first, _ = running.rows("SELECT * FROM outbox_attempts WHERE subject_id = %s ORDER BY id", person.claim_id)
    assert (first["error_class"], first["charged"]) == ("HandedBack", False)
    assert (len(running.received(SUBMIT, person)), len(running.filed(person)), len(running.texts(person))) == (1, 1, 1)


def test_workers_stopped_at_random_under_load_all_exit_cleanly(restart):
    assert restart.codes == [0] * STOPS
    assert min(restart.left_over) > 0 and max(restart.left_over) < LOAD


def test_no_stop_leaves_a_job_queued_outside_a_list(restart):
    assert restart.queued_outside == set()


def test_every_message_ends_exactly_once(restart):
    ends = restart.running.rows(ENDS, polling.POLL_WORK.path)
    assert len(ends) == restart.messages
    assert {(row["successes"], row["attempts"]) for row in ends} == {(1, 1)}


def test_nothing_is_unaccounted_after_it(restart):
    audit = restart.running.audit()
    assert audit.returncode == 0, audit.stdout
