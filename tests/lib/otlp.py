"""A collector of OpenTelemetry on loopback: takes OTLP/HTTP as exporters post it, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(NamedTuple):
    """A span as it came; ids are hexadecimal, an absent parent is empty."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    kind: int
    error: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: list[str]


class Collector:
    """Listens until the context ends; `url` is what LEADSMAN_TRACES_ENDPOINT takes."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.paths: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.paths.add(self.path)
                outer.spans += _spans(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def until(self, condition: Any, timeout_s: float = 60) -> Any:
        """What `condition(spans)` gives once it gives something."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition(list(self.spans))):
            assert time.monotonic() < deadline, f"{len(self.spans)} spans, and none that is waited for"
            time.sleep(0.1)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _spans(request: Any) -> list[Seen]:
    return [
        Seen(
            _plain(group.resource.attributes)["service.name"],
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.message if span.status.code == 2 else "",
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _plain(span.attributes),
            [link.span_id.hex() for link in span.links],
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
