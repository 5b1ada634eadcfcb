"""What a channel has been told: alert id -> the highest level, in memory; the deliveries topic is the record of it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

CAPACITY = 200_000


class Told:
    """The last `capacity` alerts that a channel was told of, by a short hash of the id (hundreds of bytes each)."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._ranks: OrderedDict[bytes, int] = OrderedDict()

    def rank(self, alert_id: str) -> int:
        """The level rank that it was told at, -1 where it was not."""
        return self._ranks.get(_short(alert_id), -1)

    def add(self, alert_id: str, rank: int) -> None:
        """It was told at that level; past the capacity the oldest is forgotten."""
        key = _short(alert_id)
        self._ranks[key] = max(rank, self._ranks.get(key, -1))
        self._ranks.move_to_end(key)
        if len(self._ranks) > self._capacity:
            self._ranks.popitem(last=False)


def _short(alert_id: str) -> bytes:
    return hashlib.blake2b(alert_id.encode("utf-8", "surrogatepass"), digest_size=10).digest()
