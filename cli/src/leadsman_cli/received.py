"""Ingest's account: what its receipts say of each service, and whether they hold against the raw topics. Pure.

A receipt adds up within itself or it does not; no two say that they wrote the same offset; what one says was written is
there. What is there without a receipt is told and is no fault: a worker that is killed leaves such records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from leadsman_cli.conservation import Finding, Marks
from leadsman_common.receipts import Receipt

Place = tuple[str, int]  # topic, partition
Written = tuple[int, int, Receipt]  # first offset, offset after the last


@dataclass(slots=True)
class Intake:
    """What one service says of itself."""

    hop: str
    receipts: int = 0
    writers: set[str] = field(default_factory=set)
    received: Counter[str] = field(default_factory=Counter)  # by source
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: int = 0  # records of tries that Kafka did not acknowledge

    def add(self, receipt: Receipt) -> None:
        """Add one up."""
        self.receipts += 1
        self.writers.add(receipt.writer)
        self.received.update(receipt.received)
        self.outcomes.update(receipt.outcomes)
        self.failed += receipt.failed


def by_hop(receipts: Iterable[Receipt]) -> list[Intake]:
    """The receipts added up, for each service."""
    found: dict[str, Intake] = {}
    for receipt in receipts:
        found.setdefault(receipt.hop, Intake(receipt.hop)).add(receipt)
    return [found[hop] for hop in sorted(found)]


def written(receipts: Iterable[Receipt], prefix: str) -> dict[Place, list[Written]]:
    """Where the receipts say that their records are, in order; topics without the prefix."""
    found: defaultdict[Place, list[Written]] = defaultdict(list)
    for receipt in receipts:
        for topic, partition, start, end in receipt.landed:
            found[topic.removeprefix(prefix), partition].append((start, end, receipt))
    return {at: sorted(runs, key=lambda run: run[:2]) for at, runs in found.items()}


def wrong(receipts: Iterable[Receipt], prefix: str) -> Iterator[Finding]:
    """Receipts that do not add up within themselves; named by where their first records are."""
    for receipt in receipts:
        if what := receipt.wrong():
            topic, partition, start, end = (receipt.landed or [("", -1, 0, 0)])[0]
            yield Finding(receipt.hop, topic.removeprefix(prefix), partition, start, end, f"{_name(receipt)}: {what}")


def taken_away(receipts: Iterable[Receipt]) -> Iterator[Finding]:
    """Numbers of a writer that are missing between others: receipts that were there."""
    numbers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for receipt in receipts:
        numbers[receipt.hop, receipt.writer].append(receipt.number)
    for (hop, writer), found in numbers.items():
        for before, after in pairwise(sorted(found)):
            if after > before + 1:
                what = f"receipts {before + 1} to {after - 1} of {writer} are missing"
                yield Finding(hop, "ledger", -1, before + 1, after, what)


def twice(places: Mapping[Place, list[Written]]) -> Iterator[Finding]:
    """Offsets that two receipts say they wrote."""
    for (topic, partition), runs in places.items():
        for (_, end, one), (start, other_end, other) in pairwise(runs):
            if start < end:
                what = f"{_name(one)} and {_name(other)} both say that they wrote it"
                yield Finding(other.hop, topic, partition, start, min(end, other_end), what)


def not_there(at: Place, runs: Iterable[Written], low: int, there: Marks) -> Iterator[Finding]:
    """What receipts say was written and is not among the offsets `there`, from `low` on, the first that is kept."""
    topic, partition = at
    for start, end, receipt in runs:
        missing = [offset for offset in range(max(start, low), end) if offset not in there]
        if missing:
            what = f"{_name(receipt)} says that it was written, and it is not there"
            yield Finding(receipt.hop, topic, partition, missing[0], missing[-1] + 1, what)


def without_receipt(runs: Iterable[Written], low: int, end: int) -> int:
    """How many offsets stand in no receipt, from the first that one of them has."""
    missing, at = 0, None
    for start, stop, _ in runs:
        at = max(start, low) if at is None else at
        missing += max(0, max(start, low) - at)
        at = max(at, stop)
    return 0 if at is None else missing + max(0, end - at)


def _name(receipt: Receipt) -> str:
    return f"receipt {receipt.number} of {receipt.writer}"
