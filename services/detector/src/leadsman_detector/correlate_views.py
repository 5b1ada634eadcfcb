"""Which of an incident's windows is told, and which of its members: a function of the set of events, in any order.

Every window that fulfils is a view of its incident, and the best one is told: one that somebody hears of, at the
highest level, of the latest stage that the incident has grown to, the first in time. More events can only make better
views, or more of the same one, so the best of those that workers saw is the best of all, and what they claim by
`revision` and `order` keeps the last word for it (docs/decisions/007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leadsman_common.alerts import level_rank
from leadsman_detector.correlate_members import Member, ordered

MAX_VIEWS = 256  # of one cell that are compared
MAX_ORDERED = 64  # members that tell views of one end apart
LAST_STAGE = 7
_LAST_MS = (1 << 44) - 1  # in the year 2527
_OTHERWISE = bytes(range(255, -1, -1))


@dataclass(frozen=True, slots=True)
class View:
    """A window that fulfils, by the members that are told of it. `order` sorts before that of less of the same."""

    end: Member
    members: list[Member]
    level: str
    told_level: str  # where the cluster moves it
    hidden: bool  # nobody is told of it
    order: bytes
    stage: int = 0  # how long its incident had gone on, see `stage_of`

    @property
    def revision(self) -> int:
        """The better the higher, below 2^53, and even: a look at the same again has the number in between."""
        return revision_of(not self.hidden, level_rank(self.told_level), self.end.time_ms, self.stage)


def revision_of(shown: bool, degree: int, time_ms: int, stage: int = 0) -> int:
    """A revision that is the higher the more an alert says.

    Shown to somebody, to which degree and of which stage (each 0 to 7), how early.
    """
    return shown << 51 | degree << 48 | stage << 45 | (_LAST_MS - min(max(time_ms, 0), _LAST_MS)) << 1


def stage_of(cells: int) -> int:
    """The stage of a window before which `cells` timespans of its incident have passed.

    0, then 1 for 1 and 2, 2 for 3 to 6, 3 for 7 to 14: so an incident that goes on is told again after each doubling,
    not with every event.
    """
    return min((cells + 1).bit_length() - 1, LAST_STAGE)


def best(views: Iterable[View], top: int | None = None) -> View | None:
    """The best view, of those of one time the first; from the level `top` on no other can be better."""
    found: View | None = None
    for n, view in enumerate(views):
        if found is None or (-view.revision, view.order) < (-found.revision, found.order):
            found = view
        if n >= MAX_VIEWS or (top is not None and not found.hidden and level_rank(found.level) >= top):
            break
    return found


def by_count(end: Member, window: Sequence[Member], size: int) -> tuple[list[Member], bytes]:
    """As many members as are counted, up to the first at the time of the end that completes them."""
    every = list({m.id: m for m in ordered(window)}.values())
    first = next(n for n, m in enumerate(every) if m.time_ms == end.time_ms)
    return by_chain(every[: max(first + 1, size)][-size:])


def by_chain(members: Sequence[Member]) -> tuple[list[Member], bytes]:
    """All of these, which are in order; of one end those before it are the later the better."""
    later = (_later(m) for m in reversed(members[-MAX_ORDERED:-1]))
    return list(members), _first(members[-1]) + b"".join(later)


def by_cells(window: Sequence[Member], cell_ms: int, size: int) -> tuple[list[Member], bytes]:
    """The latest members of a window, one a value: those of the cell are the first of theirs, the others the last."""
    members = ordered(window)[-size:]
    here = [m for m in members if m.time_ms >= cell_ms]
    before = [m for m in reversed(members) if m.time_ms < cell_ms]
    by_name = sorted(here, key=lambda m: m.value)
    order = [_first(members[-1]), _many(len(here)), _many(len(before)), *map(_first, by_name[:MAX_ORDERED])]
    return members, b"".join([*order, *map(_last, before[:MAX_ORDERED])])


def by_value(window: Sequence[Member], anchor: Member | None) -> tuple[list[Member], bytes]:
    """The last member of each value, and the anchor for its own."""
    last = {m.value: m for m in ordered(window)}
    if anchor is not None:
        last[anchor.value] = anchor
    members = ordered(last.values())
    by_name = [last[value] for value in sorted(last)]
    return members, _many(len(last)) + b"".join(map(_later, by_name[:MAX_ORDERED]))


def by_all(window: Sequence[Member]) -> tuple[list[Member], bytes]:
    """All members."""
    members = ordered(window)
    return members, _many(len(members))


def _first(member: Member) -> bytes:
    """What sorts before for an earlier member."""
    return _placed(member.time_ms, member)


def _later(member: Member) -> bytes:
    """What sorts before for a later member."""
    return _first(member).translate(_OTHERWISE)


def _last(member: Member) -> bytes:
    """The same, but of members of one time before for the first: of these a series keeps that one (state.Put)."""
    return _placed(-member.time_ms, member)


def _placed(at_ms: int, member: Member) -> bytes:
    return b"%020d %s %s\0" % (at_ms + (1 << 60), _bytes(member.id), _bytes(member.part))


def _many(number: int) -> bytes:
    """What sorts before for more of them."""
    return b"%08d" % (99_999_999 - number)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
