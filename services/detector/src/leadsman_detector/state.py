"""What the correlations remember, as the core asks for it: three requests, answered together.

The core never waits: it plans requests, a shell exchanges them with Redis or with memory, the core goes on with the
replies. All Puts of an exchange take effect before any Range or Claim is answered, so of two workers that bring the
two halves of a story at once, the later one sees both.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Put:
    """Add a member to a series at its event time; adding it again changes nothing.

    A series keeps its `cap` latest members and lives `ttl_ms` after the last Put (wall clock).
    """

    series: str
    cluster: str
    time_ms: int
    member: bytes
    ttl_ms: int
    cap: int


@dataclass(frozen=True, slots=True)
class Range:
    """Ask for the members of a series between two event times, both included, by time and then by member."""

    series: str
    cluster: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask whether `holder` may raise what `key` names.

    True for a free key, for the same holder again (a redelivery), and for a lower rank than the kept one, which then
    takes its place. A worker that died after its claim and before its send brings the same holder again, and so loses
    nothing.
    """

    key: str
    cluster: str
    rank: int
    holder: str
    ttl_ms: int


StateRequest: TypeAlias = Put | Range | Claim
StateReply: TypeAlias = list[bytes] | bool | None


class CorrelationState(Protocol):
    """Implemented by MemoryState here and by RedisState; one contract test runs both."""

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """One reply a request, in order: None for a Put, members for a Range, a bool for a Claim."""
        ...


class MemoryState:
    """The state of one process: `leadsman scan` and the tests. Time to live is not kept: a scan is short."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
        self._claims: dict[tuple[str, str], tuple[int, str]] = {}
        self.evicted = 0

    async def exchange(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """See CorrelationState."""
        return self.exchange_now(requests)

    def exchange_now(self, requests: Sequence[StateRequest]) -> list[StateReply]:
        """The same without a loop to wait on."""
        for request in requests:
            if isinstance(request, Put):
                self._put(request)
        return [None if isinstance(r, Put) else self._answer(r) for r in requests]

    def _put(self, put: Put) -> None:
        series = self._series.setdefault((put.cluster, put.series), [])
        if any(member == put.member for _, member in series):
            return
        bisect.insort(series, (put.time_ms, put.member))
        while len(series) > put.cap:
            series.pop(0)
            self.evicted += 1

    def _answer(self, request: Range | Claim) -> StateReply:
        if isinstance(request, Range):
            series = self._series.get((request.cluster, request.series), [])
            first = bisect.bisect_left(series, (request.from_ms, b""))
            last = bisect.bisect_left(series, (request.to_ms + 1, b""))
            return [member for _, member in series[first:last]]
        key = (request.cluster, request.key)
        kept = self._claims.get(key)
        if kept is not None and kept[1] != request.holder and request.rank >= kept[0]:
            return False
        if kept is None or request.rank < kept[0]:
            self._claims[key] = (request.rank, request.holder)
        return True
