"""CorrelationState in Redis: one EVALSHA a batch on a Redis of its own, one a bucket on a Redis Cluster.

    tag = {NAMESPACE BUCKET}        BUCKET = crc32 of cluster and group, modulo the number of buckets
    TAG meta                        what the bucket knows of itself (state_lua.py)
    TAG s:CLUSTER:GROUP:SERIES      a series: a sorted set of members, or of names with their members beside it
    TAG c:CLUSTER:GROUP:KEY         a claim
    TAG t:CLUSTER:SOURCE            timers
    TAG q:CLUSTER:OWNER             the series that count for an owner's quota, by when they expire
    TAG timed                       the keys of the timers that wait
    TAG progress, lock:, board:     of bucket 0: how far sources have come, who leads, what workers tell each other

Every request may be repeated: after a crash, or a reply that was lost, the same exchange gives the same answers.
A guarded exchange carries how far each partition was read. The bucket keeps that beside the state, in the same call,
so a Redis that lost data, fell back to an older copy, or was given records that do not follow on what it has seen
says so instead of answering. docs/decisions/009 says why it is built so.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from leadsman_common.eviction import complaint, policies
from leadsman_common.metrics import STATE_EVICTED, STATE_GROUPS_EVICTED
from leadsman_detector import state_lua
from leadsman_detector.state import DAY_MS, Claim, Due, Put, Range, StateReply, StateRequest, Timer

RETRIES = 3
CALLS_AT_ONCE = 8  # buckets of one exchange that are asked side by side, each over a connection
CLUSTER_BUCKETS = 16
TIMER_TTL_MS = 31 * 24 * 60 * 60 * 1000
LONG_LIVED = 4  # so many times as many groups may there be of what lives longer than a day: objects, who was seen
_BODIES = b"\0m"  # of a series with names: where the members are
_GLOB = re.compile(rb"[\\*?\[\]]")
_log = structlog.get_logger()
_KINDS = {"latest": b"P", "earliest": b"P", "last": b"L", "first": b"F", "ends": b"B"}


class Span(NamedTuple):
    """The records of a partition that an exchange stands for: from `first` up to before `next`."""

    partition: int
    first: int
    next: int
    take: bool = False  # though records are missing before it: they are gone for good


class StateDoubtful(Exception):
    """The state lost data or fell back, and is not whole again; nothing was written."""

    def __init__(self, doubt: str, *, lost: bool) -> None:
        super().__init__(f"{'lost' if lost else 'fell back'}, doubt {doubt}")
        self.doubt = doubt
        self.lost = lost


class StateGap(Exception):
    """The state has seen a partition's records only up to `stored`, and these come after; nothing was written."""

    def __init__(self, partition: int, stored: int) -> None:
        super().__init__(f"partition {partition}: the state ends at {stored}")
        self.partition = partition
        self.stored = stored


@dataclass(slots=True)
class Marked:
    """A bucket in doubt, as a rebuild finds it; `epoch` 0 where it lost everything.

    By partition, `offsets` tells up to where it has seen the records, `begun` where the last batch of these began,
    which may not be whole.
    """

    doubt: str
    run: str
    epoch: int
    offsets: dict[int, int]
    begun: dict[int, int]


@dataclass(slots=True)
class Exchanged:
    """The replies, and the Puts (their places) that changed something.

    `again`: the records may have been here before, so what changed nothing now may have changed something then.
    """

    replies: list[StateReply]
    changed: set[int] = field(default_factory=set)
    again: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A series as it stands: `members` with the time of each, ms."""

    cluster: str
    group: str
    series: str
    expires_ms: int
    members: list[tuple[int, bytes]]

    @property
    def owner(self) -> str:
        """Whose it is."""
        return owner_of(self.group)


@dataclass(slots=True)
class _Seen:
    """What a bucket told last; a bucket that tells of less has fallen back."""

    epoch: int = 0
    calls: int = 0


class RedisState:
    """See CorrelationState. `namespace` comes in front of every key: a replay has one of its own.

    `groups` bounds the groups of an owner in a cluster, 0 for no bound.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        namespace: str,
        *,
        buckets: int = 0,
        groups: int = 0,
    ) -> None:
        self._client = client
        self._buckets = buckets or (CLUSTER_BUCKETS if isinstance(client, RedisCluster) else 1)
        self._tags = [tag_of(namespace, n) for n in range(self._buckets)]
        self._seen = [_Seen() for _ in range(self._buckets)]
        self._groups = groups
        self._at_once = asyncio.Semaphore(CALLS_AT_ONCE)
        self.evicted = 0

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """See CorrelationState, unguarded. Raises redis.RedisError when Redis stays away after retries."""
        return (await self._exchange(requests, b"N", (), {})).replies

    async def guarded(self, requests: Sequence[StateRequest], spans: Sequence[Span]) -> Exchanged:
        """An exchange that answers only from a state that has seen every record before these, and notes these.

        Raises StateDoubtful, StateGap, or redis.RedisError.
        """
        return await self._exchange(requests, b"G", spans, {})

    async def rebuilt(self, requests: Sequence[StateRequest], marked: Mapping[int, Marked]) -> list[StateReply]:
        """An exchange while the state is in doubt. Raises StateDoubtful where it is another doubt by now."""
        return (await self._exchange(requests, b"R", (), marked)).replies

    async def mark(self, doubt: str) -> dict[int, Marked]:
        """Put every bucket in doubt, if it is not yet, and tell what each knows."""
        await self._ready()
        answers = await asyncio.gather(*(self._call(b"M", n, [], (), None, doubt) for n in range(self._buckets)))
        found = {}
        for bucket, (_, id_, run, epoch, fields) in enumerate(answers):
            told = dict(zip(fields[::2], fields[1::2], strict=True))
            offsets, begun = (
                {int(k[2:]): int(v) for k, v in told.items() if k.startswith(of)} for of in (b"o:", b"b:")
            )
            found[bucket] = Marked(id_.decode(), run.decode(), int(epoch or 0), offsets, {**offsets, **begun})
        return found

    async def finish(self, marked: Mapping[int, Marked], epoch: int, offsets: Mapping[int, int]) -> bool:
        """End the doubt of every bucket: it has seen the partitions up to `offsets`. False: it must begin again."""
        done = True
        for bucket, mark in marked.items():
            values: list[Any] = [mark.doubt, mark.run, epoch]
            for partition, end in offsets.items():
                values += [partition, end]
            done = bool(await self._script(state_lua.FINISH, [self._tags[bucket] + b"meta"], values)) and done
        return done

    async def lock(self, name: str, holder: str, ttl_ms: int) -> bool:
        """Take or keep a lock that lapses by itself."""
        return bool(await self._script(state_lua.LOCK, [self._tags[0] + b"lock:" + name.encode()], [holder, ttl_ms]))

    async def tell(self, name: str, holder: str, text: str) -> dict[str, str]:
        """Put `text` on a board under this holder's name, and read what everyone put there in the last half minute."""
        key = self._tags[0] + b"board:" + name.encode()
        now = int(time.time())
        client: Any = self._client
        await client.hset(key, holder, f"{now} {text}")
        await client.expire(key, 3600)
        found = {k.decode(): v.decode().partition(" ") for k, v in (await client.hgetall(key)).items()}
        old = [who for who, (at, _, _) in found.items() if now - int(at) > 30]
        if old:
            await client.hdel(key, *old)
        return {who: what for who, (_, _, what) in found.items() if who not in old}

    async def kept(self, cluster: str = "", owner: str = "") -> AsyncIterator[Kept]:
        """Every series of a cluster or of all, for people to look at: it goes through all keys of the server.

        `owner`: only those of owners whose names begin so.
        """
        client: Any = self._client
        for tag in self._tags:
            match = _glob(tag + b"s:") + (_glob(_bytes(_part(cluster))) if cluster else b"*") + b":"
            async for key in client.scan_iter(match=match + _glob(_bytes(_part(owner))) + b"*", count=1000):
                if key.endswith(_BODIES):
                    continue
                place: list[str] = key[len(tag) + 2 :].decode("utf-8", "surrogatepass").split(":", 2)
                whose, group, series = _text(place[0]), _text(place[1]), place[2]
                found = await client.zrange(key, 0, -1, withscores=True)
                bodies = await client.hgetall(key + _BODIES)
                now_ms = time.time_ns() // 1_000_000
                members = [(int(at_ms), bodies.get(name, name)) for name, at_ms in found]
                yield Kept(whose, group, series, now_ms + await client.pttl(key), members)

    async def timed(self) -> list[tuple[str, str]]:
        """The (cluster, source) of which timers wait."""
        client: Any = self._client
        found = []
        for tag in self._tags:
            for key in await client.smembers(tag + b"timed"):
                _, cluster, source = key[len(tag) :].decode("utf-8", "surrogatepass").split(":", 2)
                found.append((_text(cluster), source))
        return sorted(found)

    async def progress(self, told: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], tuple[int, int]]:
        """Note the latest times of (cluster, source), ms, and give all: the latest time, and since when it stands."""
        values: list[Any] = [time.time_ns() // 1_000_000]
        for (cluster, source), at_ms in told.items():
            values += [_bytes(f"{_part(cluster)}:{source}"), at_ms]
        fields = await self._script(state_lua.PROGRESS, [self._tags[0] + b"progress"], values)
        found = {}
        for place, kept in zip(fields[::2], fields[1::2], strict=True):
            cluster, _, source = place.decode("utf-8", "surrogatepass").partition(":")
            at_ms, _, since_ms = kept.partition(b" ")
            found[_text(cluster), source] = (int(at_ms), int(since_ms))
        return found

    async def eviction(self) -> str:
        """Why this Redis may not hold the state, or "". Raises redis.RedisError.

        An account that may not ask (ACL), and a server that does not tell, are no reason to stay away.
        """
        client: Any = self._client
        whom = {"target_nodes": "primaries"} if isinstance(self._client, RedisCluster) else {}
        try:
            info = await client.info("memory", **whom)
        except NoPermissionError as error:
            _log.warning(
                "Redis does not let us see its eviction policy: make sure that it is noeviction", error=str(error)
            )
            return ""
        if not policies(info):
            _log.warning("Redis does not tell its eviction policy: make sure that it is noeviction")
        return complaint(info)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _exchange(
        self,
        requests: Sequence[StateRequest],
        mode: bytes,
        spans: Sequence[Span],
        marked: Mapping[int, Marked],
    ) -> Exchanged:
        by_bucket: dict[int, list[int]] = defaultdict(list)
        for n, request in enumerate(requests):
            by_bucket[self._bucket(request)].append(n)
        buckets = range(self._buckets) if spans or (mode == b"G" and not requests) else sorted(by_bucket)
        calls = [
            self._call(mode, n, [requests[place] for place in by_bucket[n]], spans, marked.get(n)) for n in buckets
        ]
        if len(calls) > 1:
            await self._ready()
        answers = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
        result = Exchanged([None] * len(requests))
        for bucket, answer in zip(buckets, answers, strict=True):
            self._take(bucket, mode, answer, [requests[place] for place in by_bucket[bucket]])
            result.again = result.again or bool(answer[6])
            for place, reply in zip(by_bucket[bucket], answer[5], strict=True):
                result.replies[place] = _reply(requests[place], reply)
                if reply == 1 and isinstance(requests[place], Put):
                    result.changed.add(place)
        return result

    def _take(self, bucket: int, mode: bytes, answer: Any, requests: Sequence[StateRequest]) -> None:
        """Learn from an answer, or raise what it says."""
        if answer[0] == b"doubt":
            raise StateDoubtful(answer[1].decode(), lost=bool(answer[2]))
        if answer[0] == b"gap":
            raise StateGap(int(answer[1]), int(answer[2]))
        _, epoch, calls, dropped, evicted, _, _ = answer
        seen = self._seen[bucket]
        if mode == b"G" and (epoch, calls) > (seen.epoch, seen.calls):
            seen.epoch, seen.calls = epoch, calls
        if dropped:
            self.evicted += dropped
            STATE_EVICTED.inc(dropped)
        for at, count in zip(evicted[::2], evicted[1::2], strict=True):
            request = requests[at - 1]
            if isinstance(request, Put):
                STATE_GROUPS_EVICTED.labels(owner_of(request.group)).inc(count)

    async def _call(
        self,
        mode: bytes,
        bucket: int,
        requests: Sequence[StateRequest],
        spans: Sequence[Span],
        marked: Marked | None,
        doubt: str = "",
    ) -> Any:
        tag, seen = self._tags[bucket], self._seen[bucket]
        now_ms = time.time_ns() // 1_000_000
        doubt = marked.doubt if marked else doubt or hashlib.blake2b(f"{now_ms}{id(seen)}".encode()).hexdigest()[:16]
        keys = [tag + b"meta"]
        values: list[Any] = [mode, seen.epoch, seen.calls, doubt, marked.run if marked else "", now_ms, len(spans)]
        for span in spans:
            values += [span.partition, span.first, span.next, int(span.take)]
        for request in requests:
            keys.append(tag + key_of(request))
            quota = self._quota(request) if isinstance(request, Put) else 0
            if quota and isinstance(request, Put):
                keys.append(tag + f"q:{_part(request.cluster)}:{_part(owner_of(request.group))}".encode())
            values += _values(request, quota)
        async with self._at_once:
            return await self._script(state_lua.EXCHANGE, keys, values)

    async def _ready(self) -> None:
        """Have a cluster's client look for its nodes once: calls side by side that all find it new trip each other."""
        if isinstance(self._client, RedisCluster):
            await self._client.initialize()

    def _bucket(self, request: StateRequest) -> int:
        if self._buckets == 1:
            return 0
        group = request.group if isinstance(request, Put | Range | Claim) else f"timers/{request.source}"
        return zlib.crc32(_bytes(f"{request.cluster}\0{group}")) % self._buckets

    def _quota(self, put: Put) -> int:
        if not put.group or not self._groups:
            return 0
        return max(1, self._groups * (LONG_LIVED if put.ttl_ms > DAY_MS else 1) // self._buckets)

    async def _script(self, script: str, keys: list[bytes], values: list[Any]) -> Any:
        client: Any = self._client
        try:
            return await client.evalsha(_SHAS[script], len(keys), *keys, *values)
        except NoScriptError:  # a new server, a restart, a flush: send the script itself, which loads it
            return await client.eval(script, len(keys), *keys, *values)


def connect(url: str, *, cluster: bool = False) -> Redis | RedisCluster:
    """A client that retries a lost connection a few times, then raises. It connects at the first request."""
    options: dict[str, Any] = {
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES, (RedisConnectionError, RedisTimeoutError)),
    }
    kind: Any = RedisCluster if cluster else Redis
    client: Redis | RedisCluster = kind.from_url(url, **options)
    return client


def tag_of(namespace: str, bucket: int) -> bytes:
    """What comes in front of every key of a bucket; the braces are the hash tag of a Redis Cluster."""
    return _bytes(f"{{{_part(namespace)}{bucket}}}")


def key_of(request: StateRequest) -> bytes:
    """The key of what a request asks, after the tag."""
    cluster = _part(request.cluster)
    if isinstance(request, Put | Range):
        return _bytes(f"s:{cluster}:{_part(request.group)}:{request.series}")
    if isinstance(request, Claim):
        return _bytes(f"c:{cluster}:{_part(request.group)}:{request.key}")
    return _bytes(f"t:{cluster}:{request.source}")


def owner_of(group: str) -> str:
    """Whose group it is: a correlation's name, or a kind of state."""
    return group.partition("/")[0]


_SHAS = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()  # the name Redis gives it
    for script in (state_lua.EXCHANGE, state_lua.FINISH, state_lua.LOCK, state_lua.PROGRESS)
}


def _glob(text: bytes) -> bytes:
    """A pattern that only this text meets."""
    return _GLOB.sub(rb"\\\g<0>", text)


def _part(text: str) -> str:
    """A part of a key, in which no separator can be."""
    return text.replace("%", "%25").replace(":", "%3A").replace("{", "%7B").replace("}", "%7D")


def _text(part: str) -> str:
    """The inverse of `_part`."""
    for code, character in (("%7D", "}"), ("%7B", "{"), ("%3A", ":"), ("%25", "%")):
        part = part.replace(code, character)
    return part


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _values(request: StateRequest, quota: int) -> tuple[Any, ...]:
    """The seven values of a request."""
    if isinstance(request, Put):
        kind = _KINDS[request.keep]
        return kind, request.time_ms, request.name, request.member, request.ttl_ms, request.cap, quota
    if isinstance(request, Range):
        return b"R", request.from_ms, request.to_ms, 0, 0, 0, 0
    if isinstance(request, Claim):
        return b"C", request.rank, _bytes(request.holder), request.ttl_ms, request.told, request.order, 0
    if isinstance(request, Timer):
        return b"T", request.due_ms, request.what, TIMER_TTL_MS, 0, 0, 0
    if isinstance(request, Due):
        return b"U", request.upto_ms, request.limit, 0, 0, 0, 0
    return b"D", request.what, 0, 0, 0, 0, 0


def _reply(request: StateRequest, answer: Any) -> StateReply:
    if isinstance(request, Range | Due):
        return list(answer)
    return bool(answer) if isinstance(request, Claim) else None
