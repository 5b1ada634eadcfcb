"""Spans of OpenTelemetry, by its conventions for messaging and Kafka, exported over OTLP/HTTP. See traces.py.

https://opentelemetry.io/docs/specs/semconv/messaging/kafka/. The exporter's own variables (OTEL_EXPORTER_OTLP_HEADERS,
OTEL_EXPORTER_OTLP_CERTIFICATE and so on) hold too. A collector that is away costs spans, never records.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import NamedTuple, Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from leadsman_common.traces import TRACEPARENT

_PATH = "/v1/traces"
_LAST_S = 3.0  # how long a process that ends waits for the collector
_W3C = TraceContextTextMapPropagator()  # type: ignore[no-untyped-call, unused-ignore]

Attributes = Mapping[str, str | int]
Headers = Iterable[tuple[str, bytes | None]]


class Traced(NamedTuple):
    """A span, and the header that makes it the parent of what comes next."""

    span: Span
    header: tuple[str, bytes]

    def failed(self, kind: str, reason: str) -> None:
        """Mark it as an error."""
        self.span.set_attribute("error.type", kind)
        self.span.set_status(Status(StatusCode.ERROR, reason))


class Spans:
    """Makes the spans of a service. `share` is the part of the records that it begins a trace for."""

    def __init__(self, service: str, endpoint: str, share: float) -> None:
        self._share = share
        url = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
        resource = Resource.create(
            {
                "service.namespace": "leadsman",
                "service.name": f"leadsman-{service}",
                "service.version": version("leadsman-common"),
            }
        )
        # which records begin a trace is not the SDK's choice; one that others began is followed where they sample it
        self._provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer("leadsman", version("leadsman-common"))

    def close(self) -> None:
        """Send what waits. A collector that does not answer holds nobody up for long."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces")
        closing.start()
        closing.join(_LAST_S)

    def hop(self) -> Hop:
        """The spans of a batch."""
        return Hop(self, self._share)

    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        parent: bytes | None = None,
        links: Iterable[bytes] = (),
        start_ns: int | None = None,
    ) -> Traced:
        """Begin a span; parent and links are values of `traceparent`, and what is no such value is passed over."""
        came = _context(parent)
        at = Context() if came is None else set_span_in_context(NonRecordingSpan(came), Context())
        linked = [Link(found) for found in map(_context, links) if found is not None]
        span = self._tracer.start_span(name, at, kind, attributes, linked, start_ns)
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span, Context()))
        return Traced(span, (TRACEPARENT, carrier[TRACEPARENT].encode()))


class Hop:
    """The spans of a batch, which end together: as errors where the batch raised, so that it comes again."""

    def __init__(self, spans: Spans, share: float) -> None:
        self._spans = spans
        self._share = share
        self._open: list[Traced] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """End those that are open."""
        ended, self._open = self._open, []
        for traced in ended:
            if error is not None:
                traced.failed(type(error).__name__, str(error))
            traced.span.end()

    def chosen(self) -> bool:
        """Whether the next record that ingest writes begins a trace."""
        return random.random() < self._share  # noqa: S311 - a sample

    def begin(self, topic: str, headers: Headers) -> Traced:
        """The span of a record of ingest: from when it was received, which its headers say."""
        received = dict(headers).get("received-ms")
        return self.send(topic, {}, start_ns=int(received) * 1_000_000 if received else None)

    def process(self, topic: str, partition: int, offset: int, headers: Headers, group: str) -> Traced | None:
        """The span of a record that is handled; None where no trace came with it, or what is none."""
        parent = traceparent(headers)
        if parent is None or _context(parent) is None:
            return None
        own: Attributes = {
            **operation("process", topic),
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
            "messaging.consumer.group.name": group,
        }
        return self._opened(self._spans.span(f"process {topic}", SpanKind.CONSUMER, own, parent=parent))

    def send(
        self,
        topic: str,
        attributes: Attributes,
        *,
        parent: bytes | None = None,
        links: Iterable[bytes] = (),
        start_ns: int | None = None,
    ) -> Traced:
        """The span of a record that is written; without a parent a trace begins here."""
        own = {**operation("send", topic), **attributes}
        return self._opened(
            self._spans.span(f"send {topic}", SpanKind.PRODUCER, own, parent=parent, links=links, start_ns=start_ns)
        )

    def _opened(self, traced: Traced) -> Traced:
        self._open.append(traced)
        return traced


def traceparent(headers: Headers) -> bytes | None:
    """The value of a record's `traceparent`, None where it has none."""
    return next((value for name, value in headers if name == TRACEPARENT and value), None)


def operation(name: str, topic: str) -> dict[str, str | int]:
    """The attributes of what is done with a topic's record."""
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": name,
        "messaging.operation.type": name,
        "messaging.destination.name": topic,
    }


def _context(header: bytes | None) -> SpanContext | None:
    """What a `traceparent` says, None where it says nothing."""
    if header is None:
        return None
    came = _W3C.extract({TRACEPARENT: header.decode("ascii", "replace")}, Context())
    found = get_current_span(came).get_span_context()
    return found if found.is_valid else None
