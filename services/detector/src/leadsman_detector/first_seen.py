"""`first_seen`: whether the values of an event were not seen before in a window (docs/decisions/008).

Sightings are kept by cell (a small part of the window): one member a cell, at the earliest time that the values were
seen in it. An event is the first where it is the earliest of its cell and no cell of the window before has any. A
worker remembers what it has seen, so that what repeats costs the state nothing.

`every` has no window: an event is the first where it is the earliest of its cell. It makes what happens all day a few
members of a correlation; one that comes late may be a second one of its cell.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal, TypeAlias

from leadsman_common.alerts import iso_time
from leadsman_common.events import AuditEvent
from leadsman_detector import members
from leadsman_detector.compare import text_of
from leadsman_detector.fields import getter
from leadsman_detector.form import FirstSeen
from leadsman_detector.lateness import LATENESS_MS, source_of
from leadsman_detector.sigma_correlations import shape_of
from leadsman_detector.state import ALL_TIME, DAY_MS, Put, Range, StateReply, digest_of

CELLS = 336  # of a window; an hour in two weeks
MIN_CELL_MS = 60_000
MAX_COMBINATIONS = 16  # of the values of one event
MAX_OTHERS = 16  # other values that an alert tells of
MAX_REMEMBERED = 100_000
EVER_TTL_MS = 400 * DAY_MS  # how long values are remembered that were not seen again
Verdict: TypeAlias = Literal["no", "first", "later"]  # later: known once the sources have come far enough
Values: TypeAlias = tuple[str, ...]
Key: TypeAlias = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Asked:
    """One combination of values that was asked about: the verdict is read from the replies at these places."""

    values: Values
    places: tuple[int, ...]


class Watch:
    """The first_seen of a rule, or of a modifier of it. Raises UnknownField.

    `tells`: an alert comes of it, which says what was seen before; else it only decides.
    """

    def __init__(self, rule: str, given: FirstSeen, *, tells: bool = True) -> None:
        self.given = given
        self._tells = tells
        self.learns = tells or given.learning_s > 0  # whether it matters since when the cluster is watched
        self._getters = [getter(path) for path in given.fields]
        self._owner = f"first_seen.{rule}"
        own = (given.again, given.every_s) if given.again or given.every_s else ()
        self._shape = shape_of(given.fields, given.window_s, given.learning_s, *own)
        self._window_ms, self._learning_ms = given.window_s * 1000, given.learning_s * 1000
        self._cell_ms = given.every_s * 1000 or max(MIN_CELL_MS, self._window_ms // CELLS)
        self._cells = 0 if given.every_s else -(-self._window_ms // self._cell_ms)
        self._epoch_ms = max(1, self._cells) * self._cell_ms  # the window, in whole cells
        self.ttl_ms = self._window_ms + 2 * DAY_MS

    def values(self, event: AuditEvent) -> list[Values]:
        """The combinations of values; none where a field is missing."""
        found = [_texts(get(event)) for get in self._getters]
        if all(len(texts) == 1 for texts in found):  # as nearly always
            return [tuple(texts[0] for texts in found)]
        return list(islice(product(*found), MAX_COMBINATIONS))

    def key(self, cluster: str, values: Values, at_ms: int) -> Key:
        """What a worker remembers a sighting by."""
        return self._owner, cluster, digest_of(values), at_ms // self._cell_ms

    def day(self, cluster: str, at_ms: int) -> Key:
        """What a worker remembers a day of a cluster's history by: its beginning is told anew each day, to live on."""
        return self._owner, cluster, "", at_ms // DAY_MS

    def history(self, cluster: str, at_ms: int) -> Put:
        """That this rule was in force and the cluster was seen at this time; the earliest stays."""
        ttl_ms = self._learning_ms + 30 * DAY_MS
        series, group = self._history()
        return Put(series, cluster, at_ms, str(at_ms).encode(), ttl_ms, 1, group, "earliest", b"start")

    def puts(self, cluster: str, values: Values, at_ms: int) -> list[Put]:
        """A sighting, and that the last of the values was seen with the rest."""
        series, group = self._series(values)
        name = str(at_ms // self._cell_ms).encode()
        puts = [Put(series, cluster, at_ms, name, self.ttl_ms, self._cells + 100, group, "earliest", name)]
        if self._tells:
            others, beside = self._beside(values, at_ms)
            last = values[-1].encode("utf-8", "surrogatepass")
            puts.append(Put(others, cluster, at_ms, last, self.ttl_ms, MAX_OTHERS, beside, "first", last))
        if self.given.again:
            once = b"once"
            puts.append(Put(self._ever(values), cluster, at_ms, once, EVER_TTL_MS, 1, group, "earliest", once))
        return puts

    def ranges(self, cluster: str, values: Values, at_ms: int, late_ms: int, lateness_ms: int = 0) -> list[Range]:
        """What to read: the sightings before; older ones; since when it is watched; what else was seen.

        `late_ms` as `verdict` has it; `lateness_ms`: the source's. What else was seen is told of what lies as long ago.
        """
        cell = (at_ms - late_ms) // self._cell_ms - self._cells
        series, group = self._series(values)
        ranges = [Range(series, cluster, cell * self._cell_ms, at_ms - 1, group)]
        if self.given.again:
            ranges.append(Range(self._ever(values), cluster, -(1 << 53), at_ms - self._window_ms - 1, group))
        if self.learns:
            start, history = self._history()
            ranges.append(Range(start, cluster, *ALL_TIME, history))
        if self._tells:
            for epoch_ms in (at_ms - self._epoch_ms, at_ms):
                others, beside = self._beside(values, epoch_ms)
                ranges.append(Range(others, cluster, ALL_TIME[0], at_ms - max(lateness_ms, 1), beside))
        return ranges

    def verdict(self, at_ms: int, late_ms: int, replies: Sequence[StateReply]) -> Verdict:
        """Whether nothing was seen before; `late_ms`: how much earlier an event may still come that changes it."""
        cells = set(members.numbers(replies[0]))
        cell, epoch = at_ms // self._cell_ms, self._window_ms
        if any(cell - self._cells <= c <= cell for c in cells):
            return "no"
        if self.given.every_s:
            return "first"
        if self.given.again and not members.of(replies[1]):
            return "later" if late_ms else "no"
        if not self.learns:
            unsure = bool(cells) or (at_ms - late_ms) // epoch != at_ms // epoch
            return "later" if unsure and late_ms else "first"
        learnt_ms = at_ms - self._start(replies) - self._learning_ms
        if learnt_ms < -late_ms:
            return "no"
        unsure = bool(cells) or (at_ms - late_ms) // epoch != at_ms // epoch
        if late_ms and self._learning_ms:
            unsure = unsure or learnt_ms < late_ms
        if unsure and late_ms:
            return "later"
        return "first" if learnt_ms >= 0 else "no"

    def anchor(self, values: Values, at_ms: int) -> Values:
        """What the alert's id hangs on: the values, and which window of time it is."""
        return (*values, str(at_ms // self._window_ms))

    def revision(self, at_us: int) -> int:
        """The earlier within its window of time, the higher, since of several the earliest is the first one.

        Always even: the number above is free for the alert with another level.
        """
        end_us = (at_us // (self._window_ms * 1000) + 1) * self._window_ms * 1000
        return 2 * (end_us - at_us)

    def told(self, values: Values, at_ms: int, lateness_ms: int, replies: Sequence[StateReply]) -> tuple[str, str]:
        """What the alert says: what is new, and what was seen before in its place.

        Only of what no event can change that still comes.
        """
        seen = dict.fromkeys(m.decode("utf-8", "replace") for reply in replies[-2:] for m in members.of(reply))
        others = [one for one in seen if one != values[-1]][-MAX_OTHERS:]
        text = f"{', '.join(values)}: not seen in {_span(self.given.window_s)} before"
        text += f"; seen: {', '.join(reversed(others))}" if others else "; nothing else was seen in its place"
        start_ms = self._start(replies)
        since = f"since {iso_time(start_ms * 1000)}"
        if start_ms > at_ms - lateness_ms:
            since = f"for less than {_span(lateness_ms // 1000)}"
        return "first_seen " + ", ".join(self.given.fields), f"{text}; watched {since}"

    def _start(self, replies: Sequence[StateReply]) -> int:
        return min(members.numbers(replies[2 if self.given.again else 1]), default=1 << 53)

    def _series(self, values: Values) -> tuple[str, str]:
        group = f"{self._owner}/{self._shape}.{digest_of(values)}"
        return f"{group}/seen", group

    def _ever(self, values: Values) -> str:
        return f"{self._series(values)[1]}/ever"

    def _beside(self, values: Values, at_ms: int) -> tuple[str, str]:
        group = f"{self._owner}/{self._shape}.beside.{digest_of(values[:-1])}"
        return f"{group}/seen.{at_ms // self._epoch_ms}", group

    def _history(self) -> tuple[str, str]:
        group = f"{self._owner}/{self._shape}.history"
        return f"{group}/start", group


class Remembered:
    """What a worker knows that the state has: the earliest time of a sighting, the latest used stay."""

    def __init__(self) -> None:
        self._earliest: OrderedDict[Key, int] = OrderedDict()

    def before(self, key: Key, at_ms: int) -> bool:
        """Whether the state is known to have something earlier."""
        found = self._earliest.get(key)
        if found is None:
            return False
        self._earliest.move_to_end(key)
        return found < at_ms

    def keep(self, key: Key, at_ms: int) -> None:
        """The state has it from this time on."""
        found = self._earliest.get(key)
        if found is None or at_ms < found:
            self._earliest[key] = at_ms
            if len(self._earliest) > MAX_REMEMBERED:
                self._earliest.popitem(last=False)


def late_ms_of(event: AuditEvent) -> int:
    """How late other events of the same source may come."""
    return LATENESS_MS[source_of(event)]


def _texts(values: Sequence[object]) -> list[str]:
    """The values as texts, each once."""
    if len(values) == 1:
        return [text] if (text := text_of(values[0])) else []
    return sorted({text for v in values if (text := text_of(v))})


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
