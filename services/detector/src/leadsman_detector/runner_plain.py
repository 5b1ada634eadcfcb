"""The plain runner: a confluent-kafka consumer loop, for where Faust is not wanted."""

from __future__ import annotations

import asyncio
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

from leadsman_common.kafka import consume_loop, consumer
from leadsman_common.stopping import on_signals
from leadsman_detector.runner import Handler, Record, Source
from leadsman_detector.watchdog import Watchdog


class PlainRunner:
    """See Runner."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._client: Consumer | None = None

    def run(self, handler: Handler) -> None:
        """See Runner."""
        source = self._source
        stop = on_signals()
        watchdog = Watchdog(self._waiting, source.stall_s, source.stall_exit_s)
        client = self._client = consumer(
            source.bootstrap,
            source.group,
            {
                "session.timeout.ms": str(int(source.session_timeout_s * 1000)),
                "fetch.wait.max.ms": str(source.fetch_wait_ms),
                **source.kafka_options,
            },
        )
        with asyncio.Runner() as loop:

            def handle(messages: list[Message]) -> None:
                loop.run(handler([_record(m) for m in messages]))
                watchdog.progress()

            watchdog.start()
            try:
                wait_s = source.fetch_wait_ms / 1000
                consume_loop(client, [source.topic], handle, stop.is_set, batch=source.batch, wait_s=wait_s)
            finally:
                watchdog.stop()

    def ready(self) -> bool:
        """See Runner."""
        return self._client is not None and bool(self._client.assignment())

    def _waiting(self) -> bool:
        """Whether the broker has records past the position, as far as the fetches told."""
        client = self._client
        if client is None:
            return True
        for at in client.position(client.assignment()):
            _, high = client.get_watermark_offsets(at, cached=True)
            if high < 0 or 0 <= at.offset < high:
                return True
            if at.offset < 0 < high and self._unread(client, at):
                return True
        return False

    @staticmethod
    def _unread(client: Consumer, at: TopicPartition) -> bool:
        """The same for a partition of which nothing came yet: it will start at the committed offset."""
        low, high = client.get_watermark_offsets(at, timeout=5)
        (committed,) = client.committed([at], timeout=5)
        return max(int(committed.offset), low) < high


def _record(message: Message) -> Record:
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.key(),
        message.value() or b"",
        cast("list[tuple[str, bytes]]", message.headers() or ()),
        message.timestamp()[1],
    )
