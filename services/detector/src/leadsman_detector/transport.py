"""Faust's aiokafka driver, coalescing: an agent gets one message a partition and fetch, its value a Batch of records.

Faust's cost is per message (STREAMING: 170 to 300 µs), so it is paid per batch here. Offsets are committed by
AckQueue alone. It leans on private names of faust-streaming 0.15.3 and aiokafka 0.14.0: both are pinned. Not for
apps with tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, cast

from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaConsumer
from faust.transport.drivers.aiokafka import Transport as AIOKafkaTransport
from faust.types import TP, ConsumerMessage

from leadsman_detector.acks import AckQueue, Batch
from leadsman_detector.runner import BeforeCommit, Record, Source

SCHEME = "leadsman"
TRANSPORTS.aliases[SCHEME] = "leadsman_detector.transport:Transport"

# a fetch is answered when this much is there, or after the wait: some 500 compressed events
FETCH_MIN_BYTES = 64 * 1024


def source_of(app: Any) -> Source:
    """What the app reads: Faust's settings have no room for our own."""
    source: Source = app.source
    return source


def before_commit_of(app: Any) -> BeforeCommit:
    """What the app does before offsets are committed."""
    before: BeforeCommit = app.before_commit
    return before


class BatchMessage(ConsumerMessage):
    """A Batch on its way through Faust."""

    _acked = False

    @property
    def acked(self) -> bool:
        """Whether Faust is done with it. A property, since the Cython stream sets it without any call."""
        return self._acked

    @acked.setter
    def acked(self, done: bool) -> None:
        self._acked = done
        if done:
            cast("Batch", self.value).ack()


def coalesce(queue: AckQueue, fetched: list[Any], size: int) -> Iterator[Batch]:
    """What aiokafka fetched of a partition as batches of at most `size`, each noted in the queue."""
    for start in range(0, len(fetched), size):
        batch = Batch(
            [
                Record(r.topic, r.partition, r.offset, r.key, r.value or b"", r.headers, r.timestamp)
                for r in fetched[start : start + size]
            ]
        )
        queue.fetched(batch)
        yield batch


class ConsumerThread(AIOKafkaConsumerThread):
    """The thread that talks to Kafka."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Faust fixes the wait at 1500 ms, and aiokafka has one fetch in flight per broker: while it waits for a
        # partition at its end, no other partition of that broker is fetched. docs/decisions/004-faust-transport.md
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = source_of(self.app).fetch_wait_ms  # noqa: SLF001
        consumer._fetch_min_bytes = FETCH_MIN_BYTES  # noqa: SLF001
        return consumer

    async def seek_back(self, offsets: Mapping[TP, int]) -> Mapping[TP, int]:
        """Seek partitions to offsets that they have passed; returns those of which that is so.

        Never forward, which would pass over what lies between: a partition that is not there yet comes to it.
        """
        return cast("Mapping[TP, int]", await self.call_thread(self._seek_back, offsets))

    async def _seek_back(self, offsets: Mapping[TP, int]) -> Mapping[TP, int]:
        # nothing is awaited here, so no rebalance comes between the look and the seek
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription  # noqa: SLF001
        assignment = subscription.assignment if subscription is not None else None
        passed = {}
        for tp, offset in offsets.items():
            state = assignment.state_value(tp) if assignment is not None else None
            if state is not None and state.has_valid_position and offset < state.position:
                consumer.seek(tp, offset)
                passed[tp] = offset
        return passed


class Consumer(AIOKafkaConsumer):
    """The consumer: coalesces what was fetched, and says what may be committed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queues: defaultdict[TP, AckQueue] = defaultdict(AckQueue)
        self.batch_size: int = source_of(self.app).batch
        self._again: dict[TP, int] = {}  # what is to be read again, and from where

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Batch]]:  # noqa: ASYNC109
        if self._again:
            await self._rewind()
        fetched = await super()._getmany(active_partitions, timeout)
        return {tp: list(coalesce(self.queues[tp], records, self.batch_size)) for tp, records in fetched.items()}

    def rewind(self, offsets: Mapping[TP, int]) -> None:
        """Read partitions again from these offsets, before the next fetch: then none is under way.

        Where one waits for it already, from the lower offset: the higher one may be of a batch that was in hand when
        the lower was named, and what lies between came of none.
        """
        for tp, offset in offsets.items():
            self._again[tp] = min(offset, self._again.get(tp, offset))

    def rewinding(self, partition: int, first: int) -> bool:
        """Whether a batch that is still on its way will come anew, since its partition waits to be read again."""
        return any(tp.partition == partition and first >= offset for tp, offset in self._again.items())

    async def _rewind(self) -> None:
        again, self._again = self._again, {}
        for tp, offset in (await self._thread.seek_back(again)).items():
            self.queues[tp].drop_from(offset)
            self._read_offset[tp] = offset or None  # Faust drops what lies behind it

    def _to_message(self, tp: TP, batch: Batch) -> BatchMessage:
        return BatchMessage(
            tp.topic,
            tp.partition,
            batch.last,
            batch.records[-1].timestamp_ms / 1000,
            0,
            None,
            None,
            cast("bytes", batch),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def on_buffer_full(self, tp: TP) -> None:
        """Stay active: a full buffer blocks the fetcher, which goes on the moment a batch is taken.

        Stock Faust takes the partition out, and sleeps a whole second when none is left in.
        """

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self.queues) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        # Faust's own books, which nothing else would empty
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        return self.queues[tp].end if tp in self.queues else None

    async def _handle_attached(self, commit_offsets: Mapping[TP, int]) -> None:
        """Have what belongs to these offsets safe: Faust asks for it between choosing and committing them."""
        await before_commit_of(self.app)()
        await super()._handle_attached(commit_offsets)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: Faust's gaps would let a commit pass batches that are not handled."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Wait for the batch in hand and commit, as Faust does; only then forget."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self.queues.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start afresh: every partition is read again from its committed offset."""
        self.queues.clear()
        self._again.clear()
        # Faust notes a commit though a rebalancing group refused it, and would not try that offset again
        self._committed_offset.clear()
        await super().on_partitions_assigned(assigned, generation_id)


class Transport(AIOKafkaTransport):
    """The driver of leadsman:// URLs."""

    Consumer = Consumer
