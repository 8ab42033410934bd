"""Intents to file: nobody in the form waits for Lighthouse, and ten thousand are compared without disturbing
anybody."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from jobs import housekeeping
from sandbox.system import System
from tests.benchmarks.figures import figure, percentile, quiet, spread, timed, title
from tests.benchmarks.people import Person, headers_of
from tests.integration.itf_steps import READS
from tests.integration.steps import reconfigure
from tests.many_itfs import compare_outstanding, plant_everywhere
from tests.product import Product

PEOPLE = 300
WARM_UP = 30
URL = "/v0/intent_to_file/compensation"
BEHIND = ("accounts", "lighthouse")
TEN_THOUSAND = 10_000
# Some minutes less than a day's cycle, which must also hold the real time that the reads take.
MINUTES = 1_420
LOST = 10
NOTES = ("GET before there is one", "POST that makes it", "GET of it")


def timed_request(connection: http.client.HTTPConnection, method: str, headers: dict[str, str]) -> float:
    """Seconds from the first byte sent to the last read."""
    began = time.perf_counter()
    connection.request(method, URL, headers=headers)
    reply = connection.getresponse()
    body = reply.read()
    took = time.perf_counter() - began
    assert reply.status in (200, 202), body
    assert method == "GET" or json.loads(body)["data"]["attributes"]["intent_to_file"]["record_state"] == "pending"
    return took


def log_ins(person: Person, count: int) -> dict[str, list[float]]:
    """So many log-ins, one after another: look, request one, look again."""
    times: dict[str, list[float]] = {note: [] for note in NOTES}
    # It may have been idle for longer than the server keeps one open.
    person.connection.close()
    for headers in headers_of(person.control, count):
        for note, method in zip(NOTES, ("GET", "POST", "GET"), strict=True):
            times[note].append(timed_request(person.connection, method, headers))
    return times


@contextmanager
def provider_away(person: Person, kind: str, **fields: Any) -> Iterator[None]:
    for upstream in BEHIND:
        person.control.set(upstream, kind, **fields)
    try:
        yield
    finally:
        for upstream in BEHIND:
            person.control.clear(upstream)


@pytest.mark.timeout(900)
def test_looking_and_requesting_take_as_long_with_the_provider_away(system: System, person: Person) -> None:
    log_ins(person, WARM_UP)
    person.until_nothing_is_outstanding()
    up = log_ins(person, PEOPLE)
    person.until_nothing_is_outstanding(120)
    with provider_away(person, "refuse"):
        refusing = log_ins(person, PEOPLE)
    person.until_nothing_is_outstanding(240)
    with provider_away(person, "slow", seconds=60):
        hanging = log_ins(person, PEOPLE)
    person.until_nothing_is_outstanding(240)

    title(f"An ITF, one caller, {PEOPLE} log-ins each, while the worker does what it can")
    for note in NOTES:
        figure(f"{note}, provider up", spread(up[note]))
        for what, down in (("refusing", refusing), ("hanging", hanging)):
            figure(f"{note}, provider {what}", spread(down[note]))
            ratio = percentile(down[note], 99) / percentile(up[note], 99)
            figure(f"{note}, up : {what}, p99", f"1 : {ratio:.2f}")
            assert ratio < 3


@pytest.mark.timeout(1_200)
def test_ten_thousand_are_compared_once_a_cycle_within_the_bound(product: Product) -> None:
    """Every minute of a cycle and every read of it for real, without Redis and RQ."""
    reconfigure(product, itf_refresh_days=1)
    planted = plant_everywhere(product, TEN_THOUSAND, due_within=timedelta(minutes=MINUTES - 20))
    lost = {itf["id"] for itf in planted[:: TEN_THOUSAND // LOST]}
    for identifier in lost:
        product.control.call("DELETE", "lighthouse", f"itfs/{identifier}")
    with quiet():
        made, ticks = [], []
        began = time.perf_counter()
        for minute in range(MINUTES):
            product.move_clock(timedelta(minutes=minute))
            made.append(compare_outstanding())
            ticks.append(timed(housekeeping.refresh_itfs))
        took = time.perf_counter() - began

    title(f"One cycle of the refresh, {TEN_THOUSAND:,} ITFs, {MINUTES:,} minutes")
    figure("one tick, the share counted and taken", spread(ticks))
    figure("reads and settles a second, one thread", f"{sum(made) / took:,.0f}")
    figure("most reads in a minute", f"{max(made)}")
    calls = Counter(entry["path"].split("/")[5] for entry in product.control.received("lighthouse", READS))
    once, twice = (sum(times == wanted for times in calls.values()) for wanted in (1, 2))
    figure("read once / read again an hour later, and found broken", f"{once:,} / {twice}")
    assert (once, twice, max(made) <= 10) == (TEN_THOUSAND - LOST, LOST, True)
    broken = product.rows("SELECT upstream_id FROM intents_to_file WHERE state = 'broken'")
    assert {row.upstream_id for row in broken} == lost
