"""What every input shares: records become RawEvents, Kafka gets them, and only then are they counted.

Between the inputs, which know how AWS is asked and acknowledged, and the outbox.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from leadsman_common import metrics
from leadsman_common.ingested import Ingested
from leadsman_common.kafka import BadRecordCap, DeadLetter, Outgoing, dead_letter, insist
from leadsman_common.outbox import Outbox
from leadsman_common.patience import Patience
from leadsman_common.raw import RawEvent
from leadsman_common.receipts import Handed
from leadsman_common.topics import DEAD_LETTER_SUFFIX, name
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import MAX_VALUE_BYTES, Split

SERVICE = "ingest-aws"
# what is in a dead letter of this stage: a whole record of the carrier, not one log event
ENVELOPE_FORMAT = "cloudwatch-envelope"
_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Carried:
    """What came of one record, file or message. `data` and `source_id` are for the dead letter, should it be one."""

    data: bytes
    parts: Split
    source_id: str
    region: str = ""


@dataclass(slots=True)
class Made:
    """Records for Kafka, and what is to be counted once they are acknowledged."""

    records: list[Outgoing] = field(default_factory=list)
    events: list[RawEvent] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    newest_ms: dict[str, int] = field(default_factory=dict)
    bad: int = 0
    size: int = 0

    @property
    def received(self) -> int:
        """In = out + filtered + dead-lettered."""
        return len(self.events) + self.bad + self.dropped.total()

    def handed(self, source: str) -> Handed:
        """The records, with what they were made of."""
        return Handed(self.records, {source: self.received}, self.dropped)


class Intake:
    """One for the service; any thread may use it."""

    def __init__(self, settings: Settings, outbox: Outbox, log: Any) -> None:
        self.outbox = outbox
        self._topic = name("raw.aws", settings.topic_prefix)
        self._cap = settings.max_bad_in_a_row
        self._ingested = Ingested(SERVICE)
        self._log = log

    def cap(self) -> BadRecordCap:
        """Return a count of bad records in a row for one input."""
        return BadRecordCap(self._cap)

    def make(self, carried: Iterable[Carried], now_ms: int, cap: BadRecordCap | None = None) -> Made:
        """Make all of it at once. Raises TooManyBadRecords."""
        made = Made()
        for one in carried:
            self._add(made, one, now_ms, cap)
        return made

    def store(
        self, source: str, carried: Iterable[Carried], patience: Patience, cap: BadRecordCap, now_ms: int = 0
    ) -> None:
        """Return once Kafka has acknowledged all of it; `carried` is taken up bit by bit.

        While Kafka is away what is in hand is tried again: to read it anew would cost as much, and a queue would count
        it as a failure of the message. Raises what Kafka said once patience is at its end, TooManyBadRecords.
        """
        now_ms = now_ms or time.time_ns() // 1_000_000
        for made in self._chunks(carried, now_ms, cap):
            with metrics.BATCH_SECONDS.labels(SERVICE).time():
                self._send(source, made, patience)
            self.count(source, made)

    def _send(self, source: str, made: Made, patience: Patience) -> None:
        insist(self.outbox.send, made.handed(source), patience, self._log, source=source)

    def count(self, source: str, made: Made) -> None:
        """Count what Kafka has acknowledged."""
        metrics.RECEIVED.labels(SERVICE, source).inc(made.received)
        metrics.LAST_RECEIVED.labels(SERVICE, source).set_to_current_time()
        metrics.PRODUCED.labels(SERVICE, self._topic).inc(len(made.events))
        metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc(made.bad)
        for reason, count in made.dropped.items():
            metrics.FILTERED.labels(SERVICE, reason).inc(count)
        self._ingested.stored(source, made.events, made.newest_ms)

    def _chunks(self, carried: Iterable[Carried], now_ms: int, cap: BadRecordCap) -> Iterator[Made]:
        made = Made()
        for one in carried:
            self._add(made, one, now_ms, cap)
            if made.size >= _CHUNK_BYTES:
                yield made
                made = Made()
        if made.records or made.dropped:
            yield made

    def _add(self, made: Made, one: Carried, now_ms: int, cap: BadRecordCap | None) -> None:
        parts = one.parts
        for event in parts.events:
            made.records.append(Outgoing(self._topic, event.key(), event.value, event.headers()))
            made.size += len(event.value)
        made.events += parts.events
        made.dropped.update(parts.dropped)
        for cluster, newest_ms in parts.newest_ms.items():
            made.newest_ms[cluster] = max(newest_ms, made.newest_ms.get(cluster, 0))
        if parts.invalid:
            self._log.warning("bad record", reason=parts.invalid, source_id=one.source_id)
            made.records.append(self._dead_letter(one, now_ms))
            made.bad += 1
            if cap is not None:
                cap.bad(parts.invalid)
        elif cap is not None:
            cap.good()

    def _dead_letter(self, one: Carried, now_ms: int) -> Outgoing:
        reason = one.parts.invalid
        if len(one.data) > MAX_VALUE_BYTES:
            reason = f"cut from {len(one.data)} bytes; {reason}"
        raw = RawEvent(
            value=one.data[:MAX_VALUE_BYTES],
            format=ENVELOPE_FORMAT,
            region=one.region,
            provider="aws",
            source_id=one.source_id,
            received_ms=now_ms,
        )
        # it never was on the raw topic, so it has no partition and offset there
        return dead_letter(DeadLetter(self._topic, -1, -1, raw.key(), raw.value, raw.headers(), reason, SERVICE))
