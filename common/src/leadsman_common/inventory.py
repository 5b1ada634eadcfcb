"""A cloud's own list of clusters, asked for now and then and written to `sightings`: some have no log that tells so.

An ingest service that can ask its cloud gives a function for each scope. What the cloud refuses, or Kafka, is said and
tried again at the next turn: the logs go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from leadsman_common import metrics
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.settings import Common
from leadsman_common.sightings import SIGHTINGS, Listed, ListedCluster, encode
from leadsman_common.topics import name as topic_name

Ask = Callable[[], list[ListedCluster]]


class Inventory:
    """Asks for every scope (`aws/ACCOUNT/REGION`, `gcp/PROJECT`) each `every_s` seconds, on a thread of its own."""

    def __init__(self, settings: Common, scopes: Mapping[str, Ask], every_s: float, log: Any) -> None:
        self._scopes, self._every_s, self._log = scopes, every_s, log
        self._topic = topic_name(SIGHTINGS, settings.topic_prefix)
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options, linger_ms=0)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inventory", daemon=True)

    def start(self) -> Inventory:
        """Begin, where there is anything to ask for."""
        if self._scopes:
            self._thread.start()
        return self

    def close(self) -> None:
        """Ask no more; a question that is out is not waited for."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            for scope, ask in self._scopes.items():
                try:
                    listed = Listed(scope, time.time_ns() // 1_000_000, ask())
                    self._producer.send([Outgoing(self._topic, listed.key.encode(), encode(listed))])
                except Exception as error:  # noqa: BLE001 - of an SDK, or Kafka's: it must not end what reads the logs
                    metrics.failed("upstream")
                    self._log.warning("the clusters of a scope cannot be listed", scope=scope, error=str(error)[:500])
            self._closed.wait(self._every_s)
