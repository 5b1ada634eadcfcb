"""ingest-azure: `python -m leadsman_ingest_azure` reads LEADSMAN_EVENTHUBS until SIGTERM. Wiring only.

A case of any Kafka topic as a source: leadsman_common.relay does the work.
"""

from __future__ import annotations

import sys
from typing import Any

from leadsman_common.relay import Broker, Limits, serve
from leadsman_common.service import run
from leadsman_ingest_azure.config import Settings

SERVICE = "ingest-azure"


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    broker = Broker(settings.bootstrap(), settings.eventhubs_group, settings.options())
    limits = Limits(settings.batch_messages, settings.max_bad_in_a_row, settings.broken_s)
    serve(SERVICE, settings, log, broker, settings.sources(), limits)


if __name__ == "__main__":
    sys.exit(main())
