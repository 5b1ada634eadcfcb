"""ingest-gcp: `python -m leadsman_ingest_gcp` pulls LEADSMAN_PUBSUB_SUBSCRIPTIONS until SIGTERM, and takes pushes.

`--since 30d` reads LEADSMAN_STORAGE_EXPORTS once, and ends; given again it goes on where it stopped. Wiring only.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import Any

from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.storage import Client

from leadsman_common.http_server import HttpServer
from leadsman_common.inventory import Inventory
from leadsman_common.outbox import Outbox
from leadsman_common.pulse import Pulse
from leadsman_common.receipts import IngestProducer
from leadsman_common.service import MISCONFIGURED, listening, run
from leadsman_common.settings import SettingError
from leadsman_common.since import span_ms
from leadsman_common.stopping import on_signals
from leadsman_common.topics import name
from leadsman_ingest_gcp import gke
from leadsman_ingest_gcp.config import SERVICE, Settings
from leadsman_ingest_gcp.exports import Exports
from leadsman_ingest_gcp.pull import Puller
from leadsman_ingest_gcp.push import Push
from leadsman_ingest_gcp.tokens import KeySet

# a flush takes 35 s at most, and patience waits 10
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}")
    parser.add_argument(
        "--since", default="", help="read LEADSMAN_STORAGE_EXPORTS from then to now, and end: 30d, 6h, a time"
    )
    since = parser.parse_args().since
    if not since:
        return run(SERVICE, Settings, _run)
    try:
        since_ms = span_ms(since, time.time_ns() // 1_000_000)
    except ValueError as error:
        sys.stderr.write(f"{SERVICE}: --since {since!r} {error}\n")
        return MISCONFIGURED
    return run(SERVICE, Settings, lambda settings, log: _read_exports(settings, log, since_ms))


def _read_exports(settings: Settings, log: Any, since_ms: int) -> None:
    if not settings.storage_exports:
        raise SettingError("LEADSMAN_STORAGE_EXPORTS is not set: --since reads exports of Cloud Logging")
    stop = on_signals()
    producer = IngestProducer(SERVICE, settings)
    exports = Exports(settings, Client(), producer, stop, log, since_ms)
    alive = lambda: time.monotonic() - exports.last_turn < _STUCK_S  # noqa: E731
    with listening(settings, log, ready=producer.ready, alive=alive):
        exports.run()


def _run(settings: Settings, log: Any) -> None:
    if not settings.pubsub_subscriptions and not settings.listens:
        raise SettingError("only LEADSMAN_STORAGE_EXPORTS is set: it is read with --since")
    stop = on_signals()
    with ExitStack() as stack:
        ready, alive = [], []
        if settings.listens:
            outbox, server = _pushed(settings, log, stack)
            ready.append(outbox.ready)
            alive.append(server.alive)
        puller = None
        if settings.pubsub_subscriptions:
            producer = IngestProducer(SERVICE, settings)
            options = {"api_endpoint": settings.pubsub_endpoint} if settings.pubsub_endpoint else None
            client = stack.enter_context(SubscriberClient(client_options=options))
            puller = pulling = Puller(settings, client, producer, stop, log)
            ready.append(lambda: pulling.pulling() and producer.ready())
            alive.append(lambda: time.monotonic() - pulling.last_turn < _STUCK_S)
        stack.enter_context(Pulse(SERVICE, settings, ["raw.gcp"], log))
        stack.callback(Inventory(settings, gke.scopes(settings), settings.inventory_s, log).start().close)
        with listening(settings, log, ready=lambda: all(one() for one in ready), alive=lambda: all(o() for o in alive)):
            if puller is not None:
                puller.run()
            else:
                stop.wait()


def _pushed(settings: Settings, log: Any, stack: ExitStack) -> tuple[Outbox, HttpServer]:
    """Take pushes until the stack is closed."""
    keys = KeySet(settings.push_keys_url, log)
    stack.callback(keys.close)
    producer = IngestProducer(SERVICE, settings, timeout_s=settings.answer_timeout_s)
    outbox = Outbox(producer)
    stack.callback(outbox.close)
    push = Push(name("raw.gcp", settings.topic_prefix), keys, settings.expected(), log)
    server = HttpServer(settings, push, outbox, service=SERVICE, log=log)
    server.start()
    stack.callback(server.close)
    return outbox, server


if __name__ == "__main__":
    sys.exit(main())
