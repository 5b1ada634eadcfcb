"""A small service on the common HTTP server, for tests/integration/test_http_server.py: each body a record of raw.k8s.

Its argument is the bootstrap address, its settings the environment's; it says its port on stdout, and ends at SIGTERM.
"""

import dataclasses
import sys

import msgspec

from leadsman_common import logs
from leadsman_common.http_server import HttpServer, Refused, Reply, Taken, json_body, plain_refusal
from leadsman_common.http_settings import Listening
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.outbox import Outbox
from leadsman_common.settings import load, setting
from leadsman_common.stopping import on_signals

_decoder = msgspec.json.Decoder()


class Posted:
    source = "posted"

    def __init__(self, topic):
        self._topic = topic

    def admit(self, head):
        if head.path != "/in":
            raise Refused(404, "not here")
        if head.headers.get("x-key", "") != "right":
            raise Refused(401, "wrong key")

    def take(self, head, body):
        json_body(_decoder, body)
        name = dict(pair[0] for pair in (head.client_certificate or {}).get("subject", ())).get("commonName", "")
        return Taken([Outgoing(self._topic, None, bytes(body))], Reply(200, f"stored {name}".encode()))

    def refusal(self, head, refused):
        del head
        return plain_refusal(refused)


@dataclasses.dataclass(frozen=True)
class Settings(Listening):
    topic: str = setting("where to", "")


def main():
    stop = on_signals()
    settings = load(Settings)
    outbox = Outbox(AckedProducer(sys.argv[1], timeout_s=settings.answer_timeout_s), stalled_s=2)
    server = HttpServer(settings, Posted(settings.topic), outbox, service="test", log=logs.setup("test"))
    server.start()
    print(server.port, flush=True)  # noqa: T201 - what the test waits for
    stop.wait()
    server.close()
    outbox.close()


main()
