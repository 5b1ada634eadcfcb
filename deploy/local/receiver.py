"""An HTTP endpoint on loopback that keeps what is posted to it: where the notifier's webhook sink ends in a run.

Tests, the benchmark and the demo may use it; it stands in for no product, it only listens.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOOPBACK = "127.0.0.1"


class Receiver:
    """Answers 200 to every POST and keeps its JSON body in `bodies`, in order of arrival.

    While `open` is cleared it answers nothing; what waits then is turned away once `open` is set again.
    """

    def __init__(self) -> None:
        """Listen on a free port."""
        self.bodies: list[Any] = []
        self.open = threading.Event()
        self.open.set()
        bodies, is_open = self.bodies, self.open

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                body = self.rfile.read(size)
                held = not is_open.is_set()
                is_open.wait()
                if held or len(body) < size:  # short when the sender was killed
                    self.close_connection = True
                    return
                bodies.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Requests are not news."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_port}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True, name="receiver").start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop listening."""
        self.close()
