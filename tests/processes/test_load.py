"""One worker process holds 64 slow calls at once, within eight connections each to Redis and to Postgres."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import psutil
import pytest

from tests.processes.running import SUBMIT, Running, connections
from tests.product import eventually

pytestmark = pytest.mark.processes

CALLS = 64
MOST_CONNECTIONS = 8
DYNO_BYTES = 512 * 2**20


@dataclass
class Load:
    running: Running
    at_once: int = 0
    pointers: set[str] = field(default_factory=set)
    # From workers that earlier tests killed; the sweep removes them within a minute.
    left_by_the_dead: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    worker_states: set[str] = field(default_factory=set)
    executions: int = 0
    redis_connections: list[int] = field(default_factory=list)
    postgres_connections: list[int] = field(default_factory=list)
    rss: int = 0


@pytest.fixture(scope="module")
def load(running):
    """One person's 64 claims for as many days, all with BTSSS at the same time, watched from the first to the last."""
    seen = Load(running, left_by_the_dead=running.started("travel_claims"))
    days = [(date(2031, 1, 1) + timedelta(day)).isoformat() for day in range(CALLS)]
    person = running.newcomer(*days)
    running.control.set("btsss", "hold", operation=SUBMIT)
    with running.held_up("worker"):
        for day in days:
            running.ask(person, day)
    eventually(lambda: look(running, seen, person) == CALLS)
    look_at_registries(running, seen)
    running.control.clear("btsss")
    eventually(lambda: look(running, seen, person) == 0)
    eventually(lambda: count_connections(running, seen) or len(running.texts(person)) == CALLS)
    seen.rss = psutil.Process(running.process("worker").pid).memory_info().rss
    return seen


def look(running, seen, person):
    """How many calls are with BTSSS right now."""
    count_connections(running, seen)
    now = sum(entry["answered_at"] is None for entry in running.received(SUBMIT, person))
    seen.at_once = max(seen.at_once, now)
    return now


def count_connections(running, seen):
    pid = running.process("worker").pid
    seen.redis_connections.append(connections(pid, running.redis_server.port))
    seen.postgres_connections.append(connections(pid, running.postgres.port))


def look_at_registries(running, seen):
    rows = running.rows("SELECT id, fence FROM outbox_messages WHERE state = 'running'")
    seen.pointers = {f"{row['id']}-{row['fence']}" for row in rows}
    seen.started = running.started("travel_claims") - seen.left_by_the_dead
    (fetcher,) = [each for each in running.fetchers() if each.queue_names() == ["travel_claims"]]
    seen.worker_states = {fetcher.get_state()}
    seen.executions = len(fetcher.get_current_executions())


def test_all_calls_are_in_flight_at_once(load):
    assert load.at_once == CALLS


def test_it_never_holds_more_than_eight_connections_to_either_server(load):
    assert 4 <= max(load.redis_connections) <= MOST_CONNECTIONS
    assert 1 <= max(load.postgres_connections) <= MOST_CONNECTIONS


def test_rq_and_the_ledger_agree_meanwhile(load):
    assert len(load.pointers) == CALLS
    assert load.started == load.pointers
    assert (load.worker_states, load.executions) == ({"busy"}, CALLS)


def test_it_fits_into_a_small_dyno(load):
    print(f"\nconnections: Redis {max(load.redis_connections)}, Postgres {max(load.postgres_connections)}")
    print(f"worker with {CALLS} calls: RSS {load.rss >> 20} MB")
    assert 0 < load.rss < DYNO_BYTES / 2


def test_nothing_is_left_in_the_registries_afterwards(load):
    running = load.running
    ours = {"travel_claims", "notifications"}
    eventually(lambda: not set.union(*map(running.started, ours)) - load.left_by_the_dead)
    assert running.queued_outside_a_list() == set()


def test_nothing_is_unaccounted_after_it(load):
    audit = load.running.audit()
    assert audit.returncode == 0, audit.stdout
