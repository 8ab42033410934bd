"""Constants of docs/capacity.md: what a submission of each flow writes and keeps, and what each process holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psutil

from sandbox.chaos.crowd import Crowd
from sandbox.chaos.journeys import FLOWS
from sandbox.faults import Control
from sandbox.story_form526 import KNOBS
from tests.benchmarks.ground import Ground, Quiet, Site
from tests.benchmarks.people import until
from tests.benchmarks.rows import Row, Run, measurement, shown

FIRST, TIMES, IDLE_SECONDS, MILLION, GIB, MIB = 5, 60, 60.0, 1_000_000, 2**30, 2**20
STORED = """
    SELECT sum(pg_relation_size(oid, 'main'))::float FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 't', 'm')
"""
WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float"
PENDING = "SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status = 'pending'"
# Everything outstanding but what is due in days.
SETTINGS = {"TRAVEL_PAY_WAIT_SECONDS": "0", "DOCUMENT_POLL_MINUTES": "0.1", "RETRY_SCALE": "0.05"}


@measurement("capacity", usual=False)
def capacity(ground: Ground, run: Run) -> Iterator[Row]:
    """WAL and storage a million submissions of each flow, memory and connections of each process."""
    fakes = {f"{name.upper()}_BASE_URL": ground.fakes[name] for name in ("veis", "btsss")}
    fakes["VANOTIFY_BASE_URL"] = ground.fakes["va_notify"]
    names = ("relay", "worker", "scheduler")
    times = run.whole(TIMES, 5)
    with (
        ground.site("capacity", **fakes, **SETTINGS) as site,
        site.web() as web,
        site.beating(*names) as processes,
        closing(Control(ground.fakes["control"])) as control,
    ):
        control.turn("va_notify", minute_limit=None, callback_url=None)
        control.turn("documents", **KNOBS)
        crowd = Crowd([f"127.0.0.1:{web.port}"], ground.fakes["control"], per_second=MILLION)
        idle = written_idle(site, run.seconds(IDLE_SECONDS, 5))
        for flow in FLOWS:
            # After a checkpoint the first change to a page writes all of it. The first submissions make those changes.
            ground.administer("CHECKPOINT")
            made(site, crowd, flow, FIRST)
            before, began = (site.value(WRITTEN), site.value(STORED)), time.perf_counter()
            made(site, crowd, flow, times)
            written = site.value(WRITTEN) - before[0] - idle * (time.perf_counter() - began)
            stored = site.value(STORED) - before[1]
            run.say(f"{times} of {flow}: {written / times:,.0f} bytes of WAL, {stored / times:,.0f} bytes stored each")
            each = f"{written / times:,.0f} bytes each, from {times}"
            yield shown(f"WAL a million: {flow}", written / times * MILLION / GIB, None, "GiB", each)
            each = f"{stored / times:,.0f} bytes each, tables and indexes"
            yield shown(f"storage a million: {flow}", stored / times * MILLION / GIB, None, "GiB", each)
        for name, process in zip(("web", *names), (web.process, *processes), strict=True):
            postgres, redis = (connections(process, site.environ[url]) for url in ("DATABASE_URL", "REDIS_URL"))
            with_those = f"{postgres} connections to Postgres, {redis} to Redis, {len(process.family())} processes"
            yield shown(f"memory: {name}", process.pss() / MIB, None, "MiB", with_those)


def written_idle(site: Site, seconds: float) -> float:
    """Bytes of WAL a second while nobody comes: heartbeats and periodic jobs."""
    before = site.value(WRITTEN)
    time.sleep(seconds)
    return float(site.value(WRITTEN) - before) / seconds


def made(site: Site, crowd: Crowd, flow: str, times: int) -> None:
    """So many submissions of one flow, to their end."""
    for _ in range(times):
        assert crowd.submit(flow) is not None, crowd.odd
    until(lambda: site.work_left() == 0 and site.value(PENDING) == 0, 180)


def connections(process: Quiet, url: str) -> int:
    port = urlsplit(url).port
    found = 0
    for each in process.family():
        try:
            opened = each.net_connections("tcp")
        except psutil.Error:
            continue
        found += sum(1 for line in opened if line.raddr and line.raddr.port == port and line.status == "ESTABLISHED")
    return found
