"""Which shards of a stream may be read now: parents before children, so that a key's records stay in order.

Pure; between the listing of the stream and `poll.py`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as ListShards tells it.

    `parents` has two entries after a merge; a `closed` shard takes no more records.
    """

    id: str
    parents: tuple[str, ...] = ()
    closed: bool = False


def readable(shards: Iterable[Shard], finished: Container[str]) -> list[Shard]:
    """Return the shards to read: not finished, and every parent finished or aged out of the stream's listing."""
    listed = {shard.id: shard for shard in shards}
    return [
        shard
        for shard in listed.values()
        if shard.id not in finished and all(parent in finished or parent not in listed for parent in shard.parents)
    ]
