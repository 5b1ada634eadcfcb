"""Leadsman's services as processes on the local stack: started, waited for, stopped, killed, started again.

The demo, the e2e tests and the benchmark use it. Each service is `python -m <module>` with settings made of the
stack's addresses; its pid file and log stand in the stack's run dir, so `stack.stop(run_dir)` finds orphans too.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import processes
from processes import LOOPBACK, StackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODULES = {
    "ingest-aws": "leadsman_ingest_aws",
    "ingest-gcp": "leadsman_ingest_gcp",
    "ingest-azure": "leadsman_ingest_azure",
    "ingest-kafka": "leadsman_ingest_kafka",
    "ingest-k8s": "leadsman_ingest_k8s",
    "normalizer": "leadsman_normalizer",
    "detector": "leadsman_detector",
    "notifier": "leadsman_notifier",
}
# what runs everywhere; the other ways in are started by name, with settings of their own
STREAM = ("ingest-aws", "ingest-gcp", "normalizer", "detector", "notifier")
REGION = "eu-west-1"
# what moto takes from anybody; the files keep a developer's own AWS profile out of it
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@dataclass(frozen=True)
class Addresses:
    """Where the services find the world. An empty cloud address leaves the setting out."""

    bootstrap: str
    redis_url: str = ""
    topic_prefix: str = ""
    aws_endpoint: str = ""  # moto, http://127.0.0.1:PORT
    kinesis_stream: str = ""
    pubsub_emulator: str = ""  # what PUBSUB_EMULATOR_HOST takes
    pubsub_subscription: str = ""  # projects/PROJECT/subscriptions/NAME

    def env(self) -> dict[str, str]:
        """Return the settings; all services get the same ones and read what they know."""
        common = {
            "LEADSMAN_KAFKA_BOOTSTRAP": self.bootstrap,
            "LEADSMAN_REDIS_URL": self.redis_url,
            "LEADSMAN_TOPIC_PREFIX": self.topic_prefix,
            "LEADSMAN_AWS_ENDPOINT_URL": self.aws_endpoint,
            "LEADSMAN_KINESIS_STREAM": self.kinesis_stream,
            "LEADSMAN_PUBSUB_SUBSCRIPTIONS": self.pubsub_subscription,
            "PUBSUB_EMULATOR_HOST": self.pubsub_emulator,
        }
        given = {name: value for name, value in common.items() if value}
        return {**given, "LEADSMAN_HTTP_HOST": LOOPBACK, "NO_PROXY": LOOPBACK, "no_proxy": LOOPBACK, **AWS_KEYS}


@dataclass
class Services:
    """The services of one run dir. An instance's name is its service's, or `service-2` and so on for more workers."""

    run_dir: Path
    addresses: Addresses
    tie_to_parent: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    _started: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)  # module and settings, by name
    _running: dict[str, processes.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folders that services are pointed at."""
        self.run_dir = self.run_dir.resolve()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        profile = self.run_dir / "aws-config"
        profile.write_text(f"[default]\nregion = {REGION}\n", encoding="ascii")
        self._base = {
            **self.addresses.env(),
            "AWS_CONFIG_FILE": str(profile),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PROFILE": "default",
            **self.extra,
        }

    def start(self, service: str, name: str = "", *, env: Mapping[str, str] | None = None) -> processes.Process:
        """Start one without waiting for it; `env` adds to its settings. Raises StackError if it runs already."""
        name = name or service
        if processes.find(self.run_dir, name):
            raise StackError(f"{name} already runs in {self.run_dir}")
        settings = {
            **self._base,
            "LEADSMAN_HTTP_PORT": str(processes.free_port()),
            "LEADSMAN_STATE_DIR": str(self.run_dir / f"{name}-state"),
            "LEADSMAN_DATA_DIR": str(self.run_dir / f"{name}-data"),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        }
        self._started[name] = (MODULES[service], settings)
        return self._spawn(name)

    def start_all(self, names: Iterable[str] = STREAM, *, timeout_s: float = 120.0) -> None:
        """Start these and wait until all are ready. Raises StackError with the log's end of the one that is not."""
        chosen = list(names)
        for name in chosen:
            self.start(name)
        for name in chosen:
            self.wait_ready(name, timeout_s=timeout_s)

    def wait_ready(self, name: str, *, timeout_s: float = 120.0) -> None:
        """Wait until its /readyz says yes. Raises StackError when it left or the time is over."""

        def answers(port: int) -> bool:
            return http_status(port, "/readyz") == http.HTTPStatus.OK

        processes.wait_ready(self.run_dir, self._running[name], answers, timeout_s=timeout_s)

    def running(self, name: str) -> bool:
        """Whether it runs."""
        return name in self._running and self._running[name].running()

    def port(self, name: str) -> int:
        """Its health port, where /metrics is too."""
        return self._running[name].port

    def pid(self, name: str) -> int:
        """Its process id."""
        return self._running[name].pid

    def stop(self, *names: str, grace_s: float = 15.0) -> None:
        """Stop these, or all that were started here: SIGTERM, and SIGKILL after `grace_s`."""
        chosen = list(names or self._running)
        processes.stop(self.run_dir, [self._running.pop(name) for name in chosen], grace_s=grace_s)

    def kill9(self, name: str) -> None:
        """Kill it as the kernel's out-of-memory killer would, and wait until it is gone."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        processes.stop(self.run_dir, [process], grace_s=10)

    def restart(self, name: str) -> processes.Process:
        """Start it again with the settings it had, on the same port, stopping it first where it runs."""
        if self.running(name):
            self.stop(name)
        return self._spawn(name)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Return the end of its log."""
        return processes.log_tail(self.run_dir, name, lines)

    def _spawn(self, name: str) -> processes.Process:
        module, settings = self._started[name]
        process = processes.spawn(
            self.run_dir,
            name,
            [sys.executable, "-m", module],
            port=int(settings["LEADSMAN_HTTP_PORT"]),
            env=settings,
            tie_to_parent=self.tie_to_parent,
        )
        self._running[name] = process
        return process


def http_status(port: int, path: str, *, timeout_s: float = 5.0) -> int:
    """GET from a loopback port; its status, or 0 where nothing answers."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
