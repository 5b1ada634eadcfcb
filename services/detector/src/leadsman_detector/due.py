"""What a timer of the state says: what is to be looked at again, and the event that it began with."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from leadsman_detector.alert import Where

FIRST_SEEN = "first_seen"
CELL = "cell"
BASELINE = "baseline"
RISK = "risk"
SILENCE = "silence"
REPEATS = "repeats"


@dataclass(frozen=True, slots=True)
class What:
    """`kind` says how to look, `name` which rule or correlation; for a baseline the cluster.

    `event` is Avro, an alert, or says which cell is over or which requests are to be counted.
    """

    kind: str
    name: str
    where: Where
    event: bytes


def encode_due(kind: str, name: str, where: Where, event: bytes) -> bytes:
    """As the state keeps it."""
    return msgspec.msgpack.encode((kind, name, *where, event))


def decode_due(what: bytes) -> What:
    """The inverse. Raises ValueError for what another release wrote otherwise."""
    kind, name, topic, partition, offset, event = msgspec.msgpack.decode(
        what, type=tuple[str, str, str, int, int, bytes]
    )
    return What(kind, name, Where(topic, partition, offset), event)
