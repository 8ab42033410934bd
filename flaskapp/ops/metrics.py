"""Metrics: gauges computed from Postgres at every scrape, so that any web process gives the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import text

from flaskapp.audit.report import RECENT_SCOPE
from flaskapp.current import flows
from flaskapp.db import transaction
from flaskapp.web import access
from flaskapp.web.openapi import describe
from outbox import breakers, forecast, leases, messages

blueprint = Blueprint("metrics", __name__)
access.declare(blueprint, "anybody inside the network: counts only, no ids")

CASES = text("SELECT kind, owner, count(*) FROM cases WHERE closed_at IS NULL GROUP BY kind, owner")
AUDITS = text("""
    SELECT scope, seconds, extract(epoch FROM outbox_now() - at)::float AS age, report FROM audits ORDER BY scope
""")


class LedgerCollector:
    """Reads the ledger when scraped; registered in a registry of its own, so that tests and processes do not clash."""

    def collect(self) -> Iterator[Any]:
        with transaction() as session:
            audits = session.execute(AUDITS).all()
            outstanding = messages.count_by_state(session)
            outlook = forecast.by_queue(session)
            cases = session.execute(CASES).all()
            breaker_rows = breakers.all_breakers(session, flows().breaker_limits)
            runs = leases.last_runs(session)
        yield from audit_gauges(audits)
        yield from outstanding_gauges(outstanding)
        yield from deadline_gauges(outlook)
        open_cases = GaugeMetricFamily("surefile_open_cases", "Open cases.", labels=["kind", "owner"])
        for kind, owner, count in cases:
            open_cases.add_metric([kind, owner], count)
        yield open_cases
        yield from breaker_gauges(breaker_rows)
        yield from run_gauges(runs.values())


def run_gauges(runs: Iterable[leases.LastRun]) -> Iterator[Any]:
    """Work that one process does at a time: how long ago it ran, and how often it found its lease taken."""
    age = GaugeMetricFamily("surefile_last_run_seconds", "Seconds since this work ran last.", labels=["work"])
    passed = CounterMetricFamily("surefile_passed_over", "Runs that found the lease taken.", labels=["work"])
    for run in runs:
        if run.age is not None:
            age.add_metric([run.name], run.age)
        passed.add_metric([run.name], run.passed_over)
    yield age
    yield passed


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


def deadline_gauges(outlook: list[forecast.Line]) -> Iterator[Any]:
    missed = GaugeMetricFamily("surefile_deadlines_missed", "Messages past their deadline.", labels=["queue"])
    at_risk = GaugeMetricFamily(
        "surefile_deadlines_at_risk", "Messages that will miss their deadline at the present rate.", labels=["queue"]
    )
    for line in outlook:
        missed.add_metric([line.queue], line.missed)
        at_risk.add_metric([line.queue], line.will_miss)
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


def outstanding_gauges(outstanding: Any) -> Iterator[Any]:
    messages = GaugeMetricFamily("surefile_messages", "Messages by queue and state.", labels=["queue", "state"])
    oldest = GaugeMetricFamily("surefile_oldest_seconds", "Age of the oldest message.", labels=["queue", "state"])
    for row in outstanding:
        messages.add_metric([row.queue, row.state], row.messages)
        oldest.add_metric([row.queue, row.state], row.oldest)
    yield messages
    yield oldest


@blueprint.get("/metrics")
@describe("Gauges for Prometheus", answers={200: "Text in Prometheus's format."})
def metrics() -> Response:
    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")
