"""The whole stream for the end-to-end tests: stack, cloud stand-ins and all five services, started once."""

from pathlib import Path

import otlp
import pytest


@pytest.fixture(scope="package")
def collector():
    """An OpenTelemetry collector that every record's trace is sent to."""
    with otlp.Collector() as collector:
        yield collector


@pytest.fixture(scope="package")
def receiver(local):
    """The HTTP endpoint that the notifier's webhook sink posts to; `.bodies` is what came."""
    with local("receiver").Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def stream(local, run_dir, stack, moto_endpoint, pubsub_emulator, receiver, collector):
    """The running pipeline of deploy/local/pipeline.py. Its Redis database is not the one that other tests empty."""
    kit = local("pipeline")
    redis_url = stack.redis_url.removesuffix("/0") + "/1"
    world = kit.World(stack.bootstrap, redis_url, moto_endpoint, pubsub_emulator, receiver.url)
    traced = {
        "LEADSMAN_TRACES_ENDPOINT": collector.url,
        "LEADSMAN_TRACES_SAMPLE": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with kit.Pipeline(run_dir, world, extra=traced) as pipeline:
        pipeline.services.start_all(pipeline.service_names())
        yield pipeline


@pytest.fixture(scope="package")
def records():
    """records("eks"): the lines of that file, as they are."""
    folder = Path(__file__).parent / "records"
    return lambda cloud: (folder / f"{cloud}.ndjson").read_bytes().splitlines()
