"""ingest-gcp: `python -m leadsman_ingest_gcp` pulls LEADSMAN_PUBSUB_SUBSCRIPTIONS until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import time
from typing import Any

from google.cloud.pubsub_v1 import SubscriberClient

from leadsman_common.kafka import AckedProducer
from leadsman_common.service import listening, run
from leadsman_common.stopping import on_signals
from leadsman_ingest_gcp.config import Settings
from leadsman_ingest_gcp.pull import SERVICE, Puller

# a flush takes 35 s at most, and patience waits 10
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    stop = on_signals()
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    options = {"api_endpoint": settings.pubsub_endpoint} if settings.pubsub_endpoint else None
    with SubscriberClient(client_options=options) as client:
        puller = Puller(settings, client, producer, stop, log)
        with listening(
            settings,
            log,
            ready=lambda: puller.pulling() and producer.ready(),
            alive=lambda: time.monotonic() - puller.last_turn < _STUCK_S,
        ):
            puller.run()


if __name__ == "__main__":
    sys.exit(main())
