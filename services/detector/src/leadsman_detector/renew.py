"""What is true for years, written to the topic `state` again before the topic's retention takes it (decision 012).

Once a day one worker reads the topic and writes each record anew that lives longer than the retention and has stood for
30 days, with the time to live that is left of it. Same key, same member: whoever reads it finds what was there, and
compaction takes the older one. What lives shorter than the retention is never renewed, so the topic stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from leadsman_common.kafka import AckedProducer, Outgoing, consumer
from leadsman_detector.rebuild import records_of
from leadsman_detector.runner import Record, Source
from leadsman_detector.state import DAY_MS
from leadsman_detector.state_topic import outgoing, put_of

AFTER_MS = 30 * DAY_MS
RETENTION_MS = 64 * DAY_MS  # schemas/topics/state.yaml; a test holds the two together

_log = structlog.get_logger()


class Renewal:
    """What is to be written again of a topic whose records are shown to it in order, a partition's at least."""

    def __init__(self, topic: str, now_ms: int) -> None:
        self._topic = topic
        self._now_ms = now_ms
        self._found: dict[bytes, Outgoing] = {}

    def see(self, records: Iterable[Record]) -> None:
        """Look at records; the last one of a key counts."""
        for record in records:
            key = record.key or b""
            put = put_of(record.value, record.timestamp_ms, self._now_ms)
            if put is None or not self._is_due(put.ttl_ms, record.timestamp_ms):
                self._found.pop(key, None)
                continue
            self._found[key] = Outgoing(self._topic, key, outgoing(self._topic, put).value)

    def _is_due(self, left_ms: int, written_ms: int) -> bool:
        """Whether a record of this age outlives the retention, by the time to live that it was written with."""
        age_ms = self._now_ms - written_ms
        return age_ms >= AFTER_MS and age_ms + left_ms > RETENTION_MS

    def due(self) -> list[Outgoing]:
        """The records to be written."""
        return list(self._found.values())


def renew(source: Source, topic: str, now_ms: int) -> int:
    """Renew what is due; how many records. Raises KafkaException, TimeoutError and DeliveryFailed."""
    renewal = Renewal(topic, now_ms)
    client = consumer(source.bootstrap, source.group, {**source.kafka_options, "enable.partition.eof": "true"})
    try:
        for records in records_of(client, topic):
            renewal.see(records)
    finally:
        client.close()
    due = renewal.due()
    if due:
        AckedProducer(source.bootstrap, source.kafka_options).send(due)
        _log.info("statements that still hold are written to the topic of the state again", records=len(due))
    return len(due)
