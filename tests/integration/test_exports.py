"""StatsD, traces and error reports: one trace from the request to the text, and nobody's name in what leaves."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import rq
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flaskapp.db import db
from flaskapp.ops import counters, error_reports, exports
from flaskapp.outside.counting import COUNTING
from flaskapp.outside.tracing import TRACING, ids_of
from tests.integration.steps import reconfigure
from tests.product import ADA, Product, eventually

REQUEST = "the-request-of-ada"
# In the order in which they follow from each other.
TOLD = (
    "POST /check_in/v0/travel_claims",
    "attempt file_check_in_claim",
    "btsss submit_claim",
    "attempt send_notification",
    "va_notify send_sms",
)


class Collector(ThreadingHTTPServer):
    """Takes whatever is posted, and keeps it by its path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Keep)
        self.came: list[tuple[str, bytes]] = []

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Keep(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.came.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()
        thread.join()


def datagrams(agent: socket.socket) -> list[str]:
    found = []
    agent.setblocking(False)
    while True:
        try:
            found += agent.recv(65_536).decode().splitlines()
        except BlockingIOError:
            return found


def spans_in(collector: Collector) -> dict[str, Any]:
    """Every span that came, by its name."""
    spans: dict[str, Any] = {}
    for path, body in collector.came:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    return spans


def fail_with_a_name(product: Product) -> None:
    """An error of ours in a request, with a person in its text, its variables, the address and the line's fields."""
    with product.app.test_request_context("/", query_string={"name": ADA.last_name}):
        try:
            raise ValueError(f"{ADA.last_name} {ADA.icn} {ADA.phone}")
        except ValueError:
            extra = {"event": "job.failed", "message_id": 7, "person": ADA.icn}
            logging.getLogger("jobs").exception("job failed", extra=extra)


@contextmanager
def exporting(product: Product, collector: Collector, agent: socket.socket) -> Iterator[None]:
    agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    agent.bind(("127.0.0.1", 0))
    reconfigure(
        product,
        statsd_address=agent.getsockname(),
        otlp_traces_url=f"http://{collector.place}/v1/traces",
        sentry_dsn=f"http://key@{collector.place}/1",
        request_id_upstreams=("btsss",),
    )
    exports.init_app(product.app, product.app.extensions["config"])
    try:
        yield
    finally:
        TRACING.end()
        error_reports.end()
        COUNTING.begin()
        product.app.extensions["statsd"].close()


def test_one_trace_leads_from_the_request_to_the_text_and_nothing_that_leaves_names_anybody(
    product: Product, capsys: pytest.CaptureFixture[str]
) -> None:
    unpatched = rq.Queue.enqueue_job, rq.Worker.perform_job
    with collecting() as collector, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        with exporting(product, collector, agent):
            browser = product.sign_in()
            assert product.ask(browser, **{"X-Request-Id": REQUEST}).status_code == 202
            product.work()
            product.phone()
            fail_with_a_name(product)
            lines = datagrams(agent)
            counters.count_ledger(db.engine)
            exports.tell_statsd()
        eventually(lambda: {path for path, _ in collector.came} >= {"/v1/traces", "/api/1/envelope/"})
        lines += datagrams(agent)

    # A library that reports errors may not change how jobs are stored and run.
    assert (rq.Queue.enqueue_job, rq.Worker.perform_job) == unpatched
    spans = spans_in(collector)
    trace_id, span_id = (number.to_bytes(length) for number, length in zip(ids_of(REQUEST), (16, 8), strict=True))
    assert {spans[name].trace_id for name in TOLD} == {trace_id}
    first, filing, submit = (spans[name] for name in TOLD[:3])
    assert first.span_id == span_id and not first.parent_span_id
    assert filing.parent_span_id == span_id and submit.parent_span_id == filing.span_id
    (sent,) = product.submits()
    assert sent["headers"]["x-request-id"] == REQUEST
    assert sent["headers"]["traceparent"] == f"00-{trace_id.hex()}-{submit.span_id.hex()}-01"
    assert all("x-request-id" not in each["headers"] for each in product.control.received("va_notify"))
    logged = map(json.loads, capsys.readouterr().out.splitlines())
    assert {line["request_id"] for line in logged if line.get("operation") in ("submit_claim", "send_sms")} == {REQUEST}

    assert any(line.startswith("surefile.upstream:") and "upstream:btsss" in line for line in lines)
    assert "surefile.accepted_total:1|g|#flow:travel_claim" in lines
    reports = b"".join(body for path, body in collector.came if path.startswith("/api/"))
    assert b"ValueError" in reports and b"job.failed" in reports and b"fail_with_a_name" in reports
    everything = b"".join(body for _, body in collector.came) + "\n".join(lines).encode()
    for personal in (ADA.last_name, ADA.icn, ADA.phone, ADA.uuid, "query_string"):
        assert personal is not None and personal.encode() not in everything, personal
