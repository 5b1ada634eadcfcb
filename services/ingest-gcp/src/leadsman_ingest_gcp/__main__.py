"""ingest-gcp: `python -m leadsman_ingest_gcp` pulls LEADSMAN_PUBSUB_SUBSCRIPTIONS until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from google.cloud.pubsub_v1 import SubscriberClient

from leadsman_common import health, logs
from leadsman_common.kafka import AckedProducer
from leadsman_common.settings import SettingError, load, shown
from leadsman_common.stopping import on_signals
from leadsman_ingest_gcp.config import Settings
from leadsman_ingest_gcp.pull import SERVICE, Puller

# a flush takes 35 s at most, and patience waits 10
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT: 0; 1 when the world broke (restart it), 2 for a setting."""
    try:
        settings = load(Settings)
        log = logs.setup(SERVICE, settings.log_level)
    except (SettingError, KeyError) as error:
        sys.stderr.write(f"{SERVICE}: {error}\n")
        return 2
    stop = on_signals()
    log.info("starting", **shown(settings))
    try:
        _run(settings, stop, log)
    except Exception:
        log.exception("left, what Kafka did not acknowledge is not acknowledged")
        return 1
    log.info("stopped: what was pulled is acknowledged")
    return 0


def _run(settings: Settings, stop: threading.Event, log: Any) -> None:
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    options = {"api_endpoint": settings.pubsub_endpoint} if settings.pubsub_endpoint else None
    with SubscriberClient(client_options=options) as client:
        puller = Puller(settings, client, producer, stop, log)
        port = health.serve(
            settings.http_host,
            settings.http_port,
            ready=lambda: puller.pulling() and producer.ready(),
            alive=lambda: time.monotonic() - puller.last_turn < _STUCK_S,
        )
        if port is not None:
            log.info("listening", port=port.port)
        try:
            puller.run()
        finally:
            if port is not None:
                port.close()


if __name__ == "__main__":
    sys.exit(main())
