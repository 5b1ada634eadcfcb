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

from leadsman_common import metrics, traces
from leadsman_common.errors import TooManyBadRecords
from leadsman_common.kafka_tokens import for_librdkafka
from leadsman_common.patience import Patience
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
        begins_traces: bool = False,
        reports: bool = False,
    ) -> None:
        """`begins_traces`: for ingest, whose records are the first of their traces where there are any.

        `reports`: `_delivered` is called for every record, not only for what failed.
        """
        self.timeout_s = timeout_s
        spans = traces.spans() if begins_traces else None
        self._hop = None if spans is None else spans.hop()
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
                # flush() waits for every record; to be told of each that arrived costs a call a record
                "delivery.report.only.error": not reports,
                "on_delivery": self._delivered,
                **for_librdkafka(extra or {}, bootstrap),
            }
        )

    def enqueue(self, record: Outgoing) -> None:
        """Queue one record, waiting where the queue is full. `flush` says whether it arrived."""
        headers = list(record.headers)
        if self._hop is not None and self._hop.chosen():
            headers.append(self._hop.begin(record.topic, headers).header)
        self._produce(record, headers)

    def _produce(self, record: Outgoing, headers: Sequence[Header]) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=cast("list[tuple[str, str | bytes | None]]", headers),
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
        if self._hop is None:
            self._flush()
        else:
            with self._hop:
                self._flush()

    def _flush(self) -> None:
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


def insist(
    send: Callable[[Sequence[Outgoing]], None],
    records: Sequence[Outgoing],
    patience: Patience,
    log: Any,
    /,
    **said: Any,
) -> None:
    """Have Kafka acknowledge records, trying again while it is away. `said`: what the log tells of them.

    Raises what Kafka said once patience is at its end.
    """
    while True:
        try:
            send(records)
            break
        except (DeliveryFailed, KafkaException) as error:
            log.warning("Kafka did not acknowledge; trying again", error=str(error), **said)
            patience.failed(error)
    patience.succeeded()


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


class Commits:
    """Offsets to be committed: kept until the group took them, or until their partition is another worker's.

    A group refuses commits while it rebalances. With cooperative assignment the partitions stay ours all the same, and
    where no further record comes on them nothing else would ever commit what was refused.
    """

    def __init__(self, client: Consumer) -> None:
        self._client = client
        self._due: dict[tuple[str, int], int] = {}

    def add(self, messages: Iterable[Message]) -> None:
        """All that came of these is acknowledged: what follows the last one of each partition is due."""
        self._due.update(((m.topic() or "", m.partition() or 0), (m.offset() or 0) + 1) for m in messages)

    def commit(self) -> None:
        """Commit what is due; what the group refuses stays due. Raises KafkaException when nothing gets through."""
        self._commit(self._due)

    def revoked(self, client: Consumer, partitions: list[TopicPartition]) -> None:  # noqa: ARG002 - confluent-kafka's form
        """Partitions are about to go to another: the last moment for what is due of them."""
        gone = {(at.topic, at.partition) for at in partitions}
        try:
            self._commit({at: offset for at, offset in self._due.items() if at in gone})
        finally:
            self.forget(gone)

    def lost(self, client: Consumer, partitions: list[TopicPartition]) -> None:  # noqa: ARG002
        """Partitions are another's already: what was due of them comes again there."""
        self.forget((at.topic, at.partition) for at in partitions)

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Leave uncommitted what is due of these partitions, (topic, partition)."""
        for at in list(partitions):
            self._due.pop(at, None)

    def _commit(self, due: Mapping[tuple[str, int], int]) -> None:
        for topic, partition in _committed(self._client, [TopicPartition(*at, offset) for at, offset in due.items()]):
            self._due.pop((topic, partition), None)


def consume_loop(
    client: Consumer,
    topics: Sequence[str],
    handle: Callable[[list[Message]], Iterable[Message] | None],
    stopping: Callable[[], bool],
    *,
    batch: int = 500,
    wait_s: float = 0.05,
    group: str = "",
    assigned: Callable[[Consumer, list[TopicPartition]], None] | None = None,
    commits: Commits | None = None,
) -> None:
    """Read batches, hand each to `handle`, then commit what it held. The lag of `group` is told where it is named.

    `handle` returns only when everything that came of the batch is acknowledged; what it raises ends the loop with
    the offsets uncommitted, so that the records come again. Where it returns records, these alone are
    committed. On return the group is left in good order. `assigned` is called with partitions that are given to us.
    """
    commits = commits or Commits(client)
    callbacks = {"on_revoke": commits.revoked, "on_lost": commits.lost}
    client.subscribe(list(topics), **callbacks, **({} if assigned is None else {"on_assign": assigned}))
    lag, look_at = metrics.Lag(group), 0.0
    try:
        while not stopping():
            if group and time.monotonic() >= look_at:
                lag.tell(behind(client))
                look_at = time.monotonic() + LAG_EVERY_S
            good = [m for m in client.consume(batch, timeout=wait_s) if not fatal(m)]
            if good:
                done = handle(good)
                commits.add(good if done is None else done)
            commits.commit()
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


def commit_offsets(client: Consumer, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit these offsets, by partition. What the group refuses, since it rebalances, is passed over."""
    _committed(client, [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()])


REFUSED = (
    KafkaError._NO_OFFSET,  # noqa: SLF001
    KafkaError._STATE,  # noqa: SLF001
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
)


def _committed(client: Consumer, offsets: list[TopicPartition]) -> list[tuple[str, int]]:
    """Commit; returns the partitions, (topic, partition), of which the group took it.

    A group that rebalances refuses. Raises KafkaException where five attempts failed of anything else.
    """
    for attempt in range(5) if offsets else ():
        try:
            answer = client.commit(offsets=offsets, asynchronous=False) or []
        except KafkaException as error:
            if error.args[0].code() in REFUSED:
                return []
            if attempt == 4:
                raise
            time.sleep(0.2 * (attempt + 1))
        else:
            return [(at.topic, at.partition) for at in answer if at.error is None]
    return []


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
