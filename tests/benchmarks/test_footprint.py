"""The cost of the ledger after years of work, with a backlog, and while somebody else's transaction stays open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text

from flaskapp.db import db
from outbox import attempts, breakers
from outbox.relay import BATCH, Relay
from outbox.values import Ending, Grant
from sandbox.servers import EmbeddedPostgres
from tests.benchmarks.enqueuing import CLAIMED, CLAIMS, PATIENTLY, claims, enqueue, vacuum
from tests.benchmarks.figures import figure, percentile, quiet, timed, title
from tests.benchmarks.noop import BENCH, NOOP
from tests.product import Product

FEW, WAITING, ATTEMPTS, CHUNK = 1_000, 1_000_000, 5_000_000, 1_000_000
JOBS = 200
# The percentile that is shown: what a busy machine adds to most of them says nothing about the tables.
UNHINDERED = 10
ROUNDS = 120
ACCEPTED = Ending("success", answered=True)

# Four attempts for each message that is done: all answered, the last just now.
PAST = text("""
    INSERT INTO outbox_attempts
        (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
         started_at, finished_at, answered, worker_id)
    SELECT -(number / 4) - 1, number, 'bench', (number / 4)::text, :job, :upstream, 'write', 'success',
           at - number * interval '1 second', at - number * interval '1 second', true, 'bench'
      FROM (SELECT outbox_now() AS at OFFSET 0) AS clock, generate_series(:first, :last) AS number
""")
# What workers do meanwhile: each row makes two more dead rows.
TAKEN = text("""
    UPDATE outbox_messages SET state = 'running', worker_id = 'bench', lease_expires_at = outbox_now() + interval '1 h'
     WHERE state = 'published'
""")
DONE = text("DELETE FROM outbox_messages WHERE state = 'running'")
# The relay's own statements; the rest of the run is this benchmark's.
ITS_TIME = """
    SELECT sum(total_exec_time), sum(shared_blks_hit + shared_blks_read)
      FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     WHERE d.datname = %s AND (query LIKE '%%SKIP LOCKED%%' OR query LIKE '%%AS timed_query (name%%'
                               OR query LIKE '%%outbox_breakers%%' OR query LIKE '%%published_at <%%')
"""


@pytest.fixture
def looking(postgres: EmbeddedPostgres) -> Iterator[Any]:
    """A cursor that may see everybody's statements."""
    with closing(psycopg2.connect(postgres.admin_url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        yield cursor


def remember(count: int) -> None:
    """So many attempts of the past, a million at a time: this takes minutes."""
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count) - 1
        with db.engine.begin() as connection:
            connection.execute(PATIENTLY)
            values = {"job": NOOP.work.path, "upstream": BENCH.upstream, "first": first, "last": last}
            connection.execute(PAST, values)
        figure("attempts of the past", f"{last + 1:,}")


def grant_all(relay: Relay) -> tuple[list[Grant], list[float]]:
    """As many attempts as JOBS, granted one after another, and the seconds that each took."""
    granted: list[Grant] = []
    seconds: list[float] = []
    while len(granted) < JOBS:
        fence, claimed = relay.claim(BENCH)
        for message_id, _ in claimed[: JOBS - len(granted)]:
            began = time.perf_counter()
            grant = attempts.grant(db.engine, message_id, fence, worker_id="bench", lease_seconds=60, writes=True)
            seconds.append(time.perf_counter() - began)
            assert grant is not None
            granted.append(grant)
    return granted, seconds


def settle(grant: Grant) -> None:
    with db.engine.begin() as connection:
        assert attempts.lock_message(connection, grant)
        attempts.complete(connection, grant, ACCEPTED)
        breakers.note_answer(connection, grant)


def timed_query(question: Callable[[Any, Grant], object], grant: Grant) -> float:
    with db.engine.connect() as connection:
        return timed(lambda: question(connection, grant))


def prices(relay: Relay, admin: Any) -> tuple[dict[str, float], float]:
    """The seconds that a claim and each step of a job take, where nothing else on this machine delayed them.

    And the pages that a claim reads, which nothing else on this machine changes.
    """
    # What was just written goes to disk first: years of work are not all in memory at once.
    admin.execute("CHECKPOINT")
    admin.execute("SELECT pg_stat_statements_reset()")
    found = {f"claim of {CLAIMED}": percentile(claims(relay), UNHINDERED)}
    admin.execute(ITS_TIME, (db.engine.url.database,))
    pages = float(admin.fetchone()[1]) / CLAIMS
    granted, seconds = grant_all(relay)
    found["grant"] = percentile(seconds, UNHINDERED)
    questions: dict[str, Callable[[Any, Grant], object]] = {
        "is it charged": lambda db, grant: attempts.is_charged(db, grant),
        "breaker-closed seconds": lambda db, grant: breakers.closed_seconds(db, grant.upstream, grant.budget_from),
        "sibling attempts": lambda db, grant: attempts.siblings(db, grant.message_id),
    }
    for name, question in questions.items():
        found[name] = percentile([timed_query(question, grant) for grant in granted], UNHINDERED)
    found["settle"] = percentile([timed(lambda grant=grant: settle(grant)) for grant in granted], UNHINDERED)
    return found, pages


@pytest.mark.timeout(1800)
def test_a_step_costs_the_same_after_five_million_attempts_and_with_a_million_waiting(
    product: Product, relay: Relay, looking: Any
) -> None:
    enqueue(FEW)
    remember(FEW)
    vacuum()
    vacuum("outbox_attempts")
    few, few_pages = prices(relay, looking)
    title(f"{WAITING:,} messages waiting and {ATTEMPTS:,} attempts on record")
    with db.engine.begin() as connection:
        connection.execute(text("TRUNCATE outbox_messages, outbox_attempts"))
    enqueue(WAITING)
    remember(ATTEMPTS)
    vacuum()
    vacuum("outbox_attempts")
    many, many_pages = prices(relay, looking)
    for name, seconds in few.items():
        value = f"{seconds * 1000:7.2f} / {many[name] * 1000:7.2f} ms   ratio {many[name] / seconds:.2f}"
        figure(f"{name}, {FEW:,} of each / all of them, the best tenth", value)
    pages = f"{few_pages:,.0f} / {many_pages:,.0f}   ratio {many_pages / few_pages:.2f}"
    figure(f"pages that a claim of {CLAIMED} looks at", pages)
    assert many_pages / few_pages < 1.5
    # Cold pages of big tables cost some; walking past waiting or old rows would cost hundreds of times as much.
    assert max(many[name] / seconds for name, seconds in few.items()) < 8


def work_off(product: Product) -> None:
    product.redis.flushall()
    for statement in (TAKEN, DONE):
        with db.engine.begin() as connection:
            connection.execute(statement)


def rate(product: Product, relay: Relay, admin: Any) -> tuple[float, float, float]:
    """Messages a second of the relay's own time; Postgres's milliseconds and pages read for a batch of them."""
    admin.execute("SELECT pg_stat_statements_reset()")
    seconds = 0.0
    for _ in range(ROUNDS):
        enqueue(BATCH)
        with quiet():
            seconds += timed(relay.run_once)
        work_off(product)
    admin.execute(ITS_TIME, (db.engine.url.database,))
    (milliseconds, pages) = admin.fetchone()
    return ROUNDS * BATCH / seconds, milliseconds / ROUNDS, float(pages) / ROUNDS


@pytest.mark.timeout(900)
def test_a_transaction_left_open_for_the_run_costs_the_relay_little(
    product: Product, relay: Relay, postgres: EmbeddedPostgres, looking: Any
) -> None:
    other = psycopg2.connect(postgres.url_of(db.engine.url.database or ""))
    enqueue(BATCH)
    vacuum()
    with other.cursor() as idle:
        free, free_ms, free_pages = rate(product, relay, looking)
        with db.engine.begin() as connection:
            connection.execute(text("TRUNCATE outbox_messages"))
        enqueue(1)
        vacuum()
        other.set_session(isolation_level="REPEATABLE READ")
        idle.execute("SELECT pg_current_xact_id()")
        pinned, pinned_ms, pinned_pages = rate(product, relay, looking)
    other.close()

    title(f"The relay, {ROUNDS * BATCH:,} messages in batches of {BATCH}, each taken and done at once")
    line = "{:,.0f} messages/s; a batch: {:.1f} ms of Postgres, {:,.0f} pages"
    figure("nobody else's transaction open", line.format(free, free_ms, free_pages))
    figure("one left open all the while", line.format(pinned, pinned_ms, pinned_pages))
    figure("open / none", f"{pinned / free:.2f}, {(pinned_ms - free_ms) / (BATCH / free * 1000):+.1%} of its time")
    # Without its scan marks each round walks past everything claimed before: eight times the pages, and always more.
    # Pages are counted, not timed, because a busy machine does not change them.
    assert pinned_pages / free_pages < 2.5
