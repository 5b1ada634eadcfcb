"""`/healthz`, `/readyz` and `/metrics` of a service, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class Health:
    """The HTTP port of a service. `ready` is asked at each /readyz; `alive` at each /healthz."""

    def __init__(
        self, host: str, port: int, ready: Callable[[], bool], alive: Callable[[], bool] = lambda: True
    ) -> None:
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/healthz": lambda: _verdict(alive()),
            "/readyz": lambda: _verdict(ready()),
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest()),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                code, kind, body = answer() if answer else (404, "text/plain", b"not found\n")
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                """Probes are not news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True, name="health").start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def serve(host: str, port: int, ready: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> Health | None:
    """Start the port, or nothing where port is negative."""
    return Health(host, port, ready, alive) if port >= 0 else None


def _verdict(good: bool) -> tuple[int, str, bytes]:
    return (200, "text/plain", b"ok\n") if good else (503, "text/plain", b"not ready\n")
