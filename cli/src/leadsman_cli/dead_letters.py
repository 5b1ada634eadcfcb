"""Dead letters as a person looks at them: what they were, why they are dead, and what was decided about them.

A letter goes by its place, `raw.aws.dlq/0/17`. What was decided (sent again, dropped) stands on the compacted topic
`dlq.decisions` under that key, so that the same letter is sent again once, whoever asks how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import Header, Outgoing

DECISIONS = "dlq.decisions"
SUFFIX = ".dlq"


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of a dead-letter topic.

    `topic` is the dead-letter topic without the installation's prefix, `to` the topic it came from, prefix and all.
    """

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes
    headers: Sequence[Header]
    reason: str
    stage: str
    to: str
    source: str

    @property
    def place(self) -> str:
        """`TOPIC/PARTITION/OFFSET`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Decision(msgspec.Struct, frozen=True):
    """What was decided about a letter: `redriven` or `dropped`."""

    place: str
    what: str
    reason: str
    by: str
    at_ms: int

    def record(self, prefix: str) -> Outgoing:
        """The record for `dlq.decisions`."""
        return Outgoing(prefix + DECISIONS, self.place.encode(), msgspec.json.encode(self))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is empty or None does not matter."""

    topics: tuple[str, ...] = ()
    why: str = ""
    source: str = ""
    stage: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    places: tuple[str, ...] = ()

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is one of them."""
        return (
            (not self.places or letter.place in self.places)
            and (not self.topics or letter.topic in self.topics or letter.topic.removesuffix(SUFFIX) in self.topics)
            and self.why.lower() in letter.reason.lower()
            and self.source.lower() in letter.source.lower()
            and self.stage in ("", letter.stage)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
        )


@dataclass(slots=True)
class Heap:
    """Letters of one topic, stage, reason and source. `sample` is the newest."""

    topic: str
    stage: str
    reason: str
    source: str
    count: int = 0
    decided: int = 0
    first_ms: int = 0
    last_ms: int = 0
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Mending:
    """What is changed on a letter before it is sent again: headers, and for a single letter its bytes."""

    headers: Mapping[str, str] = field(default_factory=dict)
    value: bytes | None = None


def letter_of(
    topic: str,
    partition: int,
    offset: int,
    at_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]] | None,
) -> Letter:
    """A record of a dead-letter topic as a letter; headers that are missing are empty."""
    kept = [(name, data) for name, data in headers or () if data is not None]
    said = {name: data.decode("utf-8", "replace") for name, data in kept}
    source = "/".join(said[name] for name in ("provider", "account", "region", "cluster") if said.get(name))
    return Letter(
        topic,
        partition,
        offset,
        at_ms,
        key,
        value or b"",
        kept,
        said.get("dlq-reason", ""),
        said.get("dlq-stage", ""),
        said.get("dlq-topic", ""),
        source,
    )


def read_decision(value: bytes) -> Decision:
    """A record of `dlq.decisions`. Raises InvalidEvent."""
    try:
        return msgspec.json.decode(value, type=Decision)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"no decision: {error}") from error


def heaps(letters: Iterable[Letter], decided: Mapping[str, Decision]) -> list[Heap]:
    """The letters in heaps, the largest first."""
    found: dict[tuple[str, str, str, str], Heap] = {}
    for letter in letters:
        key = (letter.topic, letter.stage, letter.reason.partition(":")[0], letter.source)
        heap = found.setdefault(key, Heap(*key, first_ms=letter.at_ms))
        heap.count += 1
        heap.decided += letter.place in decided
        heap.first_ms = min(heap.first_ms, letter.at_ms)
        if letter.at_ms >= heap.last_ms:
            heap.last_ms, heap.sample = letter.at_ms, letter.place
    return sorted(found.values(), key=lambda heap: (-heap.count, heap.topic, heap.reason))


def again(letter: Letter, mending: Mending) -> Outgoing:
    """The record that goes back to where the letter came from. Raises InvalidEvent where that is not told."""
    if not letter.to or letter.to.endswith(SUFFIX):
        raise InvalidEvent(f"{letter.place} does not say which topic it came from")
    headers = [(name, data) for name, data in letter.headers if not name.startswith("dlq-")]
    headers = [(name, data) for name, data in headers if name not in mending.headers]
    headers += [(name, text.encode()) for name, text in mending.headers.items() if text]
    value = letter.value if mending.value is None else mending.value
    return Outgoing(letter.to, letter.key, value, headers)


def safe(data: bytes, limit: int) -> str:
    """Bytes as text that does nothing to a terminal: what is not printable is escaped."""
    text = data[:limit].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown + (f"... ({len(data)} bytes)" if len(data) > limit else "")
