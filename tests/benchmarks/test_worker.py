"""The processes at work: how soon a job starts, and how many slow calls one worker process holds."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from sandbox.system import System
from tests.benchmarks.figures import figure, percentile, spread, title
from tests.benchmarks.people import Person

CLAIMS = 60
POLL_SECONDS = 1.0
SLOW_SECONDS = 5.0
SLOW_CLAIMS = 130
CONNECTIONS = 8
DYNO_BYTES = 512 * 1024 * 1024

# History is append-only, so the row of a request still names its transaction; the commit time is Postgres's.
WAITS = """
    SELECT extract(epoch FROM a.started_at - pg_xact_commit_timestamp(h.xmin))::float
      FROM outbox_history h JOIN outbox_attempts a ON a.subject_id = h.subject_id
     WHERE h.what = 'travel_claim.requested' AND a.purpose = 'write' ORDER BY a.id DESC LIMIT %d
"""
RUNNING = "SELECT count(*) FROM outbox_messages WHERE queue = 'travel_claims' AND state = 'running'"


def test_an_idle_system_starts_a_job_long_before_the_relay_would_poll(person: Person) -> None:
    answers = []
    for _ in range(CLAIMS):
        answers.append(person.file())
        person.until_nothing_is_outstanding()
        time.sleep(random.uniform(0, 0.1))
    waits = [row[0] for row in person.rows(WAITS % CLAIMS)]

    title(f"From the commit of a claim to the grant of its job, idle system, {CLAIMS} claims one at a time")
    figure("POST to 202", spread(answers))
    figure("commit to job start", spread(waits))
    figure("share of the relay's poll of 1 s, p50", f"{percentile(waits, 50) / POLL_SECONDS:.3f}")
    assert percentile(waits, 50) < POLL_SECONDS / 4
    assert percentile(waits, 99) < 2 * POLL_SECONDS


@dataclass
class Load:
    """What one worker process holds at one time: bytes, and connections by the server that they lead to."""

    running: int
    calls: int
    pss: int
    rss: int
    threads: int
    postgres: int
    redis: int


def measured(system: System, person: Person) -> Load:
    worker = psutil.Process(system.crew["worker"].pid)
    memory = worker.memory_full_info()
    ports = [each.raddr.port for each in worker.net_connections("tcp") if each.raddr and each.status == "ESTABLISHED"]
    server = {name: urlsplit(system.environment[name]).port for name in ("DATABASE_URL", "REDIS_URL")}
    return Load(
        running=person.value(RUNNING),
        calls=ports.count(urlsplit(system.upstreams["btsss"]).port or 0),
        pss=memory.pss,
        rss=memory.rss,
        threads=worker.num_threads(),
        postgres=ports.count(server["DATABASE_URL"] or 0),
        redis=ports.count(server["REDIS_URL"] or 0),
    )


def test_one_worker_process_holds_many_slow_calls(system: System, person: Person) -> None:
    idle = measured(system, person)
    person.control.set("btsss", "slow", seconds=SLOW_SECONDS, operation="submitclaim")
    began = time.monotonic()
    for _ in range(SLOW_CLAIMS):
        person.file()
    loads = []
    while person.value("SELECT count(*) FROM outbox_messages WHERE queue = 'travel_claims'"):
        loads.append(measured(system, person))
        time.sleep(0.1)
    took = time.monotonic() - began
    person.control.clear("btsss")
    person.until_nothing_is_outstanding()
    most = Load(**{name: max(getattr(load, name) for load in [idle, *loads]) for name in vars(idle)})

    title(f"One worker process, BTSSS takes {SLOW_SECONDS:.0f} s a call, {SLOW_CLAIMS} claims")
    figure("calls in flight (granted rows / open sockets to BTSSS)", f"{most.running} / {most.calls}")
    figure("all filed after", f"{took:.1f} s ({SLOW_CLAIMS * SLOW_SECONDS / took:.0f} times one call at a time)")
    figure("memory idle", f"PSS {idle.pss / 2**20:.0f} MB   RSS {idle.rss / 2**20:.0f} MB")
    figure("memory at the most", f"PSS {most.pss / 2**20:.0f} MB   RSS {most.rss / 2**20:.0f} MB")
    figure("threads", f"{most.threads}")
    figure("connections to Postgres / Redis", f"{most.postgres} / {most.redis}")
    assert most.running >= 48 and most.calls >= 48
    assert max(most.postgres, most.redis) <= CONNECTIONS
    assert most.rss < DYNO_BYTES
