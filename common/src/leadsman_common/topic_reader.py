"""Read what a topic holds now, from somewhere to its present end, outside any consumer group: for the command line."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from leadsman_common.kafka import consumer

TIMEOUT_S = 30.0
IDLE_S = 60.0  # nothing came for so long though the end is not reached
BATCH = 1_000
_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    # of a topic that the broker has just shown
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    # of a group, while the broker that keeps it has just come up
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
Answer = TypeVar("Answer")


class TopicUnreadableError(RuntimeError):
    """The broker does not answer, or has no such topic; the text names it."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is there of a partition: offsets from `start` to before `end`; `low` is where the broker's log begins."""

    low: int
    start: int
    end: int


class TopicReader:
    """Reads topics of one broker. `options` are the operator's librdkafka options."""

    def __init__(self, bootstrap: str, options: Mapping[str, str] | None = None) -> None:
        self._bootstrap = bootstrap
        self._options = dict(options or {})

    def topics(self) -> list[str]:
        """The names of all topics that the broker shows. Raises TopicUnreadableError."""
        client = self._client()
        try:
            return sorted(client.list_topics(timeout=TIMEOUT_S).topics)
        except KafkaException as error:
            raise TopicUnreadableError(f"Kafka at {self._bootstrap} does not answer: {error}") from error
        finally:
            client.close()

    def spans(self, topic: str, since_ms: int | None = None, until_ms: int | None = None) -> dict[int, Span]:
        """What each partition holds now; `since_ms` and `until_ms` (Kafka's timestamps) move the start and the end.

        Raises TopicUnreadableError.
        """
        client = self._client()
        try:
            return self._spans(client, topic, since_ms, until_ms)
        finally:
            client.close()

    def read(self, topic: str, since_ms: int | None = None) -> Iterator[Message]:
        """Every record from `since_ms`, or the first, to the end as it was at the call. Raises TopicUnreadableError."""
        client = self._client()
        try:
            spans = {p: span for p, span in self._spans(client, topic, since_ms).items() if span.start < span.end}
            yield from self._all(client, topic, {p: (span.start, span.end) for p, span in spans.items()})
        finally:
            client.close()

    def follow(self, topic: str, since_ms: int | None = None) -> Iterator[Message | None]:
        """Every record from `since_ms`, or from the end as it is now, for ever; None while nothing comes.

        Partitions that are added later are not followed. Raises TopicUnreadableError.
        """
        client = self._client()
        try:
            spans = self._spans(client, topic, since_ms)
            starts = {p: span.end if since_ms is None else span.start for p, span in spans.items()}
            client.assign([TopicPartition(topic, p, start) for p, start in starts.items()])
            while True:
                messages = client.consume(BATCH, timeout=0.2)
                for message in messages:
                    error = message.error()
                    if error is None:
                        yield message
                    elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise TopicUnreadableError(f"{topic}: {error}")
                if not messages:
                    yield None
        finally:
            client.close()

    def read_ranges(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
        """The records of some offsets, partition -> (start, end), as far as they are there.

        Raises TopicUnreadableError.
        """
        client = self._client()
        try:
            spans = self._spans(client, topic, None)
            there = {p: (max(a, spans[p].low), min(b, spans[p].end)) for p, (a, b) in ranges.items() if p in spans}
            yield from self._all(client, topic, {p: r for p, r in there.items() if r[0] < r[1]})
        finally:
            client.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a consumer group has committed, by partition; -1 where it has none.

        Raises TopicUnreadableError.
        """
        client = consumer(self._bootstrap, group, self._options)  # it asks and does not join

        def committed() -> dict[int, int]:
            partitions = [
                TopicPartition(topic, p) for p in client.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
            ]
            return {tp.partition: max(tp.offset, -1) for tp in client.committed(partitions, timeout=TIMEOUT_S)}

        try:
            return _in_the_end(group, committed)
        finally:
            client.close()

    def _client(self) -> Consumer:
        group = f"leadsman-reader-{secrets.token_hex(4)}"  # assigned by hand: nobody else sees this group
        return consumer(self._bootstrap, group, {**self._options, "enable.partition.eof": "true"})

    def _spans(
        self, client: Consumer, topic: str, since_ms: int | None, until_ms: int | None = None
    ) -> dict[int, Span]:
        return _in_the_end(topic, lambda: self._spans_now(client, topic, since_ms, until_ms))

    def _spans_now(self, client: Consumer, topic: str, since_ms: int | None, until_ms: int | None) -> dict[int, Span]:
        found = client.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if found.error is not None:
            if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicUnreadableError(f"{topic}: {found.error}")
            raise KafkaException(found.error)
        marks = {p: client.get_watermark_offsets(TopicPartition(topic, p), timeout=TIMEOUT_S) for p in found.partitions}
        ends = {p: high for p, (_, high) in marks.items()}

        def at(moment_ms: int) -> dict[int, int]:
            asked = [TopicPartition(topic, p, moment_ms) for p in marks]
            answers = client.offsets_for_times(asked, timeout=TIMEOUT_S) if asked else []
            return {a.partition: a.offset if a.offset >= 0 else ends[a.partition] for a in answers}

        starts = {p: low for p, (low, _) in marks.items()} if since_ms is None else at(since_ms)
        until = ends if until_ms is None else at(until_ms)
        return {p: Span(low, max(low, starts[p]), max(low, until[p])) for p, (low, _) in marks.items()}

    def _all(self, client: Consumer, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
        left = {p: end for p, (_, end) in ranges.items()}
        client.assign([TopicPartition(topic, p, start) for p, (start, _) in ranges.items()])
        deadline = time.monotonic() + IDLE_S
        while left:
            for message in client.consume(BATCH, timeout=0.5):
                deadline = time.monotonic() + IDLE_S
                partition, offset = message.partition() or 0, message.offset() or 0
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise TopicUnreadableError(f"{topic}: {error}")
                    left.pop(partition, None)
                    continue
                if offset < left.get(partition, 0):
                    yield message
                if offset + 1 >= left.get(partition, 0):
                    left.pop(partition, None)
            if time.monotonic() > deadline:
                raise TopicUnreadableError(f"{topic}: nothing came for {IDLE_S:.0f} s, partitions {sorted(left)}")


def _in_the_end(of: str, ask: Callable[[], Answer]) -> Answer:
    """Ask again while the answer is one that passes: a topic that was just made, or a broker that just left.

    Raises TopicUnreadableError.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise TopicUnreadableError(f"{of}: {error}") from error
            time.sleep(0.5)
