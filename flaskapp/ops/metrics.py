"""Metrics: gauges and counters from Postgres, so that any web process gives the same answer. Only who has the token
reads them, and one reading serves everybody for some seconds.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import text

from flaskapp.audit.report import RECENT_SCOPE
from flaskapp.cases.kinds import KINDS
from flaskapp.config import SYNTHETIC_NEEDS
from flaskapp.current import flows, settings
from flaskapp.db import AUDIT, RETENTION, SWEEP, db, transaction
from flaskapp.ops import counters, synthetic
from flaskapp.upstreams.transport.http import seconds_left
from flaskapp.web import access, rate_limits
from flaskapp.web.errors import Problem
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.passthrough import Bulkhead
from outbox import breakers, forecast, leases, tally

blueprint = Blueprint("metrics", __name__)
READER = access.Access(
    "`METRICS_TOKEN`, as bearer or as the password of basic access",
    {"metricsToken": {"type": "http", "scheme": "bearer"}, "metricsPassword": {"type": "http", "scheme": "basic"}},
)
access.declare(blueprint, "whoever has `METRICS_TOKEN`, as bearer or basic: counts only, no ids and no names")

# A reading that took long is kept for so many times as long: reading takes a twentieth of one connection at most.
REST = 20.0
LONGEST_WAIT_SECONDS = 10.0
# Threads that may read or wait for a reading. They are not those of people who wait: while these are all taken, an
# operator needs the metrics most.
READERS = 2

CASES = text("SELECT kind, count(*) FROM cases WHERE closed_at IS NULL GROUP BY kind")
AUDITS = text("""
    SELECT scope, seconds, extract(epoch FROM outbox_now() - at)::float AS age, report FROM audits ORDER BY scope
""")


class LedgerCollector:
    """Reads the ledger when scraped; registered in a registry of its own, so that tests and processes do not clash."""

    def collect(self) -> Iterator[Any]:
        with transaction() as session:
            audits = session.execute(AUDITS).all()
            outstanding = tally.latest(session)
            cases = [tuple(row) for row in session.execute(CASES).all()]
            breaker_rows = breakers.all_breakers(session, flows().breaker_limits)
            runs = leases.last_runs(session)
            counted = list(counters.families(session))
            tried = list(synthetic.standings(session))
        yield from audit_gauges(audits)
        yield from outstanding_gauges(outstanding)
        yield from deadline_gauges(outstanding.lines)
        open_cases = GaugeMetricFamily("surefile_open_cases", "Open cases.", labels=["kind"])
        for kind, count in {**dict.fromkeys(KINDS, 0), **dict(cases)}.items():
            open_cases.add_metric([kind], count)
        yield open_cases
        yield from breaker_gauges(breaker_rows)
        yield from run_gauges(runs.values())
        yield from synthetic_gauges(tried)
        yield from counted


def run_gauges(runs: Iterable[leases.LastRun]) -> Iterator[Any]:
    """Work that one process does at a time: how long ago it ran, and how often it found its lease taken."""
    age = GaugeMetricFamily("surefile_last_run_seconds", "Seconds since this work ran last.", labels=["work"])
    passed = CounterMetricFamily("surefile_passed_over", "Runs that found the lease taken.", labels=["work"])
    ran = {run.name: run for run in runs}
    for name in (SWEEP, AUDIT, RETENTION):
        if name not in ran:
            passed.add_metric([name], 0)
    for run in ran.values():
        if run.age is not None:
            age.add_metric([run.name], run.age)
        passed.add_metric([run.name], run.passed_over)
    yield age
    yield passed


def synthetic_gauges(tried: Iterable[synthetic.Standing]) -> Iterator[Any]:
    """When the person of a synthetic submission was told of a good end last, and whether one is late. A flow through
    which none is filed is never late."""
    told = GaugeMetricFamily(
        "surefile_synthetic_last_success_timestamp_seconds",
        "When a synthetic submission last came to a good end that its person was told of, or 0.",
        labels=["flow"],
    )
    late = GaugeMetricFamily("surefile_synthetic_late", "1 while a synthetic submission is late.", labels=["flow"])
    found = {each.flow: each for each in tried}
    for flow in SYNTHETIC_NEEDS:
        standing = found.get(flow)
        told.add_metric([flow], standing.told_at.timestamp() if standing and standing.told_at else 0.0)
        late.add_metric([flow], int(standing is not None and standing.late))
    yield told
    yield late


def audit_gauges(audits: Any) -> Iterator[Any]:
    """What the minute's audit found, and how old that is. Without a scheduler the age grows, the figures stay."""
    age = GaugeMetricFamily("surefile_audit_age_seconds", "Seconds since the last audit.", labels=["scope"])
    seconds = GaugeMetricFamily("surefile_audit_seconds", "How long the last audit took.", labels=["scope"])
    for row in audits:
        age.add_metric([row.scope], row.age)
        seconds.add_metric([row.scope], row.seconds)
        if row.scope == RECENT_SCOPE:
            report = row.report
            yield GaugeMetricFamily("surefile_unaccounted", "Submissions nobody accounts for.", report["unaccounted"])
            # A worker of the release before writes no counts.
            without_case = report.get("without_case_count", 0)
            yield GaugeMetricFamily(
                "surefile_broken_rules", "Broken rules that no human has a case for yet.", without_case
            )
            yield GaugeMetricFamily(
                "surefile_ledger_faults", "Broken rules of the ledger.", report.get("fault_count", 0)
            )
    yield age
    yield seconds


def deadline_gauges(outlook: Iterable[forecast.Line]) -> Iterator[Any]:
    missed = GaugeMetricFamily("surefile_deadlines_missed", "Messages past their deadline.", labels=["queue"])
    at_risk = GaugeMetricFamily(
        "surefile_deadlines_at_risk", "Messages that will miss their deadline at the present rate.", labels=["queue"]
    )
    found = {
        **{queue.name: (0, 0) for queue in flows().queues},
        **{each.queue: (each.missed, each.will_miss) for each in outlook},
    }
    for queue, (late, will_miss) in found.items():
        missed.add_metric([queue], late)
        at_risk.add_metric([queue], will_miss)
    yield missed
    yield at_risk


def breaker_gauges(breaker_rows: list[Any]) -> Iterator[Any]:
    opened = GaugeMetricFamily(
        "surefile_breaker_open", "1 while an upstream's breaker is open or missing.", labels=["upstream"]
    )
    held = GaugeMetricFamily("surefile_breaker_held", "1 while an operator holds an upstream.", labels=["upstream"])
    for row in breaker_rows:
        opened.add_metric([row.upstream], int(row.missing or row.opened_at is not None))
        held.add_metric([row.upstream], int(row.held_until is not None))
    yield opened
    yield held


def outstanding_gauges(outstanding: tally.Tally) -> Iterator[Any]:
    messages = GaugeMetricFamily("surefile_messages", "Messages by queue and state.", labels=["queue", "state"])
    oldest = GaugeMetricFamily("surefile_oldest_seconds", "Age of the oldest message.", labels=["queue", "state"])
    none = dict.fromkeys(product([queue.name for queue in flows().queues], tally.STATES), (0, 0.0))
    for place, (count, age) in {**none, **outstanding.by_state()}.items():
        messages.add_metric(place, count)
        oldest.add_metric(place, age)
    yield messages
    yield oldest
    yield GaugeMetricFamily("surefile_counted_seconds", "Seconds since messages were counted.", outstanding.age)


class Reading:
    """The last reading of this process. One thread reads at a time; whoever comes meanwhile gets what it reads."""

    def __init__(self, readers: int = READERS) -> None:
        self._places = Bulkhead(readers)
        self._lock = threading.Lock()
        self._text = b""
        self._good_until = 0.0

    def get(self, read: Callable[[], bytes], keep_seconds: float) -> bytes:
        """The last reading if it is not older than `keep_seconds`, else a new one. Raises Problem 503 when that takes
        too long or too many wait for it."""
        asked_at = time.monotonic()
        if asked_at < self._good_until:
            return self._text
        with self._places.take("metrics") as free:
            if not free or not self._lock.acquire(timeout=seconds_left(LONGEST_WAIT_SECONDS)):
                raise Problem(503, headers={"Retry-After": "5"})
            try:
                if self._good_until <= asked_at:
                    began = time.monotonic()
                    self._text = read()
                    ended = time.monotonic()
                    self._good_until = ended + (max(keep_seconds, REST * (ended - began)) if keep_seconds else 0.0)
                return self._text
            finally:
                self._lock.release()


def read_metrics() -> bytes:
    counters.up_to_now()
    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    found: bytes = generate_latest(registry)
    db.session.remove()
    return found


@blueprint.get("/metrics")
@describe(
    "Metrics for Prometheus",
    security=READER,
    answers={200: Answer("Text in Prometheus's format, some seconds old.", media=("text/plain",))},
    problems={
        401: "Not the token.",
        404: "`METRICS_TOKEN` is not set: nobody may read them.",
        503: "Too many read at once, or our database is away.",
    },
)
def metrics() -> Response:
    check_token()
    reading: Reading = current_app.extensions["metrics"]
    found = reading.get(read_metrics, settings().metrics_keep_seconds)
    return Response(found, content_type="text/plain; version=0.0.4; charset=utf-8")


def check_token() -> None:
    """Raises Problem: 404 where no token is set, 401 without the right one. Guesses count like any other request."""
    token = settings().metrics_token
    if not token:
        raise Problem(404)
    sent = request.authorization
    proofs = {"bearer": sent.token, "basic": sent.password} if sent is not None else {}
    given = proofs.get(sent.type if sent is not None else "") or ""
    if not hmac.compare_digest(given.encode(), token.encode()):
        rate_limits.count_address()
        raise Problem(401, headers={"WWW-Authenticate": 'Bearer realm="metrics", Basic realm="metrics"'})


def init_app(app: Flask) -> None:
    app.extensions["metrics"] = Reading()
    app.register_blueprint(blueprint)
