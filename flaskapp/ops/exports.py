"""Exports by setting: StatsD, traces and error reports. All are off by default, and imported only when they are set."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from flask import Flask, Response, current_app, g, request

from flaskapp.config import Config
from flaskapp.ops import error_reports
from flaskapp.ops.metrics import LedgerCollector
from flaskapp.outside import asked
from flaskapp.outside.counting import COUNTING
from flaskapp.outside.statsd import StatsD, line_of
from flaskapp.outside.tracing import TRACING

# Processes tell StatsD of these one by one, and classes of durations mean nothing to it.
TOLD_AT_ONCE = ("surefile_request", "surefile_upstream_", "surefile_relay_lag")


class MissingPackage(Exception):
    """A setting needs a package that is not installed."""


def init_app(app: Flask, config: Config) -> None:
    """Raises MissingPackage where a setting needs a package that is not there."""
    statsd = StatsD(config.statsd_address) if config.statsd_address is not None else None
    app.extensions["statsd"] = statsd
    COUNTING.begin((statsd.tell,) if statsd is not None else ())
    try:
        TRACING.begin(config.otlp_traces_url, config.otlp_headers or {})
        error_reports.begin(config.sentry_dsn)
    except ImportError as error:
        raise MissingPackage(f"{error}: install requirements-watch.txt, or unset the setting") from error
    if config.otlp_traces_url is not None:
        app.before_request(begin_span)
        app.after_request(note_answer)
        app.teardown_request(end_span)


def begin_span() -> None:
    rule = request.url_rule.rule if request.url_rule is not None else "none"
    g.span_stack = ExitStack()
    attributes = {"http.route": rule, "http.request.method": request.method, "request_id": asked.request_id()}
    g.span = g.span_stack.enter_context(TRACING.span(f"{request.method} {rule}", attributes, first=True))


def note_answer(response: Response) -> Response:
    g.span.note(**{"http.response.status_code": response.status_code})
    return response


def end_span(error: BaseException | None = None) -> None:
    stack: ExitStack | None = g.pop("span_stack", None)
    if stack is not None:
        stack.close()


def tell_statsd() -> None:
    """Every gauge and counter, as `/metrics` shows them, as gauges."""
    statsd: StatsD | None = current_app.extensions["statsd"]
    if statsd is None:
        return
    samples: list[Any] = [sample for family in LedgerCollector().collect() for sample in family.samples]
    statsd.send(
        line_of(sample.name.removeprefix("surefile_"), sample.value, "g", sample.labels)
        for sample in samples
        if not sample.name.startswith(TOLD_AT_ONCE) and not sample.name.endswith("_bucket")
    )
