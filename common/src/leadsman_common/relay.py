"""Kafka to Kafka: topics of others' making in, raw topics out. The shell around kafka_sources.

It commits at the source only after our broker has acknowledged. While ours is away the batch in hand is tried again;
while the source is away it is read again later. A record that cannot be split goes to the raw topic's dead letters.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from leadsman_common import metrics
from leadsman_common.kafka import (
    AckedProducer,
    BadRecordCap,
    Header,
    Outgoing,
    consume_loop,
    consumer,
    dead_raw,
    insist,
)
from leadsman_common.kafka_sources import Record, Source, source_of, split
from leadsman_common.kafka_tokens import for_librdkafka
from leadsman_common.patience import Patience
from leadsman_common.pulse import Pulse
from leadsman_common.raw import Bad
from leadsman_common.receipts import Handed, IngestProducer
from leadsman_common.service import listening
from leadsman_common.settings import Common
from leadsman_common.stopping import on_signals
from leadsman_common.topics import DEAD_LETTER_SUFFIX, name

# an outage shorter than this is not the end of a source that was well
_WELL_S = 60.0
# a worker without a partition is told of none
_JOIN_S = 15.0
# a flush takes 35 s at most, and patience waits 10
_STUCK_S = 120


@dataclass(frozen=True)
class Broker:
    """Where to read: another broker than ours, or the same; `options` are librdkafka's."""

    bootstrap: str
    group: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """How much at once, and how much is borne."""

    batch: int = 500
    max_bad_in_a_row: int = 1000
    broken_s: float = 300.0


@dataclass
class _Counts:
    """What became of a batch. `received` are records, `events` what was in them, both by the topic they came of."""

    received: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    produced: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def leave(self, topic: str, reason: str) -> None:
        """A record of which nothing comes stands for itself."""
        self.events[topic] += 1
        self.left[reason] += 1


class Relay:
    """Reads the topics of `sources` until `stop` is set."""

    def __init__(
        self,
        service: str,
        broker: Broker,
        sources: Iterable[Source],
        producer: AckedProducer,
        stop: threading.Event,
        log: Any,
        *,
        prefix: str = "",
        limits: Limits | None = None,
    ) -> None:
        self._service, self._broker, self._sources = service, broker, tuple(sources)
        self._producer, self._stop, self._log, self._prefix = producer, stop, log, prefix
        self._limits = limits or Limits()
        self._cap = BadRecordCap(self._limits.max_bad_in_a_row)
        self._patience = Patience(stop, self._limits.broken_s, what="Kafka")
        self._of_topic: dict[str, Source | None] = {}
        self._joined = False
        self._joining_since = time.monotonic()
        self._away: KafkaError | None = None
        self._probe: AdminClient | None = None
        self.last_turn = time.monotonic()

    def run(self) -> None:
        """Read until told to stop. Raises what broke once the bound on patience is met, TooManyBadRecords."""
        patience = Patience(self._stop, self._limits.broken_s, what=self._broker.bootstrap)
        while not self._stop.is_set():
            started = time.monotonic()
            self._joining_since, self._joined, self._away = started, False, None
            client = consumer(self._broker.bootstrap, self._broker.group, self._broker.options, error_cb=self._heard)
            try:
                consume_loop(
                    client,
                    sorted({source.topic for source in self._sources}),
                    self.handle,
                    self._turn,
                    batch=self._limits.batch,
                    group=self._broker.group,
                    assigned=self._assigned,
                )
            except KafkaException as error:
                if time.monotonic() - started > _WELL_S:
                    patience.succeeded()
                self._log.warning("the source cannot be read; trying again", error=str(error))
                patience.failed(error)

    def reading(self) -> bool:
        """Whether we are in the group and the source's brokers answer. Another thread may ask.

        It asks them through a handle of its own: a consumer that waits for records keeps other threads waiting.
        """
        if not self._joined and time.monotonic() - self._joining_since < _JOIN_S:
            return False
        if self._away is not None:
            if self._probe is None:
                bootstrap = self._broker.bootstrap
                self._probe = AdminClient(
                    {"bootstrap.servers": bootstrap, **for_librdkafka(self._broker.options, bootstrap)}
                )
            try:
                self._probe.list_topics(timeout=2)
            except KafkaException:
                return False
            self._away = None
        return True

    def _heard(self, error: KafkaError) -> None:
        """What librdkafka says of the source; it tries again by itself, for ever."""
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN):  # noqa: SLF001
            self._away = error

    def handle(self, messages: list[Message]) -> None:
        """Have our broker acknowledge all that a batch held. Raises once patience is at its end."""
        with metrics.BATCH_SECONDS.labels(self._service).time():
            self._relay(messages)

    def _relay(self, messages: list[Message]) -> None:
        now_ms = time.time_ns() // 1_000_000
        counts = _Counts()
        made = [one for message in messages for one in self._outgoing(message, now_ms, counts)]
        records = Handed(made, counts.events, counts.left)
        insist(self._producer.send, records, self._patience, self._log, records=len(records))
        for topic, count in counts.received.items():
            metrics.RECEIVED.labels(self._service, topic).inc(count)
            metrics.LAST_RECEIVED.labels(self._service, topic).set_to_current_time()
        for topic, count in counts.produced.items():
            metrics.PRODUCED.labels(self._service, topic).inc(count)
        for topic, count in counts.bad.items():
            metrics.DEAD_LETTERED.labels(self._service, topic + DEAD_LETTER_SUFFIX).inc(count)
        self._behind(messages, now_ms)

    def _outgoing(self, message: Message, now_ms: int, counts: _Counts) -> Iterable[Outgoing]:
        topic = message.topic() or ""
        source = self._source(topic)
        counts.received[topic] += 1
        if source is None:  # a regular expression of librdkafka's that means more than ours
            counts.leave(topic, "another topic's")
            return
        raw_topic = name(source.raw_topic, self._prefix)
        record = Record(
            topic,
            message.partition() or 0,
            message.offset() or 0,
            message.key() or b"",
            message.value() or b"",
            {k: v for k, v in cast("list[Header]", message.headers() or []) if v is not None},
        )
        found = split(source, record, now_ms)
        counts.events[topic] += len(found)
        if not found:
            counts.leave(topic, "a record without events")
        for one in found:
            if isinstance(one, Bad):
                self._log.warning("bad record", reason=one.reason, source_id=one.raw.source_id)
                self._cap.bad(one.reason)
                counts.bad[raw_topic] += 1
                yield dead_raw(raw_topic, one, self._service)
            else:
                self._cap.good()
                counts.produced[raw_topic] += 1
                yield Outgoing(raw_topic, one.key(), one.value, one.headers())

    def _source(self, topic: str) -> Source | None:
        if topic not in self._of_topic:
            self._of_topic[topic] = source_of(self._sources, topic)
        return self._of_topic[topic]

    def _behind(self, messages: list[Message], now_ms: int) -> None:
        """How old the newest record of each topic was."""
        newest: dict[str, int] = {}
        for message in messages:
            topic = message.topic() or ""
            newest[topic] = max(newest.get(topic, 0), message.timestamp()[1])
        for topic, stamp in newest.items():
            if stamp > 0:
                metrics.BEHIND.labels(self._service, topic).set(max(0, now_ms - stamp) / 1000)

    def _assigned(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        """Say loudly what aged out at the source before it was read: the broker itself would pass over it."""
        self._joined = True
        try:
            committed = client.committed(partitions, timeout=10)
            for one in committed:
                low, _ = client.get_watermark_offsets(one, timeout=10)
                if 0 <= one.offset < low:
                    metrics.GAPS.labels(self._service, one.topic).inc()
                    self._log.error(
                        "records aged out before they were read: they are lost",
                        topic=one.topic,
                        partition=one.partition,
                        first=one.offset,
                        lost=low - one.offset,
                    )
        except KafkaException as error:
            self._log.warning("cannot tell whether records aged out", error=str(error))

    def _turn(self) -> bool:
        self.last_turn = time.monotonic()
        if self._away is not None and self._away.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
            raise KafkaException(self._away)
        return self._stop.is_set()


def serve(service: str, settings: Common, log: Any, broker: Broker, sources: Iterable[Source], limits: Limits) -> None:
    """A whole service of it: read until SIGTERM, with /healthz, /readyz and /metrics. Call it in the main thread."""
    stop, sources = on_signals(), tuple(sources)
    producer = IngestProducer(service, settings)
    relay = Relay(service, broker, sources, producer, stop, log, prefix=settings.topic_prefix, limits=limits)
    with (
        Pulse(service, settings, (source.raw_topic for source in sources), log),
        listening(
            settings,
            log,
            ready=lambda: relay.reading() and producer.ready(),
            alive=lambda: time.monotonic() - relay.last_turn < _STUCK_S,
        ),
    ):
        relay.run()
