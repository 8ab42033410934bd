"""Limits of a breaker: with any number of relays and workers, no more calls run at once than it allows."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import text

from outbox import breakers
from outbox import relay as relaying
from outbox.relay import Relay
from outbox.values import QueueSpec
from tests.ledger import CALLS, OUTAGE, SETTINGS, Ledger
from tests.product import eventually

NARROW = QueueSpec("calls", upstream="clerk", threads=4, depth=20, concurrency=3)
WAITS_FOR_A_LOCK = """
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
MANY_WAIT = """
    INSERT INTO outbox_messages (job, queue, upstream, subject_type, subject_id, state, due_at, deadline_at, give_up_at)
    SELECT 'tests.ledger.call', 'calls', 'clerk', 'toy', number::text, 'ready', due_at,
           due_at + number * interval '1 second', due_at + interval '9 days'
      FROM (SELECT outbox_now() AS due_at OFFSET 0) AS clock, generate_series(1, 5000) AS number
"""


@contextmanager
def claimed_but_not_committed(ledger: Ledger) -> Iterator[list[int]]:
    """Another relay is in the middle of its claim; it commits when the block ends."""
    relay = ledger.another_relay()
    with ledger.engine.begin() as db:
        capacity, last = breakers.capacity(db, CALLS, SETTINGS)
        rows = relay.take(db, CALLS, 77, capacity, last)
        if last is not None:
            breakers.name_probe(db, "clerk", rows[0][2], 77)
        yield [row[2] for row in rows]


def claim_behind(ledger: Ledger) -> tuple[list[int], list[int]]:
    """What a relay claimed, and what a second one claimed that reached the same breaker before the first committed."""
    second = ledger.another_relay()
    with ThreadPoolExecutor(1) as thread:
        with claimed_but_not_committed(ledger) as first:
            claiming: Future[tuple[int, list[tuple[int, str]]]] = thread.submit(second.claim, CALLS)
            eventually(lambda: claiming.done() or ledger.rows(WAITS_FOR_A_LOCK))
        return first, [message_id for message_id, _ in claiming.result(10)[1]]


def trip_breaker(ledger: Ledger) -> None:
    grant = ledger.start()
    ledger.again(grant, OUTAGE)
    with ledger.engine.begin() as db:
        assert breakers.trip(db, grant, "unavailable", SETTINGS)


def test_a_second_relay_counts_what_the_first_claimed_while_the_second_was_locked_out(ledger: Ledger) -> None:
    for _ in range(2 * CALLS.concurrency):
        ledger.add()
    first, second = claim_behind(ledger)
    assert (len(first), second) == (CALLS.concurrency, [])


def test_a_second_relay_sends_no_second_probe(ledger: Ledger) -> None:
    trip_breaker(ledger)
    for _ in range(3):
        ledger.add()
    ledger.pass_time(11)
    first, second = claim_behind(ledger)
    assert (len(first), second) == (1, [])
    breaker = ledger.breaker()
    assert (breaker["probe_message_id"], breaker["probe_fence"]) == (first[0], 77)


def test_a_probe_is_found_without_sorting_all_waiting_messages(ledger: Ledger) -> None:
    ledger.run(MANY_WAIT)
    ledger.run("ANALYZE outbox_messages")
    with ledger.engine.begin() as db:
        values = {"queue": "calls", "fence": 1, "last": 7}
        plan = "\n".join(db.execute(text(f"EXPLAIN {relaying.PROBE.text}"), values).scalars())
    assert plan.count("Index Scan using ix_outbox_messages_ready") >= 2
    assert "Seq Scan" not in plan
    assert set(re.findall(r"Sort .*rows=([0-9]+)", plan)) <= {"1"}, plan


class Upstream:
    """Counter of the calls that run at once; each takes a short time, so that others come meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def call(self) -> None:
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)
        threading.Event().wait(0.02)
        with self.lock:
            self.now -= 1


def work(ledger: Ledger, relay: Relay, upstream: Upstream) -> None:
    """A relay and the threads that run what it claims, until nothing is outstanding."""
    with ThreadPoolExecutor(NARROW.concurrency + 2) as threads:
        while ledger.rows("SELECT 1 FROM outbox_messages LIMIT 1"):
            fence, claimed = relay.claim(NARROW)
            for message_id, _ in claimed:
                threads.submit(run, ledger, message_id, fence, upstream)


def run(ledger: Ledger, message_id: int, fence: int, upstream: Upstream) -> None:
    grant = ledger.grant(message_id, fence)
    assert grant is not None
    upstream.call()
    ledger.end(grant)


def test_two_relays_and_ten_threads_never_exceed_the_breakers_limit(ledger: Ledger) -> None:
    with ledger.engine.begin() as db:
        breakers.ensure_breakers(db, [NARROW])
    for _ in range(60):
        ledger.add()
    upstream = Upstream()
    with ThreadPoolExecutor(2) as both:
        ends = [both.submit(work, ledger, ledger.another_relay(NARROW), upstream) for _ in range(2)]
        assert [end.result(60) for end in ends] == [None, None]
    assert upstream.calls == 60
    assert 1 < upstream.most <= NARROW.concurrency
