"""The pace of the rolling refresh: bounded in every minute, each ITF once a cycle, and no burst after a stop."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import TextClause, text

from flaskapp.db import db, transaction
from flaskapp.intent_to_file.service import REFRESH
from flaskapp.intent_to_file.upkeep import BY_INDEX, HEADROOM, SHARE, TAKE
from jobs import housekeeping
from tests.benchmarks.figures import quiet
from tests.integration.itf_steps import READS, pass_time
from tests.integration.steps import reconfigure
from tests.many_itfs import compare_outstanding, plant_everywhere, plant_expired, plant_here
from tests.product import Product

LATE = timedelta(days=-30)


def tick(product: Product, minutes: float = 1) -> int:
    """Let time pass and run the scheduler's job; returns how many comparisons it enqueued."""
    before = product.outstanding()
    product.move_clock(clock_of(product) + timedelta(minutes=minutes))
    housekeeping.refresh_itfs()
    return product.outstanding() - before


def live_through_a_minute(product: Product) -> int:
    """Read what the last tick spread over its minute, then tick; returns how many were read."""
    product.move_clock(clock_of(product) + timedelta(minutes=1))
    read = compare_outstanding()
    housekeeping.refresh_itfs()
    return read


def clock_of(product: Product) -> timedelta:
    offset: timedelta = product.value("SELECT clock_offset FROM outbox_clock")
    return offset


def forget_outstanding(product: Product) -> None:
    """Pretend that each comparison was made; what one does is tested elsewhere."""
    product.rows("DELETE FROM outbox_messages RETURNING 1")


def vacuum() -> None:
    """Do what autovacuum does to a table of this size by itself."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE intents_to_file"))


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


def access(statement: TextClause, **values: Any) -> list[tuple[str, str]]:
    """How Postgres reaches the ITFs in this statement of a tick: the kind and the index of each scan."""
    with transaction() as session:
        session.execute(BY_INDEX)
        found = session.execute(text(f"EXPLAIN (FORMAT JSON) {statement.text}"), values).scalar_one()
    scans = [node for node in nodes(found[0]["Plan"]) if "Scan" in node["Node Type"]]
    return [(node["Node Type"], node.get("Index Name", "")) for node in scans if of_itfs(node)]


def of_itfs(node: dict[str, Any]) -> bool:
    return "intents_to_file" in (node.get("Relation Name") or node.get("Index Name") or "")


def test_a_tick_enqueues_its_share_evenly_over_its_minute(product: Product) -> None:
    plant_here(500, LATE, timedelta())
    reconfigure(product, itf_refresh_days=1, itf_refresh_per_minute=6)
    plant_here(9_000, timedelta(days=1), timedelta())
    assert tick(product) == 6
    due = [message["due_at"] for message in product.messages()]
    assert {(later - earlier) / timedelta(seconds=1) for earlier, later in pairwise(due)} == {10.0}
    forget_outstanding(product)
    housekeeping.refresh_itfs()
    assert product.messages() == []
    reconfigure(product, itf_refresh_per_minute=100)
    assert tick(product) == 9


def test_several_schedulers_enqueue_one_share(product: Product) -> None:
    plant_here(100, LATE, timedelta())
    reconfigure(product, itf_refresh_days=1)
    pass_time(product, minutes=1)
    start = threading.Barrier(4)

    def call() -> None:
        with product.app.app_context():
            start.wait()
            housekeeping.refresh_itfs()
            db.session.remove()

    with ThreadPoolExecutor(4) as hands:
        for done in [hands.submit(call) for _ in range(4)]:
            done.result()
    assert product.outstanding() == 1


def test_after_three_weeks_of_standstill_it_goes_on_at_its_pace_oldest_first(product: Product) -> None:
    plant_here(1_500, timedelta(), timedelta(days=1))
    reconfigure(product, itf_refresh_days=1)
    oldest = product.rows("SELECT id::text FROM intents_to_file ORDER BY refresh_due_at LIMIT 6")
    assert tick(product, minutes=21 * 24 * 60) == 2
    assert (tick(product), len(product.messages())) == (0, 2)
    outstanding = [message["subject_id"] for message in product.messages()]
    for _ in range(2):
        forget_outstanding(product)
        assert tick(product) == 2
        outstanding += [message["subject_id"] for message in product.messages()]
    assert outstanding == [row.id for row in oldest]


def test_behind_an_open_breaker_nothing_piles_up(product: Product) -> None:
    plant_here(1_500, LATE, timedelta())
    reconfigure(product, itf_refresh_days=1)
    opened = "opened_at = outbox_now(), open_until = outbox_now() + interval '1 day', reason = 'unavailable'"
    product.rows(f"UPDATE outbox_breakers SET {opened} WHERE upstream = 'lighthouse_claims' RETURNING 1")
    for _ in range(10):
        tick(product)
        product.relay.run_once()
    assert [message["state"] for message in product.messages()] == ["ready"] * 2
    assert product.redis.llen("rq:queue:intents_to_file") == 0


def test_ten_thousand_are_each_compared_once_within_the_bound_and_lost_ones_are_found(product: Product) -> None:
    """In this half hour 300 of the ten thousand fall due, more than its minutes take, and are really read."""
    reconfigure(product, itf_refresh_days=1)
    plant_here(9_700, timedelta(hours=3), timedelta(hours=20))
    plant_expired(1_000)
    planted = plant_everywhere(product, 300, due_within=timedelta(minutes=30))
    lost = {itf["id"] for itf in planted[::60]}
    for identifier in lost:
        product.control.call("DELETE", "lighthouse", f"itfs/{identifier}")
    with quiet():
        made = [live_through_a_minute(product) for _ in range(40)]
        pass_time(product, hours=1)
        second = compare_outstanding()
    assert (sum(made), max(made), second) == (300, 9, 5)
    calls = Counter(entry["path"].split("/")[5] for entry in product.control.received("lighthouse", READS))
    assert Counter(calls.values()) == {1: 295, 2: 5}
    broken = product.rows("SELECT upstream_id FROM intents_to_file WHERE state = 'broken'")
    assert {row.upstream_id for row in broken} == lost
    assert product.cases() == ["broken"] * 5
    assert product.value("SELECT count(*) FROM intents_to_file WHERE last_synced_at > finished_at") == 295


def test_a_tick_reads_only_the_index_of_the_cycle_however_many_itfs_there_are(product: Product) -> None:
    """Also while vacuum is behind, as it is in the first round here."""
    with transaction() as session:
        session.execute(text("ALTER TABLE intents_to_file SET (autovacuum_enabled = off)"))
    plant_here(10_000, timedelta(days=-1), timedelta(days=7))
    for out_of_the_cycle in (0, 10_000):
        plant_expired(out_of_the_cycle)
        if out_of_the_cycle:
            vacuum()
        taking = access(TAKE, share=9, days=7)
        counting = access(SHARE, most=30, headroom=HEADROOM, days=7, job=REFRESH.path, queue=REFRESH.queue.name)
        assert ("Index Scan", "ix_intents_to_file_refresh") in taking
        assert {index for _, index in counting if index} == {"ix_intents_to_file_refresh"}
        assert "Seq Scan" not in {kind for kind, _ in (*taking, *counting)}


def test_a_tick_of_a_clock_that_was_a_day_ahead_stops_nothing(product: Product) -> None:
    plant_here(3, due_from=timedelta(), due_within=timedelta())
    product.rows("UPDATE intents_to_file SET refresh_due_at = outbox_now() RETURNING 1")
    product.rows("UPDATE itf_refresh_ticks SET ticked_at = outbox_now() + interval '1 day' RETURNING 1")
    housekeeping.refresh_itfs()
    assert product.outstanding() > 0
