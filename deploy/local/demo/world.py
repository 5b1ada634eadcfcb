"""What the demo runs in: a folder of its own, Kafka, Redis, the clouds' stand-ins, the services, and the ways in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import emulators
import processes
import stack
import transports
from stories import Cloud
from view import Screen

import services
from leadsman_common import topics

_MARK = ".leadsman-demo"
FAILED = ".failed"  # a file of this name says that the logs are wanted
_PARTITIONS = 2


@dataclass(frozen=True)
class World:
    """What runs: its addresses, and the ways in."""

    bootstrap: str
    ways: dict[Cloud, transports.Transport]


@contextmanager
def run_dir(path: Path, screen: Screen, *, keep: bool) -> Iterator[Path]:
    """Give an empty folder of ours, and stop whatever runs in it at the end; its logs stay where something failed."""
    path = path.resolve()
    if path.exists() and any(path.iterdir()) and not (path / _MARK).exists():
        raise processes.StackError(f"{path} holds something else; name another with --run-dir")
    if stopped := stack.stop(path):
        screen.line(f"  a demo was still up; stopped {', '.join(stopped)}")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    (path / _MARK).touch()
    done = False
    try:
        yield path
        done = True
    finally:
        good = done and not (path / FAILED).exists()
        if not (keep and done):
            with screen.step("stopped everything"):
                _stop(path)
            if good:
                shutil.rmtree(path, ignore_errors=True)
        if not good:
            screen.line(f"  logs are in {path}")


def attach(bootstrap: str, aws_endpoint: str) -> World:
    """The ways into a stack that runs already, such as docker compose's; no stand-in for Pub/Sub is part of it."""
    kinesis = transports.Kinesis(aws_endpoint)
    kinesis.create()
    return World(bootstrap, {"aws": kinesis, "gcp": transports.RawGcp(bootstrap)})


def _stop(run_dir: Path) -> None:
    """The services in good order; what only holds data that is thrown away need not write it down."""
    own = [process for process in processes.find_all(run_dir) if process.name in services.MODULES]
    processes.stop(run_dir, own, grace_s=10)
    stack.stop(run_dir, grace_s=0.5)


def start(run_dir: Path, screen: Screen, *, tie_to_parent: bool) -> World:
    """Start everything, saying how long each part took; raises StackError. `tie_to_parent`: all dies with us."""
    with screen.step("Kafka and Redis"):
        running = stack.start(run_dir, create_topics=False, tie_to_parent=tie_to_parent)
    with screen.step("topics"):
        declared = topics.load(stack.TOPICS_DIR).values()
        topics.create(running.bootstrap, declared, max_partitions=_PARTITIONS)
    with screen.step("stand-in for AWS (moto): Kinesis"):
        aws_endpoint = emulators.start_moto(run_dir, tie_to_parent=tie_to_parent)
        kinesis = transports.Kinesis(aws_endpoint)
        kinesis.create()
    names = list(services.STREAM)
    gcp: transports.Transport
    with screen.step("stand-in for Google Cloud (pstest): Pub/Sub"):
        emulator, why = emulators.start_pstest(run_dir, tie_to_parent=tie_to_parent)
        if emulator:
            pubsub = transports.PubSub(emulator)
            pubsub.create()
            gcp = pubsub
        else:
            gcp = transports.RawGcp(running.bootstrap)
            names.remove("ingest-gcp")
    if not emulator:
        screen.line(f"  without it: {why}", style="yellow")
        screen.line("  so the GKE records are produced to raw.gcp from the file; ingest-gcp is not run", style="yellow")
    addresses = services.Addresses(
        running.bootstrap,
        running.redis_url,
        aws_endpoint=aws_endpoint,
        kinesis_stream=transports.STREAM,
        pubsub_emulator=emulator or "",
        pubsub_subscription=transports.SUBSCRIPTION if emulator else "",
    )
    with screen.step(", ".join(names)):
        services.Services(run_dir, addresses, tie_to_parent).start_all(names)
    return World(running.bootstrap, {"aws": kinesis, "gcp": gcp})
