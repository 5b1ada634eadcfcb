"""What must add up (DESIGN 7): every offset below a group's committed one has one outcome, and what it became is there.

Pure: books of the ledger and what was found on the topics in, findings out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from leadsman_common.ledger import DEAD, DELIVERED, MADE, UNDELIVERED, Book, kind_of

_CHUNK = 1 << 16
MAX_FINDINGS = 1_000  # of one partition


@dataclass(frozen=True, slots=True)
class Finding:
    """Offsets of a partition, [start, end), with which something is wrong."""

    hop: str
    topic: str
    partition: int
    start: int
    end: int
    what: str


@dataclass(slots=True)
class Account:
    """One partition as one hop handled it: [start, end) in full, `lag` records still to come."""

    hop: str
    topic: str
    partition: int
    start: int
    end: int
    lag: int
    totals: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def by_kind(self) -> Counter[str]:
        """The totals without reasons."""
        counted: Counter[str] = Counter()
        for outcome, count in self.totals.items():
            counted[kind_of(outcome)] += count
        return counted


class Marks:
    """A set of offsets, a bit each."""

    def __init__(self) -> None:
        self._chunks: dict[int, bytearray] = {}

    def add(self, offset: int) -> None:
        """Mark one."""
        at, within = divmod(offset, _CHUNK)
        if at not in self._chunks:
            self._chunks[at] = bytearray(_CHUNK // 8)
        self._chunks[at][within >> 3] |= 1 << (within & 7)

    def __contains__(self, offset: int) -> bool:
        at, within = divmod(offset, _CHUNK)
        chunk = self._chunks.get(at)
        return chunk is not None and bool(chunk[within >> 3] & 1 << (within & 7))


def account(book: Book, hop: str, topic: str, partition: int, start: int, end: int, lag: int) -> Account:
    """What the ledger says of [start, end)."""
    totals, sources = book.totals(start, end), book.by_source(start, end)
    return Account(hop, topic, partition, start, end, lag, totals, sources)


def unnoted(book: Book, of: Account) -> Iterator[Finding]:
    """What was committed and is not in the ledger."""
    for start, end in book.gaps(of.start, of.end):
        yield Finding(
            of.hop, of.topic, of.partition, start, end, "committed, and the ledger does not say what became of it"
        )


def untrue(book: Book, of: Account, start: int, produced: Marks, dead: Marks) -> list[Finding]:
    """Where the topics say otherwise than the ledger, from `start` on, as far as they reach back."""

    def judge(kind: str, offset: int) -> str:
        if kind == MADE:
            return "" if offset in produced else "the ledger says produced, and nothing came of it"
        if kind == DEAD:
            return "" if offset in dead else "the ledger says dead-lettered, and no letter is there"
        if offset in produced:
            return f"the ledger says {kind}, and something was produced"
        return f"the ledger says {kind}, and a dead letter is there" if offset in dead else ""

    return _held_against(book, of, start, judge)


def untold(book: Book, of: Account, start: int, told: Marks, kept: Marks) -> list[Finding]:
    """Where the topics say otherwise than a channel's ledger, from `start` on, as far as they reach back.

    `told` are the offsets of alerts that are written down as told, `kept` those of alerts that were given up.
    """

    def judge(kind: str, offset: int) -> str:
        if kind == DELIVERED and offset not in told:
            return "the ledger says delivered, and it is not written down as told"
        return "the ledger says undelivered, and it is not kept" if kind == UNDELIVERED and offset not in kept else ""

    return _held_against(book, of, start, judge)


def unsent(book: Book, of: Account, there: Collection[str]) -> Iterator[str]:
    """Alerts that the ledger says were made and that are not on their topic."""
    yield from sorted(book.made(of.start, of.end).difference(there))


def _held_against(book: Book, of: Account, start: int, judge: Callable[[str, int], str]) -> list[Finding]:
    """What `judge` finds wrong with the outcomes from `start` on, by kind and offset; empty where it is right."""
    found: list[Finding] = []
    for noted in book.noted(max(start, of.start), of.end):
        kind = kind_of(noted.outcome)
        for offset in range(noted.start, noted.end):
            if what := judge(kind, offset):
                _add(found, Finding(of.hop, of.topic, of.partition, offset, offset + 1, what))
                if len(found) > MAX_FINDINGS:
                    return found
    return found


def _add(found: list[Finding], new: Finding) -> None:
    """Add a finding, as part of the one before where it goes on."""
    if found and found[-1].end == new.start and found[-1].what == new.what:
        last = found.pop()
        new = Finding(new.hop, new.topic, new.partition, last.start, new.end, new.what)
    found.append(new)
