"""What of a partition may be committed: the order of delivered batches and which of them are handled. Pure.

A batch enters when it is fetched, so one that is lost on its way through Faust holds the commits back instead of
being passed over.
"""

from __future__ import annotations

from collections import deque

from leadsman_detector.runner import Record


class Batch:
    """Records of one partition and one fetch, in order; what a Faust agent gets as one message."""

    __slots__ = ("acked", "dropped", "first", "handled", "last", "queue", "records")

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.first = records[0].offset
        self.last = records[-1].offset
        self.handled = False
        self.acked = False
        self.dropped = False  # it comes again: what is still on its way need not be handled
        self.queue: AckQueue | None = None

    def ack(self) -> None:
        """Count it as done, if its handler returned: Faust acks what it skips and what raised, too."""
        if self.handled and not self.acked:
            self.acked = True
            if self.queue is not None:
                self.queue.advance()


class AckQueue:
    """The batches of one partition, first in, first out, as [first, last, acked]."""

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        self.end: int | None = None  # the offset after the acked prefix: what may be committed

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self, position: int) -> int:
        """The first offset that is not handled; `position` where all that was fetched is."""
        try:
            return self._waiting[0].first
        except IndexError:
            return position

    def fetched(self, batch: Batch) -> None:
        """Append a batch. Where the position was rewound, what lies behind it is dropped: it comes again."""
        while self._waiting and self._waiting[-1].first >= batch.first:
            self._waiting.pop().queue = None
        if self._waiting and self._waiting[-1].last >= batch.first:
            self._waiting[-1].last = batch.first - 1
        if self.end is not None and batch.first < self.end:
            self.end = None
        batch.queue = self
        self._waiting.append(batch)

    def drop_from(self, offset: int) -> None:
        """Drop what was fetched from `offset` on and is not handled: the position is about to be rewound to it."""
        while self._waiting and self._waiting[-1].first >= offset:
            batch = self._waiting.pop()
            batch.queue, batch.dropped = None, True

    def advance(self) -> None:
        """Take the acked batches off the front."""
        while self._waiting and self._waiting[0].acked:
            self.end = self._waiting.popleft().last + 1
