"""Traces by OpenTelemetry, where `OTLP_TRACES_URL` is set: one for each submission, from its request to the last call.

The id of a request gives its trace: whoever works for that request later, in whatever process, continues it without
anything being passed on. Spans hold words and ids of ours: no address, no body, nothing that somebody sent.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from flaskapp.outside import asked

Value = str | int | float | bool
NO_ATTRIBUTES: Mapping[str, Any] = {}


def ids_of(request_id: str) -> tuple[int, int]:
    """The ids of the trace of a request and of its first span."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


class Span:
    """A span under way, or none where traces are off."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **attributes: Value | None) -> None:
        if self._span is not None:
            self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def fail(self, why: str) -> None:
        """Mark it as failed; `why` is the name of an error, never its text."""
        if self._span is not None:
            self._span.set_status(import_module("opentelemetry.trace").StatusCode.ERROR, why)

    @property
    def header(self) -> str | None:
        """`traceparent`, by which an upstream would continue the trace."""
        if self._span is None:
            return None
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


class Tracing:
    """The tracer of this process. `begin` turns it on, and imports OpenTelemetry only then."""

    def __init__(self) -> None:
        self._tracer: Any = None
        self._provider: Any = None

    def begin(self, url: str | None, headers: Mapping[str, str], pause_seconds: float = 5.0) -> None:
        """Raises ImportError where traces are wanted and the packages are not there."""
        self.end()
        if url is None:
            return
        sdk, export = import_module("opentelemetry.sdk.trace"), import_module("opentelemetry.sdk.trace.export")
        http = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        resources = import_module("opentelemetry.sdk.resources")
        self._provider = sdk.TracerProvider(
            resource=resources.Resource({"service.name": "surefile"}), id_generator=FirstIds(), shutdown_on_exit=False
        )
        exporter = http.OTLPSpanExporter(endpoint=url, headers=dict(headers))
        self._provider.add_span_processor(
            export.BatchSpanProcessor(exporter, schedule_delay_millis=round(1000 * pause_seconds))
        )
        self._tracer = self._provider.get_tracer("surefile")

    def end(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()
        self._tracer = self._provider = None

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Any] = NO_ATTRIBUTES, first: bool = False) -> Iterator[Span]:
        """A span of what this thread does. `first` begins the trace of the request that it works for."""
        if self._tracer is None:
            yield Span()
            return
        trace = import_module("opentelemetry.trace")
        known = {key: value for key, value in attributes.items() if value is not None}
        context = None if first else self._context(trace)
        with self._tracer.start_as_current_span(
            name, context=context, attributes=known, record_exception=False, set_status_on_exception=False
        ) as span:
            yield Span(span)

    def _context(self, trace: Any) -> Any:
        """None to continue the span of this thread; where there is none, that of the request it works for."""
        request_id = asked.request_id()
        if trace.get_current_span().get_span_context().is_valid or request_id is None:
            return None
        trace_id, span_id = ids_of(request_id)
        first = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(first))


class FirstIds:
    """Ids of spans: the first span of a request has those of its id, every other a random one."""

    def __init__(self) -> None:
        self._random = import_module("opentelemetry.sdk.trace.id_generator").RandomIdGenerator()
        self._begun = threading.local()

    def generate_trace_id(self) -> int:
        """Called for a first span only, right before its own id is drawn."""
        request_id = asked.request_id()
        if request_id is None:
            return int(self._random.generate_trace_id())
        trace_id, self._begun.span_id = ids_of(request_id)
        return trace_id

    def generate_span_id(self) -> int:
        span_id: int | None = self._begun.__dict__.pop("span_id", None)
        return span_id if span_id is not None else int(self._random.generate_span_id())

    def is_trace_id_random(self) -> bool:
        return False


TRACING = Tracing()
