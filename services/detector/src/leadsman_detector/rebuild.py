"""The state put right from Kafka: what a fall-back took, or all of it.

One worker leads, under a lock. Where Redis fell back, the records after the offsets that it holds are put again. Where
it lost everything: the topic `state` (what outlives a day) and the last day of audit.events. What the events leave in
the state is put; nothing is claimed or raised. Timers are set anew, so that a log that fell silent before is told of.
Then every bucket is told how far it has seen each partition, and answers again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from leadsman_common.kafka import consumer
from leadsman_common.metrics import STATE_REBUILD_RECORDS, STATE_REBUILD_SECONDS, STATE_REBUILDS
from leadsman_detector.detect import Detector
from leadsman_detector.runner import Record, Source
from leadsman_detector.runner_plain import record_of
from leadsman_detector.state import StateReply, StateRequest, settle
from leadsman_detector.state_redis import Marked, RedisState, StateDoubtful
from leadsman_detector.state_topic import Topics, put_of
from leadsman_detector.timers import Handled

LOCK_MS = 15_000
CHUNK = 500  # between two looks at the lock, which must not lapse where a machine is so busy that these take seconds
AHEAD = 100_000  # of a partition: more than a worker ever handled and did not commit yet
TIMEOUT_S = 20.0
QUIET_S = 30.0  # so long without a record of a partition that has some left: Kafka is broken

_log = structlog.get_logger()


class Rebuild:
    """One attempt. `run` returns whether the state is whole by it; False where another worker leads.

    `detector` is one that only keeps.
    """

    def __init__(
        self,
        state: RedisState,
        detector: Detector,
        source: Source,
        topics: Topics,
        history_ms: int,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._state = state
        self._detector = detector
        self._source = source
        self._topics = topics
        self._history_ms = history_ms
        self._clock_ms = clock_ms
        self._holder = secrets.token_hex(8)
        self._locked_ms = 0
        self._records = 0

    async def run(self) -> bool:
        """Lead a rebuild, if no other worker does. Raises RedisError, KafkaException."""
        if not await self._state.lock("rebuild", self._holder, LOCK_MS):
            return False
        began = time.monotonic()
        try:
            done = await self._run()
        except StateDoubtful:
            _log.warning("the state fell into doubt again while it was rebuilt: it begins anew")
            done = False
        finally:
            await self._state.lock("rebuild", self._holder, 1)
        STATE_REBUILDS.labels("done" if done else "failed").inc()
        if done:
            seconds = time.monotonic() - began
            STATE_REBUILD_SECONDS.set(seconds)
            _log.info("the state is rebuilt", seconds=round(seconds, 2), records=self._records)
        return done

    async def _run(self) -> bool:
        marked = await self._state.mark(secrets.token_hex(8))
        lost = any(mark.epoch == 0 for mark in marked.values())
        source = self._source
        client = consumer(source.bootstrap, source.group, {**source.kafka_options, "enable.partition.eof": "true"})
        try:
            ranges = self._ranges(client, marked, lost=lost)
            _log.warning("rebuilding the state", lost=lost, ranges={p: list(span) for p, span in ranges.items()})
            if lost:
                await self._load_state(client, marked)
            await self._load_events(client, ranges, marked)
        finally:
            client.close()
        epoch = max(self._clock_ms(), *(mark.epoch + 1 for mark in marked.values()))
        return await self._state.finish(marked, epoch, {p: end for p, (_, end) in ranges.items()})

    def _ranges(self, client: Consumer, marked: Mapping[int, Marked], *, lost: bool) -> dict[int, tuple[int, int]]:
        """By partition, from where to where its records are put again; empty ranges too."""
        topic = self._topics.events
        partitions = _partitions(client, topic)
        committed = {
            at.partition: at.offset
            for at in client.committed([TopicPartition(topic, p) for p in partitions], timeout=TIMEOUT_S)
        }
        found = {}
        for partition in partitions:
            low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
            stored = [m.offsets.get(partition, -1) for m in marked.values()]
            handled = min(max(low, committed[partition], *stored), high)
            if lost:
                start = self._a_day_before(client, partition, handled, low, high)
            else:
                start = min((m.begun[partition] for m in marked.values() if partition in m.begun), default=handled)
                if start < low:
                    _log.error("records are gone that the state has not seen", partition=partition, count=low - start)
            found[partition] = (min(max(start, low), high), min(high, handled + AHEAD))
        return found

    def _a_day_before(self, client: Consumer, partition: int, handled: int, low: int, high: int) -> int:
        """The offset of the first record that is at most a day older than the one at `handled`."""
        topic, at_ms = self._topics.events, self._clock_ms()
        if handled < high:
            client.assign([TopicPartition(topic, partition, handled)])
            message = client.poll(TIMEOUT_S)
            client.unassign()
            if message is not None and message.error() is None:
                at_ms = min(at_ms, message.timestamp()[1])
        asked = TopicPartition(topic, partition, max(0, at_ms - self._history_ms))
        (answer,) = client.offsets_for_times([asked], timeout=TIMEOUT_S)
        return min(answer.offset, handled) if answer.offset >= 0 else max(low, min(handled, high))

    async def _load_state(self, client: Consumer, marked: Mapping[int, Marked]) -> None:
        now_ms = self._clock_ms()
        for records in records_of(client, self._topics.state):
            puts = [put for r in records if (put := put_of(r.value, r.timestamp_ms, now_ms)) is not None]
            if puts:
                await self._state.rebuilt([*puts, *self._detector.restored(puts)], marked)
            await self._progress(len(records))

    async def _load_events(
        self, client: Consumer, ranges: Mapping[int, tuple[int, int]], marked: Mapping[int, Marked]
    ) -> None:
        async def exchange(requests: list[StateRequest]) -> list[StateReply]:
            return await self._state.rebuilt(requests, marked)

        for records in _read(client, self._topics.events, ranges):
            now_us = self._clock_ms() * 1000
            await settle(self._detector.evaluate(self._detector.plan(records, now_us), now_us), exchange)
            await self._progress(len(records))
        await exchange([*self._detector.waiting()])

    async def _progress(self, records: int) -> None:
        self._records += records
        STATE_REBUILD_RECORDS.set(self._records)
        now_ms = self._clock_ms()
        if now_ms - self._locked_ms > LOCK_MS / 5:
            self._locked_ms = now_ms
            if not await self._state.lock("rebuild", self._holder, LOCK_MS):
                raise StateDoubtful("another worker leads", lost=False)
        await asyncio.sleep(0)


def _partitions(client: Consumer, topic: str) -> list[int]:
    found = client.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def records_of(client: Consumer, topic: str) -> Iterator[list[Record]]:
    """All that a topic holds now, in parts; `client` tells the ends of partitions."""
    ranges = {p: client.get_watermark_offsets(TopicPartition(topic, p), TIMEOUT_S) for p in _partitions(client, topic)}
    yield from _read(client, topic, ranges)


def _read(client: Consumer, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[list[Record]]:
    """The records of these ranges, in parts; a compacted topic may lack any of them."""
    left = {p: end for p, (start, end) in ranges.items() if start < end}
    if not left:
        return
    client.assign([TopicPartition(topic, p, ranges[p][0] or OFFSET_BEGINNING) for p in left])
    heard = time.monotonic()
    while left:
        records = []
        for message in client.consume(CHUNK, timeout=0.2):
            heard = time.monotonic()
            error, partition = message.error(), message.partition() or 0
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise KafkaException(error)
            offset = message.offset() or 0
            end = left.get(partition, 0)
            if error is None and offset < end:
                records.append(record_of(message))
            if partition in left and (error is not None or offset >= end - 1):
                del left[partition]  # the last records of a compacted topic may not exist: its end is told
                client.incremental_unassign([TopicPartition(topic, partition)])
        if records:
            yield records
        if time.monotonic() - heard > QUIET_S:
            raise TimeoutError(f"{topic}: no record for {QUIET_S} s, left {left}")
    client.unassign()


def bounds(source: Source, partition: int) -> tuple[int, int]:
    """The first offset that a partition of audit.events still has, and the group's committed one (or that first)."""
    at = TopicPartition(source.topic, partition)
    client = consumer(source.bootstrap, source.group, source.kafka_options)
    try:
        low, _ = client.get_watermark_offsets(at, timeout=TIMEOUT_S)
        (committed,) = client.committed([at], timeout=TIMEOUT_S)
    finally:
        client.close()
    return int(low), max(int(low), int(committed.offset))


class GroupReader:
    """How far the consumer group is with audit.events; connects when it is asked first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._client: Consumer | None = None
        self._handled = Handled()

    def all_handled(self, now_ms: int) -> bool:
        """Whether all that the topic held a while ago is handled and committed; False where Kafka does not tell."""
        source = self._source
        if self._client is None:
            self._client = consumer(source.bootstrap, source.group, source.kafka_options)
        try:
            asked = [TopicPartition(source.topic, p) for p in _partitions(self._client, source.topic)]
            committed = {at.partition: at.offset for at in self._client.committed(asked, timeout=TIMEOUT_S)}
            ends = {at.partition: self._client.get_watermark_offsets(at, timeout=TIMEOUT_S)[1] for at in asked}
        except KafkaException:
            return False
        return self._handled.look(ends, committed, now_ms)
