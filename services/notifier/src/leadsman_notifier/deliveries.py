"""The deliveries topic: which channel was told of which alert at which level.

It is compacted, and an alert's record lies in the partition that the alert has on its own topic.
Two kinds of record. `told`: the channel took the alert. `sending`: a message is about to be sent; it is deleted with a
null once the message was taken or given up, so one that is found at a start was on its way when its notifier died, and
is sent again under the same key. A digest has one such record however many partitions its alerts came from: of several
a notifier that is killed might have written some, and the rest of its alerts would be told once more in another digest.
It lies in the lowest of these partitions, whose worker deletes it, after all its alerts are written down as told.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import TypedDict

import structlog

from leadsman_common.avro import Codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.topic_reader import TopicReader
from leadsman_notifier.limits import MINUTE_S
from leadsman_notifier.message import decode, encode
from leadsman_notifier.outbox import Member, Outbox, Parcel

LAST_OFFSET = (1 << 63) - 1
READ_LITTLE_AHEAD = {"queued.max.messages.kbytes": "8192", "fetch.message.max.bytes": "1048576"}
_log = structlog.get_logger()


class DeliveryMember(TypedDict):
    """An alert of a message that is being sent."""

    id: str
    rank: int
    partition: int


class Delivery(TypedDict):
    """One record of the topic (schemas/avro/delivery.avsc)."""

    channel: str
    status: str
    alert_id: str
    rank: int
    message: str
    time_ms: int
    members: list[DeliveryMember]
    body: str


def _home(members: Iterable[Member]) -> int:
    """The partition of alerts beside which a message's record lies."""
    return min(member.partition for member in members)


@cache
def delivery_codec() -> Codec[Delivery]:
    """The codec of deliveries, built once."""
    return Codec("delivery")


class Deliveries:
    """The topic as one channel writes and reads it."""

    def __init__(
        self, bootstrap: str, options: Mapping[str, str], topic: str, channel: str, producer: AckedProducer
    ) -> None:
        self._reader = TopicReader(bootstrap, {**READ_LITTLE_AHEAD, **options})
        self._topic = topic
        self._channel = channel
        self._producer = producer
        self._partitions = 0

    def sending(self, parcel: Parcel) -> None:
        """Write down that the message is about to be sent. Raises DeliveryFailed."""
        body = encode(parcel.message) if parcel.message.is_digest else ""
        members: list[DeliveryMember] = [
            {"id": member.id, "rank": member.rank, "partition": member.partition} for member in parcel.members
        ]
        value = self._value("sending", message=parcel.message.key, members=members, body=body)
        self._producer.send([self._record(_home(parcel.members), self._sending_key(parcel), value)])
        parcel.announced = True

    def settled(self, parcels: Iterable[Parcel], *, told: bool) -> None:
        """Write down that the messages were taken (`told`) or given up, and take back what `sending` wrote."""
        out: list[Outgoing] = []
        taken_back: list[
            Outgoing
        ] = []  # after the rest has arrived: only within a partition do records keep their order
        for parcel in parcels:
            if told:
                out += (
                    self._record(
                        member.partition,
                        f"{self._channel}/told/{member.id}",
                        self._value("told", alert_id=member.id, rank=member.rank, message=parcel.message.key),
                    )
                    for member in parcel.members
                )
            if parcel.announced:
                null = self._record(_home(parcel.members), self._sending_key(parcel), None)
                (taken_back if len({m.partition for m in parcel.members}) > 1 else out).append(null)
        self._producer.send(out)
        if taken_back:
            self._producer.send(taken_back)

    def restore(self, partitions: Collection[int], outbox: Outbox) -> int:
        """Read what concerns these partitions of alerts into the outbox; returns how many records were this channel's.

        A digest's record may lie in any partition, so all are read. Raises TopicUnreadableError: then nothing may be
        sent.
        """
        sending: dict[tuple[int, bytes], Delivery] = {}
        sent: dict[str, int] = {}
        read = 0
        mine = {self._partition_of(partition) for partition in partitions}
        for at, key, value in self._read():
            kind = key.partition(b"/")[2].partition(b"/")[0]
            if not key.startswith(self._channel.encode() + b"/") or (kind != b"sending" and at not in mine):
                continue
            read += 1
            if value is None:
                sending.pop((at, key), None)
                continue
            try:
                record = delivery_codec().decode(value)
            except InvalidEvent as error:
                _log.error("delivery record not understood", partition=at, reason=error.reason)
                continue
            if kind == b"sending":
                sending[at, key] = record
            else:
                outbox.told.add(record["alert_id"], record["rank"])
                sent[record["message"]] = record["time_ms"]
        for time_ms in sorted(sent.values()):
            if time_ms / 1000 > time.time() - MINUTE_S:
                outbox.limit.note(min(time_ms / 1000, time.time()))
        for (at, _), record in sending.items():
            self._resume(record, at, set(partitions), outbox)
        return read

    def _resume(self, record: Delivery, at: int, partitions: Collection[int], outbox: Outbox) -> None:
        members = [Member(m["id"], m["rank"], at if m["partition"] < 0 else m["partition"]) for m in record["members"]]
        ours = [member for member in members if member.partition in partitions]
        if not ours:
            return
        if not record["body"]:
            for member in ours:
                outbox.begun(member.id, member.rank)
            return
        # the worker that has the record settles it whole; another one sends the same message for its own alerts
        at_home = _home(members) in partitions
        outbox.again(decode(record["body"]), members if at_home else ours, announced=at_home)

    def _read(self) -> Iterable[tuple[int, bytes, bytes | None]]:
        ranges = dict.fromkeys(range(self._count()), (0, LAST_OFFSET))
        for message in self._reader.read_ranges(self._topic, ranges):
            yield message.partition() or 0, message.key() or b"", message.value()

    def _count(self) -> int:
        if not self._partitions:
            self._partitions = self._producer.partitions(self._topic)
        return self._partitions

    def _partition_of(self, partition: int) -> int:
        return partition % self._count()

    def _sending_key(self, parcel: Parcel) -> str:
        return f"{self._channel}/sending/{parcel.message.key}"

    def _record(self, partition: int, key: str, value: bytes | None) -> Outgoing:
        return Outgoing(self._topic, key.encode("utf-8", "replace"), value, (), self._partition_of(partition))

    def _value(
        self,
        status: str,
        *,
        alert_id: str = "",
        rank: int = 0,
        message: str = "",
        members: list[DeliveryMember] | None = None,
        body: str = "",
    ) -> bytes:
        return delivery_codec().encode(
            {
                "channel": self._channel,
                "status": status,
                "alert_id": alert_id,
                "rank": rank,
                "message": message,
                "time_ms": time.time_ns() // 1_000_000,
                "members": members or [],
                "body": body,
            }
        )
