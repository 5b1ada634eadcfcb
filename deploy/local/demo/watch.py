"""Watching the stream: what reached each topic, the alerts, and what each hop of an alert's last event took.

It reads the topics beside the services, in no consumer group, so it changes nothing for them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from leadsman_common.alerts import Alert, Evidence
from leadsman_common.avro import alert_codec
from leadsman_common.kafka import consumer
from leadsman_common.topics import DEAD_LETTER_SUFFIX

HOPS = ("raw.aws", "raw.gcp", "audit.events", "alerts")
TOPICS = (*HOPS, *(f"{hop}{DEAD_LETTER_SUFFIX}" for hop in HOPS))
# who reads what, by its consumer group
_READERS = {"leadsman-normalizer": ("raw.aws", "raw.gcp"), "leadsman-detector": ("audit.events",)}
# an alert may be read before the event it came of: two partitions have no order between them
_PATIENCE_S = 1.0
Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True)
class Hops:
    """Milliseconds from hop to hop, by the records' own times; None where a time is not known."""

    source: int | None  # handed over at the source -> fetched by ingest
    ingest: int | None  # fetched -> on its raw topic
    normalize: int | None  # raw topic -> audit.events
    detect: int | None  # audit.events -> alerts

    @property
    def total(self) -> int:
        """All that is known."""
        return sum(filter(None, (self.source, self.ingest, self.normalize, self.detect)))


@dataclass(frozen=True)
class Arrived:
    """An alert as it came; `again`: one of its id was here before and explained it less well."""

    alert: Alert
    hops: Hops
    again: bool


@dataclass
class Watch:
    """Reads the topics from their beginning. `sent_ms` tells when a record was handed over, by its source id."""

    bootstrap: str
    sent_ms: Callable[[str], int]
    counts: Counter[str] = field(default_factory=Counter)
    alerts: dict[str, Alert] = field(default_factory=dict)
    dead: Counter[tuple[str, str]] = field(default_factory=Counter)  # dead letters by topic and reason

    def __post_init__(self) -> None:
        """Take every partition of every topic that is there."""
        self._consumer: Consumer = consumer(self.bootstrap, "demo-watch")
        present = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign(
            [TopicPartition(t, p, OFFSET_BEGINNING) for t in TOPICS if t in present for p in present[t].partitions]
        )
        read = {
            group: [TopicPartition(t, p) for t in own if t in present for p in present[t].partitions]
            for group, own in _READERS.items()
        }
        self._readers = [(consumer(self.bootstrap, group), places) for group, places in read.items() if places]
        self._times: dict[Place, int] = {}
        self._waiting: list[tuple[float, Alert, int]] = []
        self.last_news = time.monotonic()

    def poll(self, timeout_s: float = 0.1) -> list[Arrived]:
        """Read what is there, waiting for at most `timeout_s`; returns alerts that are new or better explained."""
        for message in self._consumer.consume(500, timeout=timeout_s):
            if message.error() is None:
                self._take(message)
        ready, self._waiting = _parted(self._waiting, self._can_tell)
        return [arrived for _, alert, at_ms in ready if (arrived := self._arrived(alert, at_ms)) is not None]

    def behind(self) -> bool:
        """Whether the normalizer or the detector has still to do some of what is there."""
        try:
            return any(
                max(0, done.offset) < asking.get_watermark_offsets(done, timeout=10)[1]
                for asking, places in self._readers
                for done in asking.committed(places, timeout=10)
            )
        except KafkaException:  # nobody can tell
            return True

    def close(self) -> None:
        """Stop reading."""
        for client in (self._consumer, *(asking for asking, _ in self._readers)):
            client.close()

    def _take(self, message: Message) -> None:
        topic, at_ms = message.topic() or "", message.timestamp()[1]
        self.counts[topic] += 1
        self.last_news = time.monotonic()
        if topic == "alerts":
            self._waiting.append((time.monotonic(), alert_codec().decode(message.value() or b""), at_ms))
        elif topic.endswith(DEAD_LETTER_SUFFIX):
            reason = dict(message.headers() or ()).get("dlq-reason") or b""
            self.dead[topic, reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason] += 1
        else:
            self._times[topic, message.partition() or 0, message.offset() or 0] = at_ms

    def _can_tell(self, waiting: tuple[float, Alert, int]) -> bool:
        since, alert, _ = waiting
        known = all(_event(item) in self._times for item in alert["evidence"])
        return known or time.monotonic() - since > _PATIENCE_S

    def _arrived(self, alert: Alert, at_ms: int) -> Arrived | None:
        before = self.alerts.get(alert["id"])
        if before is not None and _told(before) == _told(alert):
            return None  # the same again: at-least-once
        self.alerts[alert["id"]] = alert
        return Arrived(alert, self._hops(alert, at_ms), before is not None)

    def _hops(self, alert: Alert, alert_ms: int) -> Hops:
        """Tell of the event that reached audit.events last: it completed the alert."""
        last = max(alert["evidence"], key=lambda item: self._times.get(_event(item), 0))
        source = last["source"]
        received = source["received_ms"] or None
        raw = self._times.get((source["topic"], source["partition"], source["offset"]))
        event = self._times.get(_event(last))
        return Hops(
            _between(self.sent_ms(source["source_id"]) or None, received),
            _between(received, raw),
            _between(raw, event),
            _between(event, alert_ms),
        )


def _told(alert: Alert) -> tuple[str, list[str], str]:
    return alert["level"], alert["joins"], alert["actor"]["name"]


def _event(item: Evidence) -> Place:
    return item["topic"], item["partition"], item["offset"]


def _between(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else max(0, second - first)


def _parted(
    waiting: Iterable[tuple[float, Alert, int]], ready: Callable[[tuple[float, Alert, int]], bool]
) -> tuple[list[tuple[float, Alert, int]], list[tuple[float, Alert, int]]]:
    yes: list[tuple[float, Alert, int]] = []
    no: list[tuple[float, Alert, int]] = []
    for item in waiting:
        (yes if ready(item) else no).append(item)
    return yes, no
