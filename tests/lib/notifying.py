"""What the notifier's tests share: an HTTP receiver that answers as it is told, alerts, and waiting."""

import contextlib
import copy
import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

EXAMPLE = Path(__file__).parents[2] / "schemas" / "examples" / "alerts" / "privileged-container.json"


class Receiver:
    """A real HTTP server: keeps each request, answers with the script's next answer, and 200 after its end.

    `tls` is a context for HTTPS.
    """

    def __init__(self, port=0, tls=None):
        self.requests = []
        self.answers = []
        self.connections = []
        self.always = (200, {}, b"ok")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                receiver.connections.append(self.connection)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((time.monotonic(), dict(self.headers), json.loads(body), self.path))
                status, headers, answer = receiver.answers.pop(0) if receiver.answers else receiver.always
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ids(self):
        return [body["id"] for _, _, body, _ in list(self.requests)]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:  # or they would go on being answered
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def alert(alert_id="a1", **changes):
    return {**copy.deepcopy(json.loads(EXAMPLE.read_text(encoding="utf-8"))), "id": alert_id, **changes}


def until(condition, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return value


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.err.read_text()


def dead_letters(bootstrap, topics, count):
    """The first `count` records of alerts.dlq, as (value, headers)."""
    return kept(bootstrap, topics["alerts.dlq"], count)


def kept(bootstrap, topic, count):
    """The first `count` records of a topic of one partition, as (value, headers)."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "dlq-reader", "enable.auto.commit": False})
    client.assign([TopicPartition(topic, 0, 0)])
    found = []
    try:
        until(lambda: found.extend(client.consume(10, timeout=0.2)) or len(found) >= count)
    finally:
        client.close()
    assert not any(message.error() for message in found)
    return [(message.value(), dict(message.headers())) for message in found]


def committed(bootstrap, topics, group):
    """Whether a group has committed the end of every partition of alerts."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        partitions = [TopicPartition(topics["alerts"], p) for p in range(3)]
        offsets = client.committed(partitions, timeout=10)
        ends = [client.get_watermark_offsets(p, timeout=10)[1] for p in partitions]
        return all(max(o.offset, 0) == end for o, end in zip(offsets, ends, strict=True))
    except KafkaException:  # a topic that was made just now
        return False
    finally:
        client.close()
