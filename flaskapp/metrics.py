"""Gauges computed from Postgres at every scrape: any one web process tells the same truth for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import text

from flaskapp import auth
from flaskapp.audit import audit
from flaskapp.db import transaction
from flaskapp.openapi import describe
from outbox.audit import OWED

blueprint = Blueprint("metrics", __name__)
auth.declare(blueprint, "anybody inside the network: counts only, no ids")

CASES = text("SELECT kind, owner, count(*) FROM cases WHERE closed_at IS NULL GROUP BY kind, owner")
GATES = text("SELECT upstream, closed_at IS NOT NULL AS closed FROM outbox_gates")


class LedgerCollector:
    """Reads the ledger when scraped; registered in a registry of its own, so that tests and processes do not clash."""

    def collect(self) -> Iterator[Any]:
        with transaction() as session:
            report = audit(session)
            owed = session.execute(OWED).all()
            cases = session.execute(CASES).all()
            gates = session.execute(GATES).all()
        yield GaugeMetricFamily("surefile_unaccounted", "Submissions nobody accounts for.", report.unaccounted_count)
        yield GaugeMetricFamily("surefile_ledger_faults", "Broken rules of the ledger itself.", len(report.faults))
        yield from owed_gauges(owed)
        open_cases = GaugeMetricFamily("surefile_open_cases", "Open cases.", labels=["kind", "owner"])
        for kind, owner, count in cases:
            open_cases.add_metric([kind, owner], count)
        yield open_cases
        closed = GaugeMetricFamily("surefile_gate_closed", "1 while an upstream's gate is closed.", labels=["upstream"])
        for upstream, is_closed in gates:
            closed.add_metric([upstream], int(is_closed))
        yield closed


def owed_gauges(owed: Any) -> Iterator[Any]:
    messages = GaugeMetricFamily("surefile_messages", "Messages by queue and state.", labels=["queue", "state"])
    oldest = GaugeMetricFamily("surefile_oldest_seconds", "Age of the oldest message.", labels=["queue", "state"])
    for row in owed:
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
