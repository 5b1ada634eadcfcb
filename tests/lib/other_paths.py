"""The ways in beside those of AWS: Pub/Sub pulled, Pub/Sub pushing, an API server's webhook.

Each has `module` and `env`, takes messages with `put`, is told with `reach` that a service is up, and says with
`waiting` how many messages upstream still holds. A sender sends a message again until it is answered rightly.
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from push_tokens import AUDIENCE, EMAIL, JWKS, token

# Pub/Sub's shortest; what is not acknowledged within it is delivered again
ACK_DEADLINE_S = 10


class Gcp:
    """A topic and its subscriptions in the stand-in. PUBSUB_EMULATOR_HOST is set here too."""

    def __init__(self, host: str, subscriptions: int = 1, *, exactly_once: bool = False) -> None:
        self.publisher, self.subscriber = PublisherClient(), SubscriberClient()
        project = f"projects/p-{secrets.token_hex(4)}"
        self.topics = [f"{project}/topics/audit-{at}" for at in range(subscriptions)]
        self.subscriptions = [f"{project}/subscriptions/audit-{at}" for at in range(subscriptions)]
        for topic, subscription in zip(self.topics, self.subscriptions, strict=True):
            self.publisher.create_topic(name=topic)
            self.subscriber.create_subscription(
                {
                    "name": subscription,
                    "topic": topic,
                    "ack_deadline_seconds": ACK_DEADLINE_S,
                    "enable_exactly_once_delivery": exactly_once,
                }
            )
        self.env = {
            "PUBSUB_EMULATOR_HOST": host,
            "LEADSMAN_PUBSUB_SUBSCRIPTIONS": ",".join(self.subscriptions),
        }

    def publish(self, datas: Sequence[bytes], at: int = 0, **attributes: str) -> list[str]:
        """Publish; returns the message ids."""
        futures = [self.publisher.publish(self.topics[at], data, **attributes) for data in datas]
        return [future.result(10) for future in futures]

    def waiting(self, at: int = 0) -> int:
        """How many messages the subscription delivers now; none of them is acknowledged."""
        answer = self.subscriber.pull(subscription=self.subscriptions[at], max_messages=1000, return_immediately=True)
        return len(answer.received_messages)

    def close(self) -> None:
        self.publisher.stop()
        self.subscriber.close()


class Pull:
    """One subscription that is pulled."""

    module = "leadsman_ingest_gcp"
    topic = "raw.gcp"

    def __init__(self, gcp: Gcp) -> None:
        self._gcp = gcp
        self.env = gcp.env

    def put(self, messages: Sequence[str]) -> None:
        self._gcp.publish([text.encode() for text in messages])

    def reach(self, service: Any) -> None:
        """The service comes by itself."""

    def waiting(self) -> int:
        """What nobody holds; what a dead worker held comes after its deadline."""
        return self._gcp.waiting()

    def close(self) -> None:
        self._gcp.close()


class _Posted:
    """Messages that a sender posts one by one, in order, until each is answered with success."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self._pending: list[str] = []
        self._port = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, messages: Sequence[str]) -> None:
        self._pending += messages

    def reach(self, service: Any) -> None:
        """Where the service listens now; waits until it does."""
        deadline = time.monotonic() + 120
        while not (lines := service.lines("taking requests")):
            assert service.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self._port = lines[-1]["port"]

    def waiting(self) -> int:
        return len(self._pending)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(0.05):
            if not self._pending or not self._port:
                continue
            status = self._post(self._pending[0])
            self.statuses.append(status)
            if 200 <= status < 300:
                self._pending.pop(0)

    def _post(self, text: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        path, body, headers = self.request(text)
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def request(self, text: str) -> tuple[str, bytes, dict[str, str]]:
        """Path, body and headers of a message."""
        raise NotImplementedError


class Keys(BaseHTTPRequestHandler):
    """Google's address of keys, of the test's own making; away where the server says so."""

    def do_GET(self) -> None:
        self.send_response(503 if getattr(self.server, "away", False) else 200)
        self.end_headers()
        self.wfile.write(JWKS)

    def log_message(self, *_args: object) -> None:
        pass


def serve_keys() -> ThreadingHTTPServer:
    """The address, serving; shut it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def push_env(keys: ThreadingHTTPServer) -> dict[str, str]:
    """The settings of a service that takes pushes."""
    return {
        "LEADSMAN_LISTEN_PORT": "0",
        "LEADSMAN_PUSH_AUDIENCES": AUDIENCE,
        "LEADSMAN_PUSH_EMAILS": EMAIL,
        "LEADSMAN_PUSH_KEYS_URL": f"http://127.0.0.1:{keys.server_port}/certs",
    }


class Push(_Posted):
    """A push subscription."""

    module = "leadsman_ingest_gcp"
    topic = "raw.gcp"

    def __init__(self) -> None:
        self._keys = serve_keys()
        self.env = {**push_env(self._keys), "LEADSMAN_ANSWER_TIMEOUT_S": "2"}
        super().__init__()

    def request(self, text: str) -> tuple[str, bytes, dict[str, str]]:
        name = json.loads(text)["auditID"]
        body = {"message": {"data": base64.b64encode(text.encode()).decode(), "messageId": name}, "subscription": "s"}
        return "/pubsub/push", json.dumps(body).encode(), {"Authorization": f"Bearer {token()}"}

    def close(self) -> None:
        super().close()
        self._keys.shutdown()
        self._keys.server_close()


class Webhook(_Posted):
    """An API server's audit webhook, a batch an event."""

    module = "leadsman_ingest_k8s"
    topic = "raw.k8s"
    token = "0123456789abcdef-prod"

    def __init__(self, folder: Path) -> None:
        (folder / "senders").write_text(f"prod token:{self.token}\n")
        self.env = {
            "LEADSMAN_LISTEN_PORT": "0",
            "LEADSMAN_AUDIT_SENDERS": str(folder / "senders"),
            "LEADSMAN_ANSWER_TIMEOUT_S": "2",
        }
        super().__init__()

    def request(self, text: str) -> tuple[str, bytes, dict[str, str]]:
        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[' + text.encode() + b"]}"
        return "/audit/prod?timeout=30s", body, {"Authorization": f"Bearer {self.token}"}
