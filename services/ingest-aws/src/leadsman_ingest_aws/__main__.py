"""ingest-aws: `python -m leadsman_ingest_aws` reads LEADSMAN_KINESIS_STREAM until SIGTERM. Wiring only."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as SdkConfig

from leadsman_common import health, logs
from leadsman_common.kafka import AckedProducer
from leadsman_common.settings import SettingError, load, shown
from leadsman_common.stopping import on_signals
from leadsman_ingest_aws.checkpoints import Checkpoints, DynamoCheckpoints, FileCheckpoints
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.poll import SERVICE, Poller

# few and short: the poller retries by itself, and notices a stop while it waits
_SDK = SdkConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 2})
# a flush takes 35 s at most, an answer of AWS 40
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
        log.exception("left, what was not acknowledged is not checkpointed")
        return 1
    log.info("stopped: what was read is acknowledged and checkpointed")
    return 0


def _run(settings: Settings, stop: threading.Event, log: Any) -> None:
    producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
    kinesis = boto3.client(
        "kinesis",
        region_name=settings.region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=_SDK,
    )
    poller = Poller(settings, kinesis, _checkpoints(settings), producer, stop, log)
    port = health.serve(
        settings.http_host,
        settings.http_port,
        ready=lambda: poller.listed and producer.ready(),
        alive=lambda: time.monotonic() - poller.last_turn < _STUCK_S,
    )
    if port is not None:
        log.info("listening", port=port.port)
    try:
        poller.run()
    finally:
        if port is not None:
            port.close()


def _checkpoints(settings: Settings) -> Checkpoints:
    if not settings.checkpoint_table:
        return FileCheckpoints(Path(settings.state_dir), settings.stream_name)
    client = boto3.client(
        "dynamodb",
        region_name=settings.region or None,
        endpoint_url=settings.aws_endpoint_url or None,
        config=_SDK,
    )
    return DynamoCheckpoints(client, settings.checkpoint_table, settings.stream_name)


if __name__ == "__main__":
    sys.exit(main())
