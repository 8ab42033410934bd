"""Claims from the POST to the text, on a minimal upstream that answers at once: how long, how many, and how fairly."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.enqueuing import copy_claims
from tests.benchmarks.ground import Ground, Quiet, Site
from tests.benchmarks.load import drive
from tests.benchmarks.people import until
from tests.benchmarks.posting import Claimants
from tests.benchmarks.rows import (
    Row,
    Run,
    at_least,
    measurement,
    no_less_than,
    no_more_than,
    percentile,
    two_where_cores_allow,
)

MIB = 2**20
CONNECTIONS = 16
CALM_PER_SECOND, CALM_SECONDS = 20, 10.0
RUSH_PER_SECOND, RUSH_SECONDS = 200, 60.0
SETTLED_WITHIN, WARM_UP_SECONDS = 15.0, 2.0
BACKLOG, WINDOW_SECONDS, DRAIN_SECONDS, LOOK_SECONDS = 12_000, 4.0, 25.0, 0.25
SLOW_SECONDS, SLOW_CLAIMS, IN_FLIGHT, DYNO = 20.0, 800, 200, 512
SLOW_SETTINGS = {"BTSSS_TOTAL_SECONDS": "29"}
TOLD = """
    SELECT extract(epoch FROM c.requested_at)::float, extract(epoch FROM n.sent_at - c.requested_at)::float
      FROM travel_claims c LEFT JOIN notifications n ON n.subject_id = c.id::text AND n.subject_type = 'travel_claim'
     WHERE c.requested_at >= to_timestamp(%s) ORDER BY 1
"""
# Filed and told; with them, jobs that were done.
DONE = """
    SELECT (SELECT count(*) FROM travel_claims WHERE state = 'submitted'),
           (SELECT count(*) FROM notifications WHERE sent_at IS NOT NULL)
"""
RUNNING = "SELECT count(*) FROM outbox_messages WHERE state = 'running'"


@contextmanager
def entrance(ground: Ground, name: str, **environ: str) -> Iterator[tuple[Site, Claimants, int]]:
    """A site with its web process, where people are checked in."""
    with ground.site(name, **environ) as site, site.web() as web:
        yield site, Claimants(site, web.port), web.port


@contextmanager
def backlog_of(ground: Ground, name: str, count: int, **environ: str) -> Iterator[Site]:
    """A site with so many claims that wait, and nobody at work."""
    with entrance(ground, name, **environ) as (site, claimants, port):
        drive(port, itertools.islice(claimants.next_claims(), 1), clients=1, seconds=30).expect(202)
        copy_claims(site, count - 1)
        site.patiently("VACUUM ANALYZE")
        yield site


def told(site: Site, since: float) -> list[tuple[float, float]]:
    """When each claim was requested, and after how many seconds its text was sent; infinite when it was not."""
    rows = site.rows(TOLD, since)
    return [(at - since, float("inf") if wait is None else wait) for at, wait in rows]


@measurement("end_to_end")
def end_to_end(ground: Ground, run: Run) -> Iterator[Row]:
    """From POST to text, one worker process: 20 a second, then 200 a second for a minute."""
    with entrance(ground, "end_to_end") as (site, claimants, port), site.beating("relay", "worker"):
        drive(port, claimants.next_claims(), clients=2, seconds=1).expect(202)
        site.until_done()

        def posted(per_second: float, seconds: float) -> list[tuple[float, float]]:
            since = site.value("SELECT extract(epoch FROM outbox_now())::float")
            requests = claimants.next_claims()
            drive(port, requests, clients=CONNECTIONS, seconds=seconds, per_second=per_second).expect(202)
            ends_at = time.monotonic() + SETTLED_WITHIN
            while site.work_left() and time.monotonic() < ends_at:
                time.sleep(0.1)
            return told(site, since)

        calm = [wait for _, wait in posted(CALM_PER_SECOND, run.seconds(CALM_SECONDS, 2))]
        run.say(f"{CALM_PER_SECOND} a second: {len(calm)} claims, p50 {1000 * percentile(calm, 50):.0f} ms")
        seconds = run.seconds(RUSH_SECONDS, 3)
        rush = posted(RUSH_PER_SECOND, seconds)
    waits = [wait for _, wait in rush]
    run.lines["POST to text, seconds, at 200 a second"] = {
        "each claim, by when it was posted": [(at, wait) for at, wait in rush if wait != float("inf")][::20]
    }
    p99 = 1000 * percentile(calm, 99)
    yield no_more_than("POST to text, 20/s, p50", 1000 * percentile(calm, 50), 40.0, "ms", f"p99 {p99:.0f} ms")
    in_time = sum(wait <= 1.0 for wait in waits) / seconds
    many = f"{len(waits)} posted in {seconds:.0f} s, p50 {percentile(waits, 50):.2f} s"
    yield no_more_than("POST to text, 200/s, p99", percentile(waits, 99), 1.0, "s", many)
    # The p99 allows one in a hundred to be late.
    yield no_less_than("POST to text, 200/s, told within 1 s", in_time, 0.99 * RUSH_PER_SECOND, "/s", many)


class Course:
    """How a backlog is worked off: claims that are filed and texts that are sent, at every look."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.began = time.perf_counter()
        self.seen: list[tuple[float, int, int]] = []
        self.look()

    def look(self) -> int:
        """How many jobs have been done so far."""
        ((filed, sent),) = self.site.rows(DONE)
        self.seen.append((time.perf_counter() - self.began, filed, sent))
        return int(filed + sent)

    def rate(self, seconds: float) -> float:
        """Jobs a second, for so many seconds."""
        done, at = self.look(), time.perf_counter()
        time.sleep(seconds)
        return (self.look() - done) / (time.perf_counter() - at)

    def lines(self) -> dict[str, list[tuple[float, float]]]:
        return {
            what: [(look[0], look[place]) for look in self.seen]
            for place, what in ((1, "claims filed"), (2, "texts sent"))
        }


@dataclass
class Drain:
    """What one worker did of what was left: jobs, seconds, its CPU in milliseconds a job, and its memory over time."""

    waiting: int
    left: int
    rate: float
    cpu: float
    memory: list[int]


def drained(site: Site, course: Course, worker: Quiet, seconds: float) -> Drain:
    waiting, done, cpu, memory = site.work_left(), course.look(), worker.cpu_seconds(), [worker.rss()]
    began = time.perf_counter()
    while site.work_left() and time.perf_counter() - began < seconds:
        time.sleep(LOOK_SECONDS)
        course.look()
        memory.append(worker.rss())
    took, done = time.perf_counter() - began, course.look() - done
    spent = 1000 * (worker.cpu_seconds() - cpu) / max(done, 1)
    return Drain(waiting, site.work_left(), done / took, spent, memory)


@measurement("backlog")
def backlog(ground: Ground, run: Run) -> Iterator[Row]:
    """Real jobs (claims and texts) from a backlog: one worker and two, fairness, and the drain with its memory."""
    count, window = run.whole(BACKLOG, 600), run.seconds(WINDOW_SECONDS, 2)
    with (
        backlog_of(ground, "backlog", count) as site,
        site.beating("relay"),
        site.beating("worker") as (worker,),
    ):
        time.sleep(WARM_UP_SECONDS)
        course = Course(site)

        def by_two() -> float:
            with site.beating("worker.2"):
                return course.rate(window)

        found = run.in_turn("real jobs a second", {"one worker": lambda: course.rate(window), "two workers": by_two})
        (_, first_filed, first_sent), (_, filed, sent) = course.seen[0], course.seen[-1]
        rest = drained(site, course, worker, run.seconds(DRAIN_SECONDS, 5))
    run.lines["a backlog is worked off"] = course.lines()
    run.lines["memory of the worker while it drains, MiB"] = {
        "RSS": [(number * LOOK_SECONDS, held / MIB) for number, held in enumerate(rest.memory)]
    }
    rate, two, judged = found["one worker"], found["two workers"], two_where_cores_allow()
    yield no_less_than("real jobs, one worker", rate, 400.0, "/s", f"worker CPU {rest.cpu:.1f} ms a job")
    why = "one worker" if judged else "one worker; not judged: too few cores for two"
    yield at_least("real jobs, two workers", two, rate, 1.6, "/s", why, judged)
    fair = f"claims filed meanwhile, of {count:,} waiting"
    yield at_least("fairness under a backlog: told", sent - first_sent, filed - first_filed, 0.8, "", fair)
    slower = min(rate, run.known.get("relay", rate))
    which = f"the slower of relay and jobs alone; {rest.waiting:,} jobs waiting, {rest.left:,} left"
    yield at_least("drain, one worker", rest.rate, slower, 0.7, "/s", which)
    most = max(rest.memory)
    yield no_more_than("drain, memory at most / at first", most / rest.memory[0], 1.1, "x", f"{most / MIB:.0f} MiB")


@measurement("in_flight")
def in_flight(ground: Ground, run: Run) -> Iterator[Row]:
    """Calls in flight of one worker process, while BTSSS takes 20 seconds for each."""
    ground.upstream_says(f"/_slow?seconds={SLOW_SECONDS}")
    try:
        with (
            backlog_of(ground, "in_flight", SLOW_CLAIMS, **SLOW_SETTINGS) as site,
            site.beating("relay"),
            site.beating("worker") as (worker,),
        ):
            before = ground.upstream_says("/_counts").get("filed", 0)
            memory = Peak(worker)
            # From the first call on: two whole calls of every place, and half of one to see that it goes on.
            until(lambda: site.value(RUNNING) > 0, 30)
            with memory:
                time.sleep(2.25 * SLOW_SECONDS)
            counts: dict[str, Any] = ground.upstream_says("/_counts")
    finally:
        ground.upstream_says("/_slow?seconds=0")
    filed = counts["filed"] - before
    most = counts["most_in_flight"]
    yield no_less_than("calls in flight, one worker", most, IN_FLIGHT, "", f"a call takes {SLOW_SECONDS:.0f} s")
    yield no_more_than("calls in flight, memory", memory.most / MIB, DYNO, "MiB", "PSS at most")
    ideal = 2 * max(most, IN_FLIGHT)
    yield at_least("calls in flight, rate", filed, ideal, 0.95, "claims", f"ideal in {2 * SLOW_SECONDS:.0f} s")


class Peak:
    """The most memory that a process holds in the block, in bytes."""

    def __init__(self, process: Quiet) -> None:
        self.process = process
        self.most = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self) -> None:
        while not self.over.wait(0.5):
            self.most = max(self.most, self.process.pss())

    def __enter__(self) -> Peak:
        self.thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.over.set()
        self.thread.join()
