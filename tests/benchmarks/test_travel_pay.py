"""Travel pay of signed-in people: what a slow Travel Pay costs others, and what keeping its answers saves.

Also how long a person who files has to wait.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.processes import Process, surroundings
from sandbox.server import free_port
from sandbox.system import System
from tests.benchmarks.crowd import CLAIMS_URL, Read, Reader, each_reads, hammering
from tests.benchmarks.figures import figure, percentile, spread, title
from tests.benchmarks.people import Person, headers_of, until

ITF_URL = "/v0/intent_to_file/compensation"
LISTS = "GET /api/v2/claims"
HAMMERING = 60
# Between two reads; never the same, or everybody would read at the same time.
THINK_SECONDS = (1.0, 3.0)
SAMPLES, WARM_UP = 250, 25
HANGING_SECONDS = 60
CACHE_SECONDS = 30
# Upstream's answer time in seconds, and how often each of three people reads then.
ANSWER_TIMES = ((0.05, 60), (0.5, 20), (3.0, 8))
SERVED_SECONDS = 9.0
FILED, FILED_IN_VAIN = 40, 6
WAIT_SECONDS = 5.0
Timed = dict[str, list[float]]


@contextmanager
def broken(person: Person, kind: str | None, **fields: Any) -> Iterator[None]:
    """Travel Pay with that fault, or none for None. Afterwards it works, and its breaker may close again."""
    if kind is not None:
        person.control.set("travel_pay", kind, **fields)
    try:
        yield
    finally:
        person.control.clear("travel_pay")


def until_answered(port: int, headers: dict[str, str]) -> None:
    with closing(Reader(port, headers)) as reader:
        until(lambda: reader.read().status == 200, 120)


def others(person: Person, reader: Reader, samples: int) -> Timed:
    """How long people wait who need nothing of Travel Pay: a claim filed at check-in, and an intent to file read."""
    times: Timed = {"POST check-in claim": [], "GET intent to file": []}
    for _ in range(samples):
        times["POST check-in claim"].append(person.file())
        times["GET intent to file"].append(reader.read(ITF_URL).seconds)
    return times


@pytest.mark.timeout(900)
def test_a_slow_travel_pay_costs_nobody_else_their_time(system: System, person: Person) -> None:
    port, people = system.port, headers_of(person.control, HAMMERING)
    each_reads(port, people[:3], 1)
    found: dict[str, tuple[Timed, Counter[int]]] = {}
    with closing(Reader(port, people[0])) as reader:
        others(person, reader, WARM_UP)
        found["nobody reads"] = others(person, reader, SAMPLES), Counter()
        for what, kind, fields in (
            ("Travel Pay up", None, {}),
            ("refusing", "refuse", {}),
            ("hanging", "slow", {"seconds": HANGING_SECONDS}),
        ):
            with broken(person, kind, **fields), hammering(port, people, think) as reads:
                others(person, reader, WARM_UP)
                found[what] = others(person, reader, SAMPLES), Counter(read.status for read in reads)
            until_answered(port, people[0])
    person.until_nothing_is_outstanding(240)

    least, most = THINK_SECONDS
    title(f"{HAMMERING} people read travel pay, each {least:.0f} to {most:.0f} s after an answer; what others wait")
    calm, _ = found["nobody reads"]
    for what, (times, answered) in found.items():
        for call, seconds in times.items():
            figure(f"{call}, {what}", spread(seconds))
            ratio = percentile(seconds, 50) / percentile(calm[call], 50)
            figure("  nobody reads : this, p50 and p99", f"1 : {ratio:.2f}   1 : {ratio_of(seconds, calm[call]):.2f}")
        figure("  what the readers were answered meanwhile", by_status(answered))
    up, _ = found["Travel Pay up"]
    for what in ("refusing", "hanging"):
        for call, seconds in found[what][0].items():
            assert percentile(seconds, 50) < 2 * percentile(up[call], 50), (what, call)
            assert ratio_of(seconds, up[call]) < 4, (what, call)


def think(read: Read) -> float:
    return random.uniform(*THINK_SECONDS)


def ratio_of(seconds: Sequence[float], against: Sequence[float]) -> float:
    return percentile(seconds, 99) / percentile(against, 99)


def by_status(answered: Counter[int]) -> str:
    return ", ".join(f"{status}: {times}" for status, times in sorted(answered.items())) or "no reads"


@contextmanager
def caching_web(system: System, log: Path) -> Iterator[int]:
    """The web process once more, on the same servers, that keeps its answers; yields its port."""
    port = free_port()
    settings = {**system.environment, "TRAVEL_PAY_CACHE_SECONDS": str(CACHE_SECONDS)}
    process = Process("cached", system.commands["web"], surroundings(settings, port), log, root=system.root)
    process.start()
    try:
        with closing(Reader(port, {})) as reader:
            process.wait_ready(lambda: is_up(reader))
        yield port
    finally:
        process.terminate()


def is_up(reader: Reader) -> bool:
    try:
        return reader.read("/healthz/live").status == 200
    except OSError:
        return False


def served(port: int, people: Sequence[dict[str, str]], path: str) -> Counter[int]:
    """How many answers of each kind a crowd gets that reads again at once, or when a Retry-After says so."""
    with hammering(port, people, lambda read: read.retry_after, path) as reads:
        threading.Event().wait(SERVED_SECONDS)
        return Counter(read.status for read in reads)


@pytest.mark.timeout(900)
def test_keeping_answers_for_a_while_saves_what_upstream_takes(system: System, person: Person, tmp_path: Path) -> None:
    people = headers_of(person.control, HAMMERING)
    each_reads(system.port, people[:3], 1)
    title(f"The list of claims, TRAVEL_PAY_CACHE_SECONDS 0 and {CACHE_SECONDS}, by upstream's answer time")
    with caching_web(system, tmp_path / "cached.log") as cached:
        known_to_all(system.port, people)
        for day, (seconds, times) in enumerate(ANSWER_TIMES, 1):
            # Another range each time, so that nothing is kept from before.
            path = f"{CLAIMS_URL}?start_date=2031-01-01&end_date=2031-01-{day:02d}"
            with broken(person, "slow", seconds=seconds, operation=LISTS):
                plain, kept = (each_reads(port, people[:3], times, path) for port in (system.port, cached))
                plain_served, kept_served = (served(port, people, path) for port in (system.port, cached))
            compare(seconds, times, (plain, kept), (plain_served, kept_served))


def known_to_all(port: int, people: Sequence[dict[str, str]]) -> None:
    """Load everybody's identity and tokens, so that they are in no figure."""
    for headers in people:
        each_reads(port, [headers], 1)


def compare(seconds: float, times: int, latencies: tuple[list[float], ...], answered: tuple[Counter[int], ...]) -> None:
    plain, kept = latencies
    figure(f"{seconds:.2f} s upstream, 3 people × {times} reads, read every time", spread(plain))
    figure(f"{seconds:.2f} s upstream, 3 people × {times} reads, kept", spread(kept))
    ratio = percentile(plain, 50) / percentile(kept, 50)
    figure("  every time : kept, p50", f"{ratio:.1f} : 1")
    for what, found in zip(("read every time", "kept"), answered, strict=True):
        shown, refused = found[200] / SERVED_SECONDS, (found.total() - found[200]) / SERVED_SECONDS
        figure(f"  {HAMMERING} people at once, {what}", f"{shown:6.1f} shown/s   {refused:5.1f} refused/s")
    assert ratio > 1
    assert answered[1][200] > answered[0][200]


def file(port: int, headers: dict[str, str], day: int) -> tuple[int, float]:
    """One POST for a new appointment: its status, and the seconds it took."""
    body = {
        "appointmentDateTime": f"2031-{1 + day // 28:02d}-{1 + day % 28:02d}T09:30:00",
        "facilityStationNumber": "983",
        "appointmentType": "Other",
        "isComplete": False,
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        began = time.perf_counter()
        sent = {**headers, "Content-Type": "application/json", "X-Key-Inflection": "camel"}
        connection.request("POST", CLAIMS_URL, json.dumps(body), sent)
        reply = connection.getresponse()
        reply.read()
        return reply.status, time.perf_counter() - began


@pytest.mark.timeout(900)
def test_a_person_who_files_gets_the_end_or_is_not_kept_waiting(system: System, person: Person) -> None:
    (someone,), crowd = headers_of(person.control, 1), headers_of(person.control, FILED_IN_VAIN)
    with broken(person, "slow", seconds=0.05, operation="/api/"):
        file(system.port, someone, 0)
        at_once = [file(system.port, someone, 1 + day) for day in range(FILED)]
    known_to_all(system.port, crowd)
    hung = broken(person, "slow", seconds=3 * WAIT_SECONDS, operation="/api/")
    with hung, ThreadPoolExecutor(FILED_IN_VAIN) as pool:
        hanging = list(pool.map(lambda headers: file(system.port, headers, 300), crowd))
    person.until_nothing_is_outstanding(240)
    with broken(person, "refuse"):
        refusing = [file(system.port, headers, 301) for headers in crowd]
    until_answered(system.port, someone)
    person.until_nothing_is_outstanding(240)

    title(f"A claim filed while signed in, TRAVEL_PAY_WAIT_SECONDS {WAIT_SECONDS:.0f}")
    for what, found in (("0.05 s a call", at_once), ("hanging", hanging), ("refusing", refusing)):
        statuses = by_status(Counter(status for status, _ in found))
        figure(f"POST, Travel Pay {what} ({statuses})", spread([seconds for _, seconds in found]))
    assert {status for status, _ in at_once} == {201}
    assert {status for status, _ in hanging + refusing} == {202}
    assert max(seconds for _, seconds in hanging) < WAIT_SECONDS + 1
