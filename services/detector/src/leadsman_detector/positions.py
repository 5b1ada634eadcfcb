"""How far each partition was handled with the state, what the state was not told of yet, and what must come again.

Pure. The state refuses records that do not follow on what it has seen of their partition, so a worker tells it of every
record that it handled: with the exchange that the records need, or later where they needed none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leadsman_detector.runner import Record
from leadsman_detector.state_redis import Span


class Positions:
    """One worker's partitions."""

    def __init__(self) -> None:
        self._untold: dict[int, Span] = {}
        self._again: dict[int, int] = {}

    def spans(self, records: Sequence[Record]) -> list[Span]:
        """What a batch stands for in each of its partitions, with what came just before and was not told yet."""
        found: dict[int, Span] = {}
        for record in records:
            span = found.get(record.partition)
            first = record.offset if span is None else span.first
            found[record.partition] = Span(record.partition, first, record.offset + 1)
        return [self._with_untold(span) for span in found.values()]

    def handled(self, spans: Iterable[Span], *, told: bool) -> None:
        """These were handled; `told` says whether the state knows."""
        for span in spans:
            if told:
                self._untold.pop(span.partition, None)
            else:
                self._untold[span.partition] = span

    def untold(self) -> list[Span]:
        """What the state was not told of yet."""
        return list(self._untold.values())

    def missed(self, partition: int, offset: int) -> None:
        """Records from this offset on were not handled with the state: they must come again."""
        self._untold.pop(partition, None)
        self._again[partition] = min(offset, self._again.get(partition, offset))

    def again(self) -> dict[int, int]:
        """What must come again, by partition; asked once it can be handled."""
        again, self._again = self._again, {}
        for partition in again:
            self._untold.pop(partition, None)
        return again

    def _with_untold(self, span: Span) -> Span:
        untold = self._untold.get(span.partition)
        return span._replace(first=untold.first) if untold is not None and untold.next == span.first else span
