"""ingest-kafka: `python -m leadsman_ingest_kafka` reads the topics of LEADSMAN_KAFKA_SOURCES until SIGTERM. Wiring."""

from __future__ import annotations

import sys
from typing import Any

from leadsman_common.relay import Broker, Limits, serve
from leadsman_common.service import run
from leadsman_ingest_kafka.config import Settings

SERVICE = "ingest-kafka"


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    own = not settings.source_bootstrap
    broker = Broker(
        settings.kafka_bootstrap if own else settings.source_bootstrap,
        settings.source_group,
        {**(settings.kafka_options if own else {}), **settings.source_options},
    )
    limits = Limits(settings.batch_messages, settings.max_bad_in_a_row, settings.broken_s)
    serve(SERVICE, settings, log, broker, settings.sources(), limits)


if __name__ == "__main__":
    sys.exit(main())
