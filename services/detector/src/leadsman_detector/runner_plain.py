"""The plain runner: a confluent-kafka consumer loop, for where Faust is not wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from leadsman_common.kafka import Commits, consume_loop, consumer
from leadsman_common.stopping import on_signals
from leadsman_detector.runner import TICK_S, BeforeCommit, Handler, Record, Source, Tick, no_tick, nothing_before
from leadsman_detector.watchdog import Watchdog

LOOK_S = 0.5


class PlainRunner:
    """See Runner.

    The client is asked how it stands between two batches, on the loop's own thread: asked from another one, it
    answers only when no `consume` is going on, which may be never.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._assigned = False
        self._behind = True
        self._looked = 0.0
        self._ticked = 0.0
        self._held: set[int] = set()  # partitions of which nothing is committed until they are read again
        self._read: dict[int, int] = {}  # partition without a position -> high watermark up to which all is committed

    def run(self, handler: Handler, tick: Tick = no_tick, before_commit: BeforeCommit = nothing_before) -> None:
        """See Runner."""
        source = self._source
        stop = on_signals()
        watchdog = Watchdog(self.waiting, source.stall_s, source.stall_exit_s)
        client = consumer(
            source.bootstrap,
            source.group,
            {
                "session.timeout.ms": str(int(source.session_timeout_s * 1000)),
                "fetch.wait.max.ms": str(source.fetch_wait_ms),
                **source.kafka_options,
            },
        )

        commits = Commits(client)

        def stopping() -> bool:
            now = time.monotonic()
            if now - self._looked >= LOOK_S:
                self._look(client)
                self._looked = now
            if now - self._ticked >= TICK_S:
                self._rewind(client, commits, loop.run(tick()))
                self._ticked = time.monotonic()
                if self._held:
                    watchdog.progress()  # nothing may be new, and what is held waits for the state
            return stop.is_set()

        with asyncio.Runner() as loop:

            def handle(messages: list[Message]) -> list[Message]:
                self._behind = True
                done = loop.run(handler([record_of(m) for m in messages]))
                watchdog.progress()
                if not done:
                    self._held.update(m.partition() or 0 for m in messages)
                loop.run(before_commit())  # the loop commits after each batch
                return [m for m in messages if m.partition() not in self._held]

            watchdog.start()
            try:
                wait_s = source.fetch_wait_ms / 1000
                size, group = source.batch, source.group
                consume_loop(
                    client,
                    [source.topic],
                    handle,
                    stopping,
                    batch=size,
                    wait_s=wait_s,
                    assigned=self._joined,
                    group=group,
                    commits=commits,
                )
            finally:
                watchdog.stop()

    def ready(self) -> bool:
        """See Runner."""
        return self._assigned

    def waiting(self) -> bool:
        """Whether records wait, as of the last look; while a batch is in hand they do."""
        return self._behind

    def _rewind(self, client: Consumer, commits: Commits, offsets: Mapping[int, int]) -> None:
        """Read partitions again. One that is not ours starts at its committed offset where it is."""
        if not offsets:
            return
        assigned = {at.partition for at in client.assignment()}
        commits.forget((self._source.topic, partition) for partition in offsets)
        for partition, offset in offsets.items():
            if partition in assigned:
                client.seek(TopicPartition(self._source.topic, partition, offset))
            self._held.discard(partition)

    def _joined(self, client: Consumer, assigned: list[TopicPartition]) -> None:  # noqa: ARG002 - confluent-kafka's form
        """The group gave us partitions, or none, where there are more workers."""
        self._assigned = True

    def _look(self, client: Consumer) -> None:
        try:
            self._behind = any(self._has_more(client, at) for at in client.position(client.assignment()))
        except KafkaException:  # Kafka does not answer: nothing says that all is read
            self._behind = True

    def _has_more(self, client: Consumer, at: TopicPartition) -> bool:
        """Whether the broker has records past the position, as far as the fetches told."""
        _, high = client.get_watermark_offsets(at, cached=True)
        if high < 0 or at.offset >= 0:
            return high < 0 or at.offset < high
        if high == self._read.get(at.partition, 0):
            return False
        # nothing came of it yet: it starts at the committed offset, or at the beginning
        low, high = client.get_watermark_offsets(at, timeout=2)
        (committed,) = client.committed([at], timeout=2)
        if max(int(committed.offset), low) < high:
            return True
        self._read[at.partition] = high
        return False


def record_of(message: Message) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value() or b"",
        cast("list[tuple[str, bytes]]", message.headers() or ()),
        message.timestamp()[1],
    )
