"""ingest-aws: `python -m leadsman_ingest_aws` reads LEADSMAN_KINESIS_STREAM until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Literal

import boto3
from botocore.config import Config as SdkConfig

from leadsman_common.kafka import AckedProducer
from leadsman_common.service import listening, run
from leadsman_common.stopping import on_signals
from leadsman_ingest_aws.checkpoints import Checkpoints, DynamoCheckpoints, FileCheckpoints
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.poll import SERVICE, Poller

# few and short: the poller retries by itself, and notices a stop while it waits
_SDK = SdkConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 2})
# a flush takes 35 s at most, an answer of AWS 40
_STUCK_S = 120


def main() -> int:
    """Run until SIGTERM or SIGINT; see leadsman_common.service for the exit code."""
    return run(SERVICE, Settings, _run)


def _run(settings: Settings, log: Any) -> None:
    stop = on_signals()
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    kinesis = _client("kinesis", settings)
    poller = Poller(settings, kinesis, _checkpoints(settings), producer, stop, log)
    with listening(
        settings,
        log,
        ready=lambda: poller.listed and producer.ready(),
        alive=lambda: time.monotonic() - poller.last_turn < _STUCK_S,
    ):
        poller.run()


def _checkpoints(settings: Settings) -> Checkpoints:
    if not settings.checkpoint_table:
        return FileCheckpoints(Path(settings.state_dir), settings.stream_name)
    return DynamoCheckpoints(_client("dynamodb", settings), settings.checkpoint_table, settings.stream_name)


def _client(service: Literal["kinesis", "dynamodb"], settings: Settings) -> Any:
    return boto3.client(
        service,
        region_name=settings.region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=_SDK,
    )


if __name__ == "__main__":
    sys.exit(main())
