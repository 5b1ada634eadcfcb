"""When a batch's events happened and when they came by: what the metrics of latency and of silence are made of."""

from __future__ import annotations

from confluent_kafka import Message

from leadsman_common import metrics
from leadsman_common.canary import canary_of
from leadsman_common.events import AuditEvent


class Timing:
    """The oldest event of each topic, the newest of each cluster and all canaries, in one batch."""

    def __init__(self) -> None:
        self.oldest: dict[str, tuple[int, int, Message]] = {}  # time_us, received_ms and the record, by topic
        self.newest: dict[str, int] = {}  # time_us by cluster
        self.canaries: list[tuple[int, int, int, str, Message]] = []  # sent_ms, time_us, received_ms, cluster, record

    def note(self, message: Message, event: AuditEvent, received_ms: int) -> None:
        """An event was made of this record."""
        topic, time_us, cluster = message.topic() or "", event["time"], event["cluster"]["id"]
        if (told := canary_of(event)) is not None:
            self.canaries.append((told.sent_ms, time_us, received_ms, cluster, message))
        known = self.oldest.get(topic)
        if known is None or time_us < known[0]:
            self.oldest[topic] = time_us, received_ms, message
        if time_us > self.newest.get(cluster, 0):
            self.newest[cluster] = time_us


class Told:
    """What the metrics were told so far."""

    def __init__(self) -> None:
        self._label = metrics.Bounded()
        self._newest_s: dict[str, float] = {}

    def tell(self, timing: Timing, now_ms: float) -> None:
        """A batch is done at `now_ms`, Unix time."""
        for topic, (time_us, received_ms, message) in timing.oldest.items():
            appended_ms = message.timestamp()[1]
            metrics.hop("delivery", topic, time_us / 1000, received_ms)
            metrics.hop("ingest", topic, received_ms, appended_ms)
            metrics.hop("normalize", topic, appended_ms, now_ms)
        for sent_ms, time_us, received_ms, cluster, message in timing.canaries:
            appended_ms = message.timestamp()[1]
            metrics.canary("request", cluster, sent_ms, time_us / 1000)
            metrics.canary("delivery", cluster, time_us / 1000, received_ms)
            metrics.canary("ingest", cluster, received_ms, appended_ms)
            metrics.canary("normalize", cluster, appended_ms, now_ms)
        for cluster, time_us in timing.newest.items():
            label = self._label(cluster)
            # a clock that runs ahead must not hide that a cluster fell silent
            newest_s = max(self._newest_s.get(label, 0.0), min(time_us / 1e6, now_ms / 1000))
            self._newest_s[label] = newest_s
            metrics.LAST_EVENT.labels(label).set(newest_s)
