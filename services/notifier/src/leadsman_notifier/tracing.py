"""A channel's spans, where traces are made: one a message, from when its first alert was read to what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from confluent_kafka import Message
from opentelemetry.trace import SpanKind

from leadsman_common.kafka import Header
from leadsman_common.spans import operation, traceparent
from leadsman_notifier.outbox import Parcel

if TYPE_CHECKING:
    from leadsman_common.spans import Spans


class Tracks:
    """The traces of the alerts that a channel has still to be told of."""

    def __init__(self, spans: Spans, channel: str, topic: str, group: str) -> None:
        self._spans = spans
        self._said = {
            **operation("process", topic),
            "messaging.consumer.group.name": group,
            "leadsman.channel": channel,
        }
        self._name = f"process {topic}"
        self._waiting: dict[
            tuple[int, int], tuple[bytes, int]
        ] = {}  # by partition and offset: header, when it was read

    def take(self, message: Message) -> None:
        """An alert waits."""
        header = traceparent(cast("list[Header]", message.headers() or []))
        if header is not None:
            self._waiting[message.partition() or 0, message.offset() or 0] = header, time.time_ns()

    def settled(self, parcel: Parcel, refused: str = "") -> None:
        """A message was taken by the channel, or given up: `refused` says why.

        The span of an alert by itself is the child of the alert's; that of a digest is linked with those of all that it
        tells of.
        """
        places = ((place.partition, place.offset) for place in parcel.places)
        came = [found for place in places if (found := self._waiting.pop(place, None))]
        if not came:
            return
        headers = list(dict.fromkeys(header for header, _ in came))
        alone = len(headers) == 1
        said = {**self._said, "leadsman.alert.level": parcel.message.level}
        if parcel.message.is_digest:
            said["messaging.batch.message_count"] = parcel.message.total
        else:
            said["leadsman.alert.id"] = parcel.members[0].id
        traced = self._spans.span(
            self._name,
            SpanKind.CONSUMER,
            said,
            parent=headers[0] if alone else None,
            links=() if alone else headers,
            start_ns=min(since for _, since in came),
        )
        if refused:
            traced.failed("Undelivered", refused)
        traced.span.end()

    def forget(self, partition: int) -> None:
        """Another worker has that partition now."""
        for place in [place for place in self._waiting if place[0] == partition]:
            del self._waiting[place]
