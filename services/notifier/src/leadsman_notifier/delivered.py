"""What was delivered where: one delivery for each alert, revision and sink.

A key (alerts.delivery_key) is added only after the sink has accepted the alert. A worker killed between the two sends
it once more; the receiver can tell by the Idempotency-Key. So: at least once, and once as long as nobody dies in that
moment.
"""

from __future__ import annotations

from collections import OrderedDict

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from leadsman_common.eviction import complaint


class RedisDelivered:
    """Shared by all workers, kept over restarts. What Redis raises after five tries is a broken world."""

    def __init__(self, url: str, prefix: str, keep_s: int) -> None:
        self._keep_s = keep_s
        self._prefix = prefix
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(ExponentialBackoff(cap=2, base=0.1), 5),
        )

    def has(self, sink: str, key: str) -> bool:
        """Whether that alert was delivered there."""
        return bool(self._redis.exists(self._key(sink, key)))

    def add(self, sink: str, key: str) -> None:
        """Remember a delivery for `keep_s`, counted from the first one."""
        self._redis.set(self._key(sink, key), b"1", nx=True, ex=self._keep_s)

    def ready(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False

    def complaint(self) -> str:
        """Why this Redis may forget deliveries, which repeats them; "" where it keeps them or cannot be asked."""
        try:
            return complaint(self._redis.info("memory"))
        except redis.RedisError:
            return ""

    def _key(self, sink: str, key: str) -> str:
        return f"{self._prefix}leadsman:delivered:{sink}:{key}"


class MemoryDelivered:
    """For a notifier without Redis: this process alone, the last `capacity` deliveries of each sink."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._ids: dict[str, OrderedDict[str, None]] = {}

    def has(self, sink: str, key: str) -> bool:
        """Whether that alert was delivered there."""
        return key in self._ids.get(sink, ())

    def add(self, sink: str, key: str) -> None:
        """Remember a delivery, and forget the oldest past the capacity."""
        ids = self._ids.setdefault(sink, OrderedDict())
        ids[key] = None
        if len(ids) > self._capacity:
            ids.popitem(last=False)
