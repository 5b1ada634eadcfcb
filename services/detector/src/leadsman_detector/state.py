"""What the correlations remember, as the core asks for it: requests, answered together.

The core never waits: it plans requests, a shell exchanges them with Redis or with memory, the core goes on with the
replies. All writes of an exchange (Put, Timer, Done) take effect before anything of it is answered (Range, Claim, Due),
so of two workers that bring the two halves of a story at once, the later one sees both.

Requests with the same cluster and `group` are atomic together and lie in one place; between groups nothing else is
promised. A group is spelled `OWNER/KEY`: quotas are counted by owner, which is a correlation's name or the kind of
state (`versions`, `known`).
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, TypeVar, cast

import msgspec

CLOCK = ""  # the source of a timer that goes by the wall clock
ALL_TIME = (-(1 << 53), 1 << 53)  # a Range's times: all there is
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_DIGESTS = 12_288  # of values that come again


@lru_cache(MAX_DIGESTS)
def digest_of(values: tuple[str, ...]) -> str:
    """What names a group of these values: 24 hexadecimal digits."""
    text = "\x1f".join(values).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


Keep: TypeAlias = Literal["latest", "earliest", "last", "first", "ends"]  # earliest: as latest, see state_topic.py


class Put(msgspec.Struct, frozen=True, gc=False):
    """Add a member to a series at its event time.

    A member is known by its `name`, or by itself where it has none. Of members of one name the series keeps one: the
    one with the smallest time, with keep=last the one with the greatest; at equal times the one of which the bytes sort
    first. Adding it again changes nothing. A series keeps `cap` members: its latest by time, with keep=first its
    earliest, with keep=ends both ends and drops the middle. So what a series keeps is a function of what was put, in
    whatever order, but for a name of which the member to keep was dropped. All puts of a series say the same `keep`. It
    lives `ttl_ms` after the last Put (wall clock).
    """

    series: str
    cluster: str
    time_ms: int
    member: bytes
    ttl_ms: int
    cap: int
    group: str = ""
    keep: Keep = "latest"
    name: bytes = b""


class Range(msgspec.Struct, frozen=True, gc=False):
    """Ask for the members of a series between two event times, both included, by time and then by name."""

    series: str
    cluster: str
    from_ms: int
    to_ms: int
    group: str = ""


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Ask whether `holder` may raise what `key` names.

    True for a free key, for the same holder again (a redelivery), and for what takes the kept one's place: a lower
    rank, at the same rank an `order` that sorts before, at the same order whatever is `told` otherwise. What would take
    its place and tells the same is kept, and raises nothing. A worker that died after its claim and before its send
    brings the same holder again, and so loses nothing. A holder may be several names (`holders_of`): it is the same
    again where one of them is the kept one's first, since what comes again may be cut into other batches. Ranks are
    below 2^53.
    """

    key: str
    cluster: str
    rank: int
    holder: str
    ttl_ms: int
    group: str = ""
    order: bytes = b""
    told: str = ""


class Timer(msgspec.Struct, frozen=True, gc=False):
    """Have `what` looked at again once the progress of `source` has reached `due_ms`; CLOCK: once it is that late.

    The same again changes nothing, but for an earlier time. It stays until a Done.
    """

    due_ms: int
    cluster: str
    what: bytes
    source: str


class Due(msgspec.Struct, frozen=True, gc=False):
    """Ask what is due up to a time, the earliest first and at most `limit`; it stays there."""

    cluster: str
    source: str
    upto_ms: int
    limit: int


class Done(msgspec.Struct, frozen=True, gc=False):
    """Take a timer away: its outcome is safe."""

    cluster: str
    source: str
    what: bytes


def is_kept_instead(keep: str, time_ms: int, member: bytes, kept_ms: int, kept: bytes) -> bool:
    """Whether a member takes the place of the kept one of its name; see Put."""
    if time_ms == kept_ms:
        return member < kept
    return time_ms > kept_ms if keep == "last" else time_ms < kept_ms


def holders_of(names: Iterable[str]) -> str:
    """Several names as one holder."""
    return "\0".join(dict.fromkeys(names))


def is_held(kept: str, holder: str) -> bool:
    """Whether a holder is the kept one, or has its first name among its own."""
    return kept.partition("\0")[0] in holder.split("\0")


Keyed: TypeAlias = Put | Range | Claim
StateRequest: TypeAlias = Keyed | Timer | Due | Done
StateReply: TypeAlias = list[bytes] | bool | None
T = TypeVar("T")
Exchanges: TypeAlias = Generator[list[StateRequest], list[StateReply], T]  # asks, is answered, and gives a result


class CorrelationState(Protocol):
    """Implemented by MemoryState here and by RedisState; one contract test runs both."""

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """One reply a request, in order: members for a Range and a Due, a bool for a Claim, None for the rest."""
        ...


async def settle(exchanges: Exchanges[T], exchange: Callable[[list[StateRequest]], Awaitable[list[StateReply]]]) -> T:
    """Run exchanges one after the other, and give what comes of them."""
    try:
        requests = next(exchanges)
        while True:
            requests = exchanges.send(await exchange(requests))
    except StopIteration as done:
        return cast("T", done.value)


class MemoryState:
    """The state of one process: `leadsman scan` and the tests. Time to live is not kept: a scan is short."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._claims: dict[tuple[str, str, str], tuple[int, bytes, str, str]] = {}
        self._timers: dict[tuple[str, str], dict[bytes, int]] = {}
        self.evicted = 0

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """See CorrelationState."""
        return self.exchange_now(requests)

    def exchange_now(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """The same without a loop to wait on."""
        for request in requests:
            if isinstance(request, Range):
                continue
            if isinstance(request, Put):
                self._put(request)
            elif isinstance(request, Timer):
                timers = self._timers.setdefault((request.cluster, request.source), {})
                timers[request.what] = min(request.due_ms, timers.get(request.what, request.due_ms))
            elif isinstance(request, Done):
                self._timers.get((request.cluster, request.source), {}).pop(request.what, None)
        return [self._answer(r) for r in requests]

    def settle(self, exchanges: Exchanges[T]) -> T:
        """As `settle` does, without a loop to wait on."""
        try:
            requests = next(exchanges)
            while True:
                requests = exchanges.send(self.exchange_now(requests))
        except StopIteration as done:
            return cast("T", done.value)

    def timed(self) -> list[tuple[str, str]]:
        """The (cluster, source) pairs that have timers waiting: the end of a scan looks at all of them."""
        return [key for key, timers in self._timers.items() if timers]

    def kept(self) -> Iterator[tuple[str, str, list[tuple[int, bytes]]]]:
        """Every series, for people to look at: cluster, group, and the members with their times, ms."""
        for (cluster, group, _), series in self._series.items():
            yield cluster, group, series.members()

    def _put(self, put: Put) -> None:
        key = (put.cluster, put.group, put.series)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.put(put.time_ms, put.member, put.name or put.member, put.keep)
        self.evicted += series.cut(put.cap, put.keep)

    def _answer(self, request: StateRequest) -> StateReply:
        if isinstance(request, Range):
            series = self._series.get((request.cluster, request.group, request.series))
            return [] if series is None else series.between(request.from_ms, request.to_ms)
        if isinstance(request, Claim):
            return self._claim(request)
        if isinstance(request, Due):
            timers = self._timers.get((request.cluster, request.source), {})
            due = sorted((at, what) for what, at in timers.items() if at <= request.upto_ms)
            return [what for _, what in due[: request.limit]]
        return None

    def _claim(self, claim: Claim) -> bool:
        key = (claim.cluster, claim.group, claim.key)
        kept = self._claims.get(key)
        if kept is None:
            self._claims[key] = (claim.rank, claim.order, claim.holder, claim.told)
            return True
        rank, order, holder, told = kept
        better = (claim.rank, claim.order) < (rank, order)
        if (better and not (told and told == claim.told)) or (
            (claim.rank, claim.order) == (rank, order) and claim.told != told
        ):
            self._claims[key] = (claim.rank, claim.order, claim.holder, claim.told)
            return True
        if better:
            self._claims[key] = (claim.rank, claim.order, holder, told)
        return is_held(holder, claim.holder)


class _Series:
    """Members by time and then by name; where each name stands."""

    __slots__ = ("_named", "_sorted")

    def __init__(self) -> None:
        self._sorted: list[tuple[int, bytes, bytes]] = []  # time, name, member
        self._named: dict[bytes, tuple[int, bytes, bytes]] = {}

    def put(self, time_ms: int, member: bytes, name: bytes, keep: str) -> None:
        kept = self._named.get(name)
        if kept is not None:
            if not is_kept_instead(keep, time_ms, member, kept[0], kept[2]):
                return
            del self._sorted[bisect.bisect_left(self._sorted, kept)]
        entry = self._named[name] = (time_ms, name, member)
        bisect.insort(self._sorted, entry)

    def cut(self, cap: int, keep: str) -> int:
        """Drop what is beyond the cap; gives how many."""
        over = len(self._sorted) - cap
        if over <= 0:
            return 0
        at = {"first": cap, "ends": cap // 2}.get(keep, 0)
        for _, name, _ in self._sorted[at : at + over]:
            del self._named[name]
        del self._sorted[at : at + over]
        return over

    def members(self) -> list[tuple[int, bytes]]:
        return [(at_ms, member) for at_ms, _, member in self._sorted]

    def between(self, from_ms: int, to_ms: int) -> list[bytes]:
        if self._sorted and from_ms <= self._sorted[0][0] and self._sorted[-1][0] <= to_ms:
            return [member for _, _, member in self._sorted]
        first = bisect.bisect_left(self._sorted, (from_ms,))
        last = bisect.bisect_left(self._sorted, (to_ms + 1,))
        return [member for _, _, member in self._sorted[first:last]]
