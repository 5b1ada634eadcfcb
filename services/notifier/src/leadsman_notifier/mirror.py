"""alerts -> alerts.ocsf: each alert as JSON in OCSF's form (leadsman_common.ocsf), in a group and thread of its own.

It is the notifier's work and not the detector's: the detector writes one record for an alert and is done, a change of
OCSF's needs no release of it, and what fails here holds no detection up. The offset is committed after Kafka has it.
"""

from __future__ import annotations

import json
import threading
from importlib.metadata import version
from typing import Any

from confluent_kafka import Message

from leadsman_common.alert_stream import EVENT_TYPE
from leadsman_common.alerts import Alert, iso_time
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import MAX_MESSAGE_BYTES, AckedProducer, Outgoing, consume_loop, consumer
from leadsman_common.metrics import FILTERED, PRODUCED, RECEIVED
from leadsman_common.ocsf import VERSION, to_ocsf
from leadsman_common.registry import RegistryAway
from leadsman_common.topics import name as topic_name
from leadsman_common.wire import ASK_S, Wire
from leadsman_notifier.config import Settings

SERVICE = "notifier"
MAX_IDS = 100_000  # of the latest alerts: one that comes again is an update
GROUP = "leadsman-notifier.ocsf"  # no channel has a dot in its name


class Mirror:
    """The loop."""

    def __init__(
        self, settings: Settings, producer: AckedProducer, wire: Wire[Alert], stop: threading.Event, log: Any
    ) -> None:
        self._settings = settings
        self._wire = wire
        self._producer = producer
        self._stop = stop
        self._log = log
        self._topic = topic_name("alerts.ocsf", settings.topic_prefix)
        self._version = version("leadsman-common")
        self._told: dict[str, None] = {}  # ids, the latest last; all of one are on one partition

    def run(self) -> None:
        """Read until told to stop. Raises what a broken world raises, with the offsets uncommitted."""
        group = f"{self._settings.topic_prefix}{GROUP}"
        options = {"queued.max.messages.kbytes": "4096", "fetch.message.max.bytes": "1048576"}
        client = consumer(self._settings.kafka_bootstrap, group, {**options, **self._settings.kafka_options})
        alerts = topic_name("alerts", self._settings.topic_prefix)
        consume_loop(client, [alerts], self._handle, self._stop.is_set, group=group)

    def _handle(self, messages: list[Message]) -> list[Message]:
        out = []
        for message in messages:
            RECEIVED.labels(SERVICE, "alerts:ocsf").inc()
            try:
                alert = self._decode(message.value() or b"")
            except InvalidEvent:  # a channel's loop dead-letters it
                FILTERED.labels(SERVICE, "ocsf_undecodable").inc()
                continue
            if alert is None:
                return []  # none of the batch is committed
            body = self._body(alert)
            headers = (
                ("ce_specversion", b"1.0"),
                ("ce_id", f"{alert['id']}-{alert['revision']}".encode("utf-8", "replace")),
                ("ce_source", b"/leadsman/notifier"),
                ("ce_type", f"{EVENT_TYPE}.ocsf".encode()),
                ("ce_time", iso_time(alert["time"]).encode()),
                ("ce_dataschema", f"https://schema.ocsf.io/{VERSION}/classes/detection_finding".encode()),
                ("content-type", b"application/json"),
            )
            out.append(Outgoing(self._topic, message.key(), body, tuple(h for h in headers if h[1])))
        self._producer.send(out)
        PRODUCED.labels(SERVICE, self._topic).inc(len(out))
        return messages

    def _decode(self, value: bytes) -> Alert | None:
        """The alert, however long a registry is away that must be asked; None once told to stop meanwhile."""
        while True:
            try:
                return self._wire.decode(value)
            except RegistryAway as error:
                self._log.warning("alerts.ocsf waits for the schema registry", reason=str(error))
            if self._stop.wait(ASK_S):
                return None

    def _body(self, alert: Alert) -> bytes:
        """The JSON; evidence out of the middle is left out where a record would be too large."""
        again = self._was_told(alert["id"])
        while True:
            body = json.dumps(to_ocsf(alert, self._version, again=again), separators=(",", ":")).encode()
            kept = len(alert["evidence"]) // 2
            if len(body) <= MAX_MESSAGE_BYTES or kept == 0:
                return body
            evidence = alert["evidence"][: (kept + 1) // 2] + alert["evidence"][len(alert["evidence"]) - kept // 2 :]
            alert = {**alert, "evidence": evidence}

    def _was_told(self, alert_id: str) -> bool:
        """Whether this process has told of it before, which it does from now on."""
        before = alert_id in self._told
        self._told.pop(alert_id, None)
        self._told[alert_id] = None
        if len(self._told) > MAX_IDS:
            del self._told[next(iter(self._told))]
        return before
