"""CorrelationState in Redis: one EVALSHA for each cluster of a batch, which is what makes it cheap (STREAMING).

All keys of a cluster share a hash tag, so a script's keys lie on one node of a Redis Cluster. Every request may be
repeated: after a crash, or a reply that was lost, the same exchange gives the same answers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from leadsman_common.eviction import complaint, policies
from leadsman_common.metrics import STATE_EVICTED
from leadsman_detector.state import Claim, Keyed, Put, Range, StateReply, StateRequest

RETRIES = 5
CALLS_AT_ONCE = 8  # clusters of one batch that are asked side by side, each over a connection

# KEYS: one a request. ARGV: per request its kind and four values.
# The first reply is how many members were dropped, then one reply a request.
_SCRIPT = """
local replies, evicted = {0}, 0
for i = 1, #KEYS do
  local at = (i - 1) * 5
  if ARGV[at + 1] == 'P' then
    local cap = tonumber(ARGV[at + 5])
    redis.call('ZADD', KEYS[i], 'NX', ARGV[at + 2], ARGV[at + 3])
    local over = redis.call('ZCARD', KEYS[i]) - cap
    if over > 0 then evicted = evicted + redis.call('ZREMRANGEBYRANK', KEYS[i], 0, over - 1) end
    redis.call('PEXPIRE', KEYS[i], ARGV[at + 4])
  end
end
for i = 1, #KEYS do
  local at = (i - 1) * 5
  local kind = ARGV[at + 1]
  if kind == 'P' then
    replies[i + 1] = 0
  elseif kind == 'R' then
    replies[i + 1] = redis.call('ZRANGEBYSCORE', KEYS[i], ARGV[at + 2], ARGV[at + 3])
  else
    local kept = redis.call('HMGET', KEYS[i], 'rank', 'holder')
    local lower = not kept[1] or tonumber(ARGV[at + 2]) < tonumber(kept[1])
    if lower then
      redis.call('HSET', KEYS[i], 'rank', ARGV[at + 2], 'holder', ARGV[at + 3])
    end
    local held = lower or kept[2] == ARGV[at + 3]
    if held then redis.call('PEXPIRE', KEYS[i], ARGV[at + 4]) end
    replies[i + 1] = held and 1 or 0
  end
end
replies[1] = evicted
return replies
"""
_SCRIPT_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # the name Redis gives it


class RedisState:
    """See CorrelationState. `namespace` comes in front of every key: a replay has one of its own."""

    def __init__(self, client: Redis | RedisCluster, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        self.evicted = 0

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """See CorrelationState. Raises redis.RedisError when Redis stays away after retries."""
        by_cluster: dict[str, list[int]] = defaultdict(list)
        keyed = [r for r in requests if isinstance(r, Keyed)]
        if len(keyed) < len(requests):
            raise NotImplementedError("timers are kept in memory only")
        for n, request in enumerate(keyed):
            by_cluster[request.cluster].append(n)
        replies: list[StateReply] = [None] * len(requests)
        calls = (self._call([keyed[n] for n in places]) for places in by_cluster.values())
        for places, answers in zip(by_cluster.values(), await asyncio.gather(*calls), strict=True):
            for n, answer in zip(places, answers, strict=True):
                replies[n] = answer
        return replies

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _call(self, requests: list[Keyed]) -> list[StateReply]:
        keys: list[bytes] = []
        values: list[bytes | int] = []
        for request in requests:
            keys.append(key_of(self._namespace, request))
            values += _values(request)
        async with self._at_once:
            evicted, *answers = await self._run(keys, values)
        if evicted:
            self.evicted += evicted
            STATE_EVICTED.inc(evicted)
        return [_reply(request, answer) for request, answer in zip(requests, answers, strict=True)]

    async def _run(self, keys: list[bytes], values: list[bytes | int]) -> Any:
        client: Any = self._client
        try:
            return await client.evalsha(_SCRIPT_SHA, len(keys), *keys, *values)
        except NoScriptError:  # a new server, a restart, a flush: send the script itself, which loads it
            return await client.eval(_SCRIPT, len(keys), *keys, *values)


def connect(url: str, *, cluster: bool = False) -> Redis | RedisCluster:
    """A client that retries a lost connection a few times, then raises. It connects at the first request."""
    options: dict[str, Any] = {
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "retry": Retry(ExponentialBackoff(cap=2, base=0.05), RETRIES, (RedisConnectionError, RedisTimeoutError)),
    }
    kind: Any = RedisCluster if cluster else Redis
    client: Redis | RedisCluster = kind.from_url(url, **options)
    return client


def eviction_of(url: str, *, cluster: bool, log: Any) -> str:
    """Why the Redis there may not hold the state, or "". Raises redis.RedisError where it stays away.

    An account that may not ask (ACL), and a server that does not tell, are no reason to stay away.
    """

    async def ask() -> str:
        client: Any = connect(url, cluster=cluster)
        try:
            info = await (client.info("memory", target_nodes="primaries") if cluster else client.info("memory"))
        except NoPermissionError as error:
            log.warning(
                "Redis does not let us see its eviction policy: make sure that it is noeviction", error=str(error)
            )
            return ""
        finally:
            await client.aclose()
        if not policies(info):
            log.warning("Redis does not tell its eviction policy: make sure that it is noeviction")
        return complaint(info)

    return asyncio.run(ask())


def key_of(namespace: str, request: Keyed) -> bytes:
    """The Redis key: NAMESPACE{CLUSTER}:s:SERIES or :c:KEY; the braces are the hash tag, never empty."""
    cluster = request.cluster.replace("%", "%25").replace("}", "%7D")
    kind, name = ("c", request.key) if isinstance(request, Claim) else ("s", request.series)
    return f"{namespace}{{c={cluster}}}:{kind}:{name}".encode("utf-8", "surrogatepass")


def _values(request: Keyed) -> tuple[bytes | int, ...]:
    if isinstance(request, Put):
        return b"P", request.time_ms, request.member, request.ttl_ms, request.cap
    if isinstance(request, Range):
        return b"R", request.from_ms, request.to_ms, 0, 0
    return b"C", request.rank, request.holder.encode("utf-8", "surrogatepass"), request.ttl_ms, 0


def _reply(request: Keyed, answer: Any) -> StateReply:
    if isinstance(request, Put):
        return None
    return list(answer) if isinstance(request, Range) else bool(answer)
