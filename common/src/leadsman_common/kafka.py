"""Kafka as every service uses it: producers that know what was acknowledged, consumers that never commit early.

All of it is confluent-kafka (librdkafka). The rule it keeps: nothing upstream is acknowledged, and no offset is
committed, before the broker has acknowledged with acks=all what came of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from leadsman_common import metrics
from leadsman_common.errors import TooManyBadRecords
from leadsman_common.kafka_tokens import for_librdkafka
from leadsman_common.raw import MAX_VALUE_BYTES, Bad

MAX_MESSAGE_BYTES = 2 * 1024 * 1024
MAX_DEAD_LETTER_BYTES = MAX_MESSAGE_BYTES + 256 * 1024  # schemas/topics/*.dlq.yaml: the dlq-* headers come on top
LAG_EVERY_S = 5.0
Header = tuple[str, bytes]


class Outgoing(NamedTuple):
    """A record to be produced; to the partition that its key hashes to, unless one is named."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    partition: int = -1


class DeliveryFailed(RuntimeError):
    """The broker did not acknowledge a record in time: the world is broken, nothing may be acknowledged upstream."""


def _client_options(bootstrap: str) -> dict[str, Any]:
    """Options that producer and consumer share; the operator's own come last and win."""
    return {
        "bootstrap.servers": bootstrap,
        "log.connection.close": False,
        "reconnect.backoff.ms": 250,  # by default it tries, and logs, ten times a second while a broker is away
    }


class AckedProducer:
    """A producer whose `send` returns only when every record is acknowledged, or raises."""

    def __init__(
        self,
        bootstrap: str,
        extra: Mapping[str, str] | None = None,
        *,
        linger_ms: int = 5,
        timeout_s: float = 30,
    ) -> None:
        self.timeout_s = timeout_s
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                **_client_options(bootstrap),
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": linger_ms,
                "message.max.bytes": MAX_DEAD_LETTER_BYTES,
                "delivery.timeout.ms": int(timeout_s * 1000),
                "queue.buffering.max.kbytes": 256 * 1024,
                # flush() waits for every record; to be told of each that arrived would cost a call a record
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
                **for_librdkafka(extra or {}, bootstrap),
            }
        )

    def enqueue(self, record: Outgoing) -> None:
        """Queue one record, waiting where the queue is full. `flush` says whether it arrived."""
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=record.partition,
                )
                return
            except BufferError:
                self._producer.poll(0.1)
                self._raise()

    def poll(self) -> None:
        """Serve delivery reports that have come in, without waiting."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for all that was queued. Raises DeliveryFailed if anything was not acknowledged."""
        left = self._producer.flush(self.timeout_s + 5)
        self._raise()
        if left:
            raise DeliveryFailed(f"{left} records not acknowledged within {self.timeout_s} s")

    def send(self, records: Iterable[Outgoing]) -> None:
        """Queue and flush."""
        for record in records:
            self.enqueue(record)
        self.flush()

    def ready(self) -> bool:
        """Whether the broker answers now."""
        try:
            self._producer.list_topics(timeout=2)
        except KafkaException:
            return False
        return True

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises KafkaException without an answer or without the topic."""
        found = self._producer.list_topics(topic, timeout=self.timeout_s).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            metrics.failed("kafka")
            self._failed = error

    def _raise(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise DeliveryFailed(str(failed))


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be handled, and why (DESIGN 2)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    reason: str
    stage: str


def dead_letter(bad: DeadLetter) -> Outgoing:
    """The record for `<topic>.dlq`: original key, value and headers, and the dlq-* headers."""
    own = (
        ("dlq-reason", bad.reason[:1024].encode("utf-8", "replace")),
        ("dlq-stage", bad.stage.encode()),
        ("dlq-topic", bad.topic.encode()),
        ("dlq-partition", str(bad.partition).encode()),
        ("dlq-offset", str(bad.offset).encode()),
        ("dlq-version", version("leadsman-common").encode()),
    )
    kept = tuple((k, v) for k, v in bad.headers if not k.startswith("dlq-"))
    return Outgoing(f"{bad.topic}.dlq", bad.key, bad.value, (*kept, *own))


def dead_message(message: Message, reason: str, stage: str) -> Outgoing:
    """The same for a record as the consumer gave it."""
    return dead_letter(
        DeadLetter(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            key=message.key(),
            value=message.value(),
            headers=cast("list[Header]", message.headers() or []),
            reason=reason,
            stage=stage,
        )
    )


WHAT_NEXT = (
    "Stopped before they flood the dead letters; nothing of this batch is committed. Look at them with "
    "`leadsman dlq ls` and `leadsman dlq show`. Mend the source, or the format it is said to have, and start again; "
    "or raise the cap on bad records in a row (0: none), let them pass, and send them again later with "
    "`leadsman dlq redrive`"
)


def dead_raw(raw_topic: str, bad: Bad, stage: str) -> Outgoing:
    """The same for what never was on its raw topic, so that it has no partition and offset there."""
    raw, reason = bad
    if len(raw.value) > MAX_VALUE_BYTES:
        reason = f"cut; {reason}"
    return dead_letter(
        DeadLetter(raw_topic, -1, -1, raw.key(), raw.value[:MAX_VALUE_BYTES], raw.headers(), reason, stage)
    )


class BadRecordCap:
    """Counts bad records in a row and stops the consumer past the cap, so that no flood is dead-lettered unseen."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.in_a_row = 0

    def good(self) -> None:
        """A record was handled."""
        self.in_a_row = 0

    def bad(self, reason: str) -> None:
        """A record was bad. Raises TooManyBadRecords past the cap."""
        self.in_a_row += 1
        if self.cap and self.in_a_row >= self.cap:
            raise TooManyBadRecords(f"{self.in_a_row} bad records in a row, the last one: {reason}. {WHAT_NEXT}")


def consumer(
    bootstrap: str,
    group: str,
    extra: Mapping[str, str] | None = None,
    *,
    error_cb: Callable[[KafkaError], None] | None = None,
) -> Consumer:
    """A consumer that commits nothing by itself and starts a new group at the earliest record.

    `error_cb` is told of errors that librdkafka bears by itself.
    """
    return Consumer(
        {
            **_client_options(bootstrap),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 3_000,
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.wait.max.ms": 50,
            # a fetch is answered when this much is there, or after the wait. By default it is answered at every
            # record: at 1,000 records/s that cost the broker a sixth more CPU and the normalizer a fifth
            "fetch.min.bytes": 64 * 1024,
            "fetch.message.max.bytes": 4 * MAX_MESSAGE_BYTES,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queued.max.messages.kbytes": 64 * 1024,
            **({"error_cb": error_cb} if error_cb is not None else {}),
            **for_librdkafka(extra or {}, bootstrap),
        }
    )


def consume_loop(
    client: Consumer,
    topics: Sequence[str],
    handle: Callable[[list[Message]], bool | None],
    stopping: Callable[[], bool],
    *,
    batch: int = 500,
    wait_s: float = 0.05,
    group: str = "",
    assigned: Callable[[Consumer, list[TopicPartition]], None] | None = None,
) -> None:
    """Read batches, hand each to `handle`, then commit what it held. The lag of `group` is told where it is named.

    `handle` returns only when everything that came of the batch is acknowledged; what it raises ends the loop with
    the offsets uncommitted, so that the records come again. Where it returns False it has committed what
    may be. On return the group is left in good order. `assigned` is called with
    partitions that are given to us.
    """
    if assigned is None:
        client.subscribe(list(topics))
    else:
        client.subscribe(list(topics), on_assign=assigned)
    lag, look_at = metrics.Lag(group), 0.0
    try:
        while not stopping():
            if group and time.monotonic() >= look_at:
                lag.tell(behind(client))
                look_at = time.monotonic() + LAG_EVERY_S
            messages = client.consume(batch, timeout=wait_s)
            good = [m for m in messages if not fatal(m)]
            if good and handle(good) is not False:
                commit(client, good)
    finally:
        client.close()
        lag.tell({})


def behind(client: Consumer) -> dict[tuple[str, int], int]:
    """How far each assigned partition's position is behind its end, as the fetches told; unknown ones are left out."""
    try:
        places = client.position(client.assignment())
        if unread := [at for at in places if at.offset < 0]:  # nothing came of it yet: it starts where the group was
            places = [at for at in places if at.offset >= 0] + client.committed(unread, timeout=2)
        ends = {(at.topic, at.partition): client.get_watermark_offsets(at, cached=True) for at in places}
    except KafkaException:
        return {}
    found = {}
    for at in places:
        low, high = ends[at.topic, at.partition]
        if high >= 0:
            found[at.topic, at.partition] = high - max(at.offset, low, 0)
    return found


def commit(client: Consumer, messages: Iterable[Message]) -> None:
    """Commit the offset after the last record of each partition. Partitions taken away meanwhile are passed over."""
    last = {(m.topic(), m.partition()): m.offset() for m in messages}
    _commit(client, [TopicPartition(t or "", p or 0, (o or 0) + 1) for (t, p), o in last.items()])


def commit_offsets(client: Consumer, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit these offsets, by partition, as `commit` does."""
    _commit(client, [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])


def _commit(client: Consumer, offsets: list[TopicPartition]) -> None:
    if not offsets:
        return
    for attempt in range(5):
        try:
            client.commit(offsets=offsets, asynchronous=False)
            return
        except KafkaException as error:
            code = error.args[0].code()
            if code in (KafkaError._NO_OFFSET, KafkaError._STATE, KafkaError.ILLEGAL_GENERATION):  # noqa: SLF001
                return  # rebalanced: whoever has the partition now reads these records again
            if code in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS) or attempt == 4:
                if attempt == 4 and code not in (
                    KafkaError.UNKNOWN_MEMBER_ID,
                    KafkaError.REBALANCE_IN_PROGRESS,
                ):
                    raise
                return
            time.sleep(0.2 * (attempt + 1))


def fatal(message: Message) -> bool:
    """True for an error that is only news; raises for one that the consumer cannot go on from."""
    error = message.error()
    if error is None:
        return False
    if error.fatal() or error.code() in (
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    ):
        raise KafkaException(error)
    return True
