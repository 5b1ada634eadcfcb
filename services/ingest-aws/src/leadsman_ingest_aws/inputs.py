"""The inputs that the settings ask for, made and run: a thread each, and the first that breaks ends them all."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from leadsman_common.since import span_ms
from leadsman_ingest_aws.accounts import Accounts
from leadsman_ingest_aws.checkpoints import FileCheckpoints
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.intake import Intake
from leadsman_ingest_aws.kinesis import StreamReader
from leadsman_ingest_aws.leases import DynamoLeases, Leases, SoleLeases
from leadsman_ingest_aws.log_groups import LogGroupReader
from leadsman_ingest_aws.objects import Objects
from leadsman_ingest_aws.places import Place
from leadsman_ingest_aws.seen import DynamoPages, FilePages, SeenPages
from leadsman_ingest_aws.sqs import QueueReader

# a delivery to Kafka takes 25 s at most, an answer of AWS 60
_STUCK_S = 180


class Input(Protocol):
    """What reads one place."""

    begun: bool
    last_turn: float

    def run(self) -> None:
        """Read until stopped. Raises what broke."""
        ...


class Inputs:
    """All inputs of a worker."""

    def __init__(
        self, settings: Settings, accounts: Accounts, intake: Intake, stop: threading.Event, log: Any, since: str = ""
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._intake = intake
        self._stop = stop
        self._log = log
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._leases: list[Leases] = []
        self._broken: list[BaseException] = []
        self._inputs: list[Input] = []
        if since:
            self._inputs.append(self._log_groups(since, once=True))
        else:
            self._inputs += [self._stream(stream) for stream in settings.streams]
            self._inputs += [self._queue(queue) for queue in settings.queues]
            if settings.log_groups:
                self._inputs.append(self._log_groups(settings.log_since, once=False))

    def run(self) -> None:
        """Run all until `stop` is set, or each has come to an end. Raises what broke first."""
        threads = [threading.Thread(target=self._guarded, args=(one.run,), name="input") for one in self._inputs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for leases in self._leases:
            leases.close()
        if self._broken:
            raise self._broken[0]

    def begun(self) -> bool:
        """Whether every input has had an answer of AWS."""
        return all(one.begun for one in self._inputs)

    def alive(self) -> bool:
        """Whether none of them hangs."""
        return all(time.monotonic() - one.last_turn < _STUCK_S for one in self._inputs)

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised again where all threads are joined
            self._broken.append(error)
            self._stop.set()

    # --- making them -------------------------------------------------------------------------------------------

    def _stream(self, stream: Place) -> Input:
        client = self._accounts.client("kinesis", stream.region, stream.account)
        leases = self._leases_of(stream.id, stream.name)
        return StreamReader(self._settings, stream, client, leases, self._intake, self._stop, self._log)

    def _queue(self, queue: Place) -> Input:
        client = self._accounts.client("sqs", queue.region, queue.account)
        objects = Objects(self._settings, self._accounts, queue.account)
        return QueueReader(self._settings, queue, client, objects, self._intake, self._stop, self._log)

    def _log_groups(self, since: str, *, once: bool) -> Input:
        now_ms = time.time_ns() // 1_000_000
        # a past that is read once has checkpoints of its own, so that it can be gone on with
        kind = f"backfill:{since}" if once else "log-groups"
        return LogGroupReader(
            self._settings,
            self._accounts,
            self._leases_of(kind, kind),
            lambda group: self._pages(f"{kind}:{group.id}"),
            self._intake,
            self._stop,
            self._log,
            since_ms=span_ms(since, now_ms),
            until_ms=now_ms if once else 0,
        )

    def _leases_of(self, stream: str, file: str) -> Leases:
        settings = self._settings
        leases: Leases
        if settings.checkpoint_table:
            client = self._accounts.client("dynamodb")
            leases = DynamoLeases(
                client, settings.checkpoint_table, stream, self._worker, settings.lease_s, self._log
            ).start()
        else:
            leases = SoleLeases(FileCheckpoints(Path(settings.state_dir), file))
        self._leases.append(leases)
        return leases

    def _pages(self, name: str) -> SeenPages:
        settings = self._settings
        if settings.checkpoint_table:
            return DynamoPages(self._accounts.client("dynamodb"), settings.checkpoint_table, name)
        return FilePages(Path(settings.state_dir), name)
