"""Counters and histograms of `/metrics`: read from Postgres, the same from every process, complete from the start.

Every series that can ever appear is there with 0 before anything was counted, so that none begins with a jump.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from flask import Flask, Response, current_app, request
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import UPSTREAMS
from flaskapp.current import flows
from flaskapp.db import DbSession, db
from flaskapp.logs import seconds_of_request
from flaskapp.notifications.states import DELIVERED, PENDING, SENT, UNDELIVERABLE, WITHDRAWN
from flaskapp.outside.counting import COUNTING, FLUSH_SECONDS
from flaskapp.subjects import states_of
from outbox import counters, sql

log = logging.getLogger("flaskapp.ops.counters")

STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
NO_ANSWER = "none"
NO_ROUTE = "none"
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
# The sweep counts all; who scrapes sees the newest as well, and waits for no more than that.
ROWS_OF_A_SCRAPE = 1_000
OTHER_METHOD = "other"
PURPOSES = ("write", "look_up", "read", "give_up")
OUTCOMES = ("success", "error", "unknown", "expired")

# From the first record of a submission until VANotify took the first notification that says how it ended.
FIRST = sql.history(subject_type="n.subject_type", subject_id="n.subject_id")
TOLD = counters.Durations(
    "told_seconds",
    f"""
    SELECT jsonb_build_object('subject', n.subject_type) AS labels,
           extract(epoch FROM news.at - first.at)::float8 AS seconds
      FROM news,
           -- Row by row, by its key: there is no telling how many there are to join, and notifications are many.
           LATERAL (SELECT * FROM notifications
                     WHERE id = CAST(CASE WHEN news.subject_type = 'notification' AND news.moved_from = '{PENDING}'
                                           AND news.moved_to IN ('{SENT}', '{DELIVERED}')
                                          THEN news.subject_id END AS uuid) OFFSET 0) AS n,
           LATERAL (SELECT h.at {FIRST} ORDER BY h.id LIMIT 1) AS first""",
)


def count_ledger(engine: Engine, most: int = counters.ROWS_AT_ONCE) -> None:
    counters.count_ledger(engine, [TOLD], most, flows().synthetic)


def count_answer(response: Response) -> Response:
    """By the route and never by the path; whoever calls chooses the method, too."""
    rule = request.url_rule
    method = request.method if request.method in METHODS else OTHER_METHOD
    COUNTING.add(
        "requests",
        method=method,
        route=rule.rule if rule is not None else NO_ROUTE,
        status=f"{response.status_code // 100}xx",
    )
    COUNTING.observe("request_seconds", seconds_of_request(), method=method)
    return response


def flush(engine: Engine) -> None:
    """Add what this process has counted. Without Postgres it goes on counting."""
    try:
        COUNTING.flush(engine)
    except SQLAlchemyError as error:
        log.warning("counts not flushed", extra={"event": "counts.not_flushed", "error": type(error).__name__})


def flush_forever(engine: Engine, ending: threading.Event) -> None:
    while not ending.wait(FLUSH_SECONDS):
        flush(engine)


def begin_in_web(app: Flask) -> None:
    """Flush every few seconds from now on, in a thread of this web process."""
    with app.app_context():
        engine = db.engine
    ending: threading.Event = app.extensions["counts_ending"]
    threading.Thread(target=flush_forever, args=(engine, ending), name="counts", daemon=True).start()


def end_in_web(app: Flask) -> None:
    """Flush once more: this web process ends."""
    app.extensions["counts_ending"].set()
    with app.app_context():
        flush(db.engine)


def up_to_now() -> None:
    """Count what the ledger recorded, and add what this process has counted. Whatever fails there, what was counted
    before can be read."""
    try:
        count_ledger(db.engine, ROWS_OF_A_SCRAPE)
    except SQLAlchemyError as error:
        log.warning("ledger not counted", extra={"event": "counts.not_counted", "error": type(error).__name__})
    flush(db.engine)


def families(session: DbSession) -> Iterator[Any]:
    found = counters.read(session)
    yield from request_families(found)
    yield from flow_families(found)
    yield from upstream_families(found)


def counter(
    name: str, text: str, labels: tuple[str, ...], values: dict[counters.Labels, float], expected: Iterable[Any]
) -> Any:
    """A counter with every combination of labels that is expected or was counted."""
    family = CounterMetricFamily(f"surefile_{name}", text, labels=labels)
    counted = {tuple(dict(key)[label] for label in labels): value for key, value in values.items()}
    for combination in sorted({*expected, *counted}):
        family.add_metric(combination, counted.get(combination, 0.0))
    return family


def histogram(
    name: str,
    text: str,
    labels: tuple[str, ...],
    found: dict[str, dict[counters.Labels, float]],
    expected: Iterable[Any],
) -> Any:
    """A histogram, likewise. What is stored are single classes, what is shown are all up to each bound."""
    family = HistogramMetricFamily(f"surefile_{name}", text, labels=labels)
    classes: dict[tuple[str, ...], dict[str, float]] = {tuple(combination): {} for combination in expected}
    for key, value in found.get(name, {}).items():
        one = dict(key)
        classes.setdefault(tuple(one[label] for label in labels), {})[one["le"]] = value
    sums = {tuple(dict(key)[label] for label in labels): value for key, value in found.get(f"{name}_sum", {}).items()}
    for combination, counted in sorted(classes.items()):
        upto, buckets = 0.0, []
        for bound in counters.BOUNDS:
            upto += counted.get(bound, 0.0)
            buckets.append((bound, upto))
        family.add_metric(combination, buckets, sums.get(combination, 0.0))
    return family


def request_families(found: dict[str, dict[counters.Labels, float]]) -> Iterator[Any]:
    routes = {
        (method, rule.rule)
        for rule in current_app.url_map.iter_rules()
        for method in (rule.methods or set()) & set(METHODS)
    }
    expected = [(*route, status) for route, status in product(routes, STATUSES[1:])]
    yield counter("requests", "Requests answered.", ("method", "route", "status"), found.get("requests", {}), expected)
    methods = [(method,) for method in METHODS]
    yield histogram("request_seconds", "Time from a request to its answer.", ("method",), found, methods)


def flow_families(found: dict[str, dict[counters.Labels, float]]) -> Iterator[Any]:
    accepted: dict[counters.Labels, float] = {}
    ended: dict[counters.Labels, float] = {}
    notifications: dict[counters.Labels, float] = {}
    machines = {name: states_of(subject).machine for name, subject in flows().submissions.items()}
    for key, value in found.get("moves", {}).items():
        move = dict(key)
        flow, state = move["subject"], move["state"]
        if flow == "notification":
            add_to(notifications, value, state=state)
        elif flow in machines and not move["from"]:
            add_to(accepted, value, flow=flow)
        if flow in machines and move["from"] and state in machines[flow].final:
            add_to(ended, value, flow=flow, state=state)
    names = [(name,) for name in machines]
    ends = [(name, state) for name, machine in machines.items() for state in machine.final]
    yield counter("accepted", "Submissions accepted.", ("flow",), accepted, names)
    yield counter("ended", "Submissions that came to an end, by its state.", ("flow", "state"), ended, ends)
    states = [(state,) for state in (SENT, DELIVERED, UNDELIVERABLE, WITHDRAWN)]
    yield counter("notifications", "Notifications that came to a state.", ("state",), notifications, states)
    filed: dict[str, dict[counters.Labels, float]] = {"filed_seconds": {}, "filed_seconds_sum": {}, "told_seconds": {}}
    for own, kept in (("filed_seconds", "moved_seconds"), ("filed_seconds_sum", "moved_seconds_sum")):
        for key, value in found.get(kept, {}).items():
            move = dict(key)
            if move["subject"] in machines and move["state"] in machines[move["subject"]].final - {"failed"}:
                add_to(filed[own], value, flow=move["subject"], **{"le": move["le"]} if "le" in move else {})
    for kept in ("told_seconds", "told_seconds_sum"):
        filed[kept] = {
            tuple(sorted(("flow" if name == "subject" else name, text) for name, text in key)): value
            for key, value in found.get(kept, {}).items()
        }
    yield histogram("filed_seconds", "Time from a request until it was filed.", ("flow",), filed, names)
    yield histogram("told_seconds", "Time from a request until its person was told.", ("flow",), filed, names)


def add_to(values: dict[counters.Labels, float], value: float, **labels: str) -> None:
    key = tuple(sorted(labels.items()))
    values[key] = values.get(key, 0.0) + value


def upstream_families(found: dict[str, dict[counters.Labels, float]]) -> Iterator[Any]:
    attempts: dict[counters.Labels, float] = {}
    for key, value in found.get("attempts", {}).items():
        one = dict(key)
        operation = one["job"].rpartition(".")[2]
        kind = {"purpose": one["purpose"], "outcome": one["outcome"]}
        add_to(attempts, value, upstream=one["upstream"], operation=operation, **kind)
    works = {(work.queue.upstream or "", path.rpartition(".")[2]) for path, work in flows().works.items()}
    expected = [(*work, *kind) for work, kind in product(works, product(PURPOSES, OUTCOMES))]
    labels = ("upstream", "operation", "purpose", "outcome")
    yield counter("attempts", "Attempts at work that ended.", labels, attempts, expected)
    answers = product(UPSTREAMS, (*STATUSES[1:], NO_ANSWER))
    calls = found.get("upstream_calls", {})
    yield counter("upstream_calls", "Calls of upstreams, by their answer.", ("upstream", "answer"), calls, answers)
    names = [(name,) for name in UPSTREAMS]
    yield histogram("upstream_seconds", "Time of a call of an upstream.", ("upstream",), found, names)
    lag = "Time from when work was due until the relay published it, waiting for a breaker or a place included."
    yield histogram("relay_lag_seconds", lag, ("queue",), found, [(queue.name,) for queue in flows().queues])
    trips = [(name,) for name in flows().breaker_limits]
    yield counter("breaker_trips", "How often breakers opened.", ("upstream",), found.get("trips", {}), trips)


def init_app(app: Flask) -> None:
    app.extensions["counts_ending"] = threading.Event()
    app.after_request(count_answer)
