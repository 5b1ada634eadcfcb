"""Ingest's account in the ledger: a receipt for each batch that Kafka took, on the topic `ledger` (DESIGN 7).

What ingest reads has no offsets of ours, so a receipt says of how many records of which source a batch was made, what
was left out of it and why, and where Kafka put the rest, by the broker's own word. Receipts follow their batch and
nothing waits for them: a worker that is killed may leave a batch without one, and no batch without its records.

    received = produced + filtered + dead, and what landed is what was handed over, and what came of tries that failed
"""

from __future__ import annotations

import secrets
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from leadsman_common import metrics
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import AckedProducer, DeliveryFailed, Outgoing
from leadsman_common.ledger import DEAD, LEDGER, MADE, MAX_TEXT, NOT_OURS, kind_of
from leadsman_common.settings import Common
from leadsman_common.topics import DEAD_LETTER_SUFFIX

KEY = b"receipt|"


class Receipt(msgspec.Struct, kw_only=True):
    """One batch. `landed` has [topic, partition, first offset, offset after the last] of each run of its records."""

    hop: str
    writer: str
    number: int
    at_ms: int = 0
    received: dict[str, int] = {}  # by source
    outcomes: dict[str, int] = {}  # `produced`, `filtered:REASON`, `dead:TOPIC`
    landed: list[tuple[str, int, int, int]] = []
    failed: int = 0  # records of tries before, of which some may have landed as well

    @property
    def key(self) -> bytes:
        """The record's key."""
        return KEY + f"{self.hop}|{self.writer}|{self.number}".encode()

    def wrong(self) -> str:
        """What does not add up within it; empty where all does."""
        received, came_to = sum(self.received.values()), sum(self.outcomes.values())
        if received != came_to:
            return f"{received} records were received, and the receipt says what became of {came_to}"
        handed = sum(n for outcome, n in self.outcomes.items() if kind_of(outcome) in (MADE, DEAD))
        landed = sum(end - start for _, _, start, end in self.landed)
        if landed < handed or (landed > handed and not self.failed):
            return f"{handed} records were handed over, and Kafka took {landed}"
        return ""


class Handed(list[Outgoing]):
    """Records for Kafka, with what they were made of: how many of each source, and what was left out by reason."""

    def __init__(
        self, records: Iterable[Outgoing], received: Mapping[str, int], filtered: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(records)
        self.received = received
        self.filtered = filtered or {}

    @classmethod
    def together(cls, batches: Iterable[Iterable[Outgoing]]) -> Handed:
        """Several as one; what does not say what it was made of counts as received from nowhere."""
        records: list[Outgoing] = []
        received, filtered = Counter[str](), Counter[str]()
        for batch in batches:
            before = len(records)
            records += batch
            if isinstance(batch, Handed):
                received.update(batch.received)
                filtered.update(batch.filtered)
            else:
                received[""] += len(records) - before
        return cls(records, received, filtered)


class IngestProducer(AckedProducer):
    """The producer of an ingest service: it begins traces, and writes receipts where the settings want a ledger."""

    def __init__(self, service: str, settings: Common, *, timeout_s: float = 30) -> None:
        self._service = service
        self._ledger = settings.topic_prefix + LEDGER
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._failed_before = 0
        self._partition: int | None = None
        self._landed: dict[tuple[str, int], list[list[int]]] = {}
        self._on = settings.ledger
        super().__init__(
            settings.kafka_bootstrap,
            settings.kafka_options,
            timeout_s=timeout_s,
            begins_traces=True,
            reports=self._on,
        )

    def send(self, records: Iterable[Outgoing]) -> None:
        """As AckedProducer does, with a receipt; of records that are `Handed` it says what they were made of."""
        if not self._on:
            super().send(records)
            return
        handed = records if isinstance(records, Handed) else Handed.together([records])
        try:
            super().send(handed)
        except (DeliveryFailed, KafkaException):
            self._failed_before += len(handed)
            raise
        if handed or any(handed.received.values()):
            self._write(handed)

    def _write(self, handed: Handed) -> None:
        outcomes = Counter[str]()
        for record in handed:
            dead = record.topic.endswith(DEAD_LETTER_SUFFIX)
            outcomes[f"{DEAD}:{record.topic}" if dead else MADE] += 1
        outcomes.update({f"{NOT_OURS}:{reason}"[:MAX_TEXT]: count for reason, count in handed.filtered.items()})
        receipt = Receipt(
            hop=self._service,
            writer=self._writer,
            number=self._number,
            at_ms=time.time_ns() // 1_000_000,
            received={source[:MAX_TEXT]: count for source, count in handed.received.items()},
            outcomes=dict(outcomes),
            landed=[(*at, start, end) for at, runs in self._landed.items() for start, end in runs],
            failed=self._failed_before,
        )
        self._landed, self._failed_before = {}, 0
        self._number += 1
        try:
            self._produce(Outgoing(self._ledger, receipt.key, msgspec.json.encode(receipt), (), self._place()), [])
        except KafkaException:
            metrics.failed("kafka")  # the records are safe, and verify says that they have no receipt

    def _place(self) -> int:
        """All receipts of a writer stand in one partition, in order: a number that is missing was taken away."""
        if self._partition is None:
            self._partition = zlib.crc32(self._writer.encode()) % self.partitions(self._ledger)
        return self._partition

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        topic = message.topic() or ""
        if topic == self._ledger:
            if error is not None:
                metrics.failed("kafka")
            return
        super()._delivered(error, message)
        offset = message.offset()
        if error is None and offset is not None:
            runs = self._landed.setdefault((topic, message.partition() or 0), [])
            if runs and runs[-1][1] == offset:
                runs[-1][1] += 1
            else:
                runs.append([offset, offset + 1])


def read_receipt(value: bytes) -> Receipt:
    """A receipt as it stands on the topic. Raises InvalidEvent for what is none."""
    try:
        receipt = _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"no receipt of the ledger: {error}") from error
    if any(start < 0 or end <= start for _, _, start, end in receipt.landed):
        raise InvalidEvent("no receipt of the ledger: a run without an end")
    return receipt


_DECODER: msgspec.json.Decoder[Receipt] = msgspec.json.Decoder(Receipt)
