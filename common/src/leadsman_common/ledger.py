"""The ledger: what became of every record, offset by offset, on the topic `ledger` (DESIGN 7).

Whoever reads a topic notes one outcome for each offset and sends the pages that changed together with what came of the
batch, before offsets are committed. So whatever stands below a group's committed offset stands in the ledger, or is a
gap. A page holds up to PAGE offsets of one partition as run lengths. What is handled twice (a crash, a rewind) is noted
twice, under keys of its own: reading goes by offsets, so nothing is counted twice.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import Outgoing

PAGE = 1_000
LEDGER = "ledger"
MADE, PASSED, NOT_OURS, DEAD = "produced", "passed", "filtered", "dead"  # the kinds of outcomes
DELIVERED, SUPPRESSED, UNDELIVERED = "delivered", "suppressed", "undelivered"  # of an alert, for each channel
MAX_TEXT = 200

Runs: TypeAlias = list[list[int]]  # [index of the text, how many records in a row]


class Page(msgspec.Struct, kw_only=True):
    """Consecutive offsets of one partition as one worker handled them. `made` are ids of alerts that came of them.

    An outcome is `produced`, `passed` or `delivered`, or a kind and its reason: `filtered:REASON`, `dead:REASON`,
    `suppressed:REASON`, `undelivered:REASON`.
    """

    hop: str
    topic: str
    partition: int
    start: int
    writer: str
    texts: list[str] = []
    outcomes: Runs = []
    sources: Runs = []
    made: list[str] = []
    at_ms: int = 0

    @property
    def end(self) -> int:
        """The offset after the last one."""
        return self.start + sum(run[1] for run in self.outcomes)

    @property
    def key(self) -> bytes:
        """What compaction goes by: a later form of the same page takes the place of the earlier."""
        return f"{self.hop}|{self.topic}|{self.partition}|{self.start}|{self.writer}".encode()


@dataclass(slots=True)
class _Open:
    """A page that is still written."""

    page: Page
    next: int
    index: dict[str, int] = field(default_factory=dict)
    changed: bool = True

    def add(self, outcome: str, source: str, count: int = 1) -> None:
        page = self.page
        _extend(page.outcomes, self._text(outcome), count)
        _extend(page.sources, self._text(source), count)
        self.next += count
        self.changed = True

    def _text(self, text: str) -> int:
        found = self.index.get(text)
        if found is None:
            found = self.index[text] = len(self.page.texts)
            self.page.texts.append(text[:MAX_TEXT])
        return found


class Ledger:
    """What one worker notes. `prefix` is that of the topics; without `on` it notes nothing."""

    def __init__(
        self,
        hop: str,
        prefix: str = "",
        *,
        on: bool = True,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 10**6,
    ) -> None:
        self._hop = hop
        self._topic = prefix + LEDGER
        self._writer = secrets.token_hex(4)
        self._on = on
        self._clock_ms = clock_ms
        self._open: dict[tuple[str, int], _Open] = {}
        self._full: list[Page] = []
        self._last: _Open | None = None

    def note(self, topic: str, partition: int, offset: int, outcome: str, source: str = "") -> None:
        """Note what became of one record."""
        if not self._on:
            return
        page = self._open.get((topic, partition))
        if page is None or offset != page.next or offset // PAGE != page.page.start // PAGE:
            page = self._turn(topic, partition, offset, page)
        page.add(outcome, source)
        self._last = page

    def note_run(self, topic: str, partition: int, start: int, count: int, outcome: str, source: str = "") -> None:
        """Note what became of `count` records in a row."""
        end = start + count
        while start < end and self._on:
            self.note(topic, partition, start, outcome, source)
            page = self._open[topic, partition]
            more = min(end, (start // PAGE + 1) * PAGE) - start - 1
            if more:
                page.add(outcome, source, more)
            start += 1 + more

    def made(self, ids: Iterable[str]) -> None:
        """Note alerts that came of the records noted last."""
        if self._last is not None:
            made = self._last.page.made
            made += set(ids).difference(made)
            self._last.changed = True

    def pages(self) -> list[Outgoing]:
        """The pages that changed since the last call, to be sent with what came of the batch."""
        changed = self._full + [opened.page for opened in self._open.values() if opened.changed]
        self._full = []
        for opened in self._open.values():
            opened.changed = False
        now_ms = self._clock_ms()
        for page in changed:
            page.at_ms = now_ms
        return [Outgoing(self._topic, page.key, msgspec.json.encode(page)) for page in changed]

    def _turn(self, topic: str, partition: int, offset: int, before: _Open | None) -> _Open:
        if before is not None:
            if before.changed:
                self._full.append(before.page)
            if offset < before.next:  # read again: a page that begins where an earlier one did must not replace it
                self._writer = secrets.token_hex(4)
        page = Page(hop=self._hop, topic=topic, partition=partition, start=offset, writer=self._writer)
        turned = self._open[topic, partition] = _Open(page, offset)
        return turned


def read_page(value: bytes) -> Page:
    """A page as it stands on the topic. Raises InvalidEvent for what is none."""
    try:
        page = _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"no page of the ledger: {error}") from error
    for runs in (page.outcomes, page.sources):
        if any(len(run) != 2 or not 0 <= run[0] < len(page.texts) or run[1] < 1 for run in runs):
            raise InvalidEvent("no page of the ledger: a run that names no text")
    return page


@dataclass(frozen=True, slots=True)
class Noted:
    """Consecutive offsets with one outcome and one source."""

    start: int
    end: int
    outcome: str
    source: str


class Book:
    """All pages of one hop and partition, as one account of its offsets."""

    def __init__(self, pages: Iterable[Page]) -> None:
        self._pages = sorted(pages, key=lambda page: (page.start, -page.end))

    @property
    def start(self) -> int:
        """The first offset that is noted."""
        return self._pages[0].start if self._pages else 0

    def made(self, start: int, end: int) -> set[str]:
        """The alerts that came of pages that lie within [start, end)."""
        return {one for page in self._pages if start <= page.start and page.end <= end for one in page.made}

    def noted(self, start: int, end: int) -> Iterator[Noted]:
        """What is noted of [start, end), each offset once, in order."""
        at = start
        for page in self._pages:
            if page.end <= at or page.start >= end:
                continue
            for found in _runs(page):
                first, last = max(found.start, at), min(found.end, end)
                if first < last:
                    yield Noted(first, last, found.outcome, found.source)
                    at = last

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges of [start, end) of which nothing is noted."""
        missing = []
        at = start
        for found in self.noted(start, end):
            if found.start > at:
                missing.append((at, found.start))
            at = found.end
        return [*missing, (at, end)] if at < end else missing

    def totals(self, start: int, end: int) -> Counter[str]:
        """How many records came to which outcome."""
        counted: Counter[str] = Counter()
        for found in self.noted(start, end):
            counted[found.outcome] += found.end - found.start
        return counted

    def by_source(self, start: int, end: int) -> dict[str, Counter[str]]:
        """The same for each source; reasons are left out."""
        counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for found in self.noted(start, end):
            counted[found.source][kind_of(found.outcome)] += found.end - found.start
        return dict(counted)


def kind_of(outcome: str) -> str:
    """`filtered:REASON` -> `filtered`."""
    return outcome.partition(":")[0]


def _runs(page: Page) -> Iterator[Noted]:
    """The page's offsets, cut where outcome or source change."""
    sources = iter(page.sources)
    source, left = next(sources, [0, 0])
    at = page.start
    for outcome, count in page.outcomes:
        end = at + count
        while at < end:
            if left == 0:
                source, left = next(sources, [source, end - at])
            step = min(end - at, left)
            yield Noted(at, at + step, page.texts[outcome], page.texts[source])
            at, left = at + step, left - step


def _extend(runs: Runs, text: int, count: int) -> None:
    if runs and runs[-1][0] == text:
        runs[-1][1] += count
    else:
        runs.append([text, count])


_DECODER: msgspec.json.Decoder[Page] = msgspec.json.Decoder(Page)
