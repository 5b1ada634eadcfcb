"""When a window of a correlation is fulfilled: plain functions over members, whatever order they arrived in.

A member is hot where the window that ends in it, both ends included, fulfils the condition. Times are cut into cells as
long as the window, so that a window touches the cell of its last member and the one before. What is kept of a cell is
bounded by what the condition can need; docs/decisions/007 says why that is enough, and property tests hold these
functions to the plain definition in `hot_members`.
"""

from __future__ import annotations

import bisect
import math
import operator
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from leadsman_detector.correlate_members import Member, ordered
from leadsman_detector.form import AllOf, AnyOf, Expression, NoneOf

Holds = Callable[[Collection[str]], bool]  # the values (or parts) that a window holds -> whether they fulfil it
Chain = tuple[str, ...]
Span = tuple[int, int]  # times in ms, both included
EVER: Span = (-(1 << 60), 1 << 60)

_id_of = operator.attrgetter("id")
_value_of = operator.attrgetter("value")


def holds(expression: Expression, parts: Collection[str]) -> bool:
    """Whether a condition over rules holds where events of these are there."""
    if isinstance(expression, str):
        return expression in parts
    if isinstance(expression, AllOf):
        return all(holds(p, parts) for p in expression.parts)
    if isinstance(expression, AnyOf):
        return any(holds(p, parts) for p in expression.parts)
    return not holds(expression.part, parts) if isinstance(expression, NoneOf) else False


# --- the plain definition, over all members ---------------------------------------------------------------------


def windows(
    members: Sequence[Member],
    window_ms: int,
    fulfils: Callable[[Counter[str]], bool],
    of: Callable[[Member], str],
    span: Span = EVER,
) -> Iterator[tuple[Member, list[Member]]]:
    """Each member of which the window that ends in it fulfils a condition, with the window, in order of time.

    `fulfils` is given how often each `of` (value or id) is in it. What shares the time of the last is within. Only
    windows that end within `span` are given.
    """
    found = ordered(members)
    first = last = 0
    counts: Counter[str] = Counter()
    for member in found:
        at_ms = member.time_ms
        while last < len(found) and found[last].time_ms <= at_ms:
            counts[of(found[last])] += 1
            last += 1
        while found[first].time_ms < at_ms - window_ms:
            gone = of(found[first])
            counts[gone] -= 1
            if not counts[gone]:
                del counts[gone]
            first += 1
        if span[0] <= at_ms <= span[1] and fulfils(counts):
            yield member, found[first:last]


def by_count(
    members: Sequence[Member], window_ms: int, threshold: float, span: Span = EVER
) -> Iterator[tuple[Member, list[Member]]]:
    """The hot members of an event_count, each with its window."""
    return windows(members, window_ms, lambda counts: len(counts) >= threshold, _id_of, span)


def by_values(
    members: Sequence[Member], window_ms: int, fulfils: Holds, span: Span = EVER
) -> Iterator[tuple[Member, list[Member]]]:
    """The hot members of a value_count, or of a temporal where a member's value is its rule."""
    return windows(members, window_ms, fulfils, _value_of, span)


def by_sum(
    members: Sequence[Member], window_ms: int, threshold: float, span: Span = EVER, *, over: bool = False
) -> Iterator[tuple[Member, list[Member]]]:
    """The hot members of a value_sum of numbers that are not negative; `over`: the threshold itself is too little."""
    for member, window in windows(members, window_ms, lambda _: True, _id_of, span):
        total = math.fsum(float(m.value) for m in window)
        if total > threshold or (total == threshold and not over):
            yield member, window


def by_order(
    members: Sequence[Member],
    window_ms: int,
    chains: Sequence[Chain],
    *,
    through: Member | None = None,
    span: Span = EVER,
) -> Iterator[tuple[Member, list[Member]]]:
    """The members that end one of the chains, each with a chain (the latest events that make one).

    Events of a chain differ; those at the same time may stand in either order. `through` must be part of the chain.
    """
    parts: dict[str, list[Member]] = {}
    for member in ordered(members):
        parts.setdefault(member.part, []).append(member)
    for chain in chains:
        for end in parts.get(chain[-1], ()):
            if not span[0] <= end.time_ms <= span[1]:
                continue
            found = _chain(parts, chain[:-1], [end], end.time_ms - window_ms, through)
            if found is not None:
                yield end, found


def _chain(
    parts: Mapping[str, list[Member]], left: Chain, tail: list[Member], from_ms: int, through: Member | None
) -> list[Member] | None:
    """The tail with events of `left` in front of it, the latest first; None where there are none."""
    if not left:
        return tail if through is None or any(m.id == through.id and m.part == through.part for m in tail) else None
    used = {m.id for m in tail}
    tried = 0
    candidates: Iterable[Member] = reversed(parts.get(left[-1], ()))
    if through is not None and through.part == left[-1]:
        candidates = (through,)
    for member in candidates:
        if member.time_ms > tail[0].time_ms or member.id in used:
            continue
        # only events that meet several rules make a later try worth it, and so many at most
        if member.time_ms < from_ms or tried > len(left) + len(tail):
            return None
        tried += 1
        found = _chain(parts, left[:-1], [member, *tail], from_ms, through)
        if found is not None:
            return found
    return None


# --- what is judged when a cell is over ----------------------------------------------------------------------------

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
}


def measured(kind: str, members: Sequence[Member], percentile: int) -> float:
    """What a correlation of this type measures over some events; there is at least one."""
    if kind == "event_count":
        return len({m.id for m in members})
    if kind == "value_count":
        return len({m.value for m in members})
    numbers = sorted(float(m.value) for m in members)
    if kind == "value_sum":
        return math.fsum(numbers)
    if kind == "value_avg":
        return math.fsum(numbers) / len(numbers)
    if kind == "value_median":
        return statistics.median(numbers)
    return numbers[max(0, math.ceil(percentile / 100 * len(numbers)) - 1)]  # nearest rank


def compares(op: str, measure: float, threshold: float) -> bool:
    """Whether what was measured meets the condition."""
    return _COMPARE[op](measure, threshold)


# --- what the kept of two cells say --------------------------------------------------------------------------------


def ends_by_count(
    kept: Sequence[Member], before: Sequence[Member], window_ms: int, threshold: float, need: int
) -> Iterator[tuple[Member, list[Member]]]:
    """The hot members of a cell, in order, each with its window: of the cell, and the one before, both ends are kept.

    Of a cell that holds more than was kept these are its first `need` and its last one: around those nothing is
    missing of the `need` latest members of a window.
    """
    found = [*before, *kept]
    times = [m.time_ms for m in found]
    places: Sequence[int] = range(len(before), len(found))
    if len(kept) >= 2 * need:
        places = (*places[:need], places[-1])
    for place in places:
        first = bisect.bisect_left(times, times[place] - window_ms)
        if place + 1 - first >= threshold:
            yield found[place], found[first : place + 1]


def ends_by_values(
    firsts: Sequence[Member], lasts_before: Sequence[Member], window_ms: int, fulfils: Holds
) -> Iterator[tuple[Member, list[Member]]]:
    """The members of a cell that make a window hot, in order, each with what it holds: one member for each value.

    `firsts` are the first member of each value in the cell, `lasts_before` the last of each in the cell before: the
    windows that end in a first are the fullest of their values, so no other need be looked at.
    """
    here: dict[str, Member] = {}
    for end in ordered(firsts):
        here[end.value] = end
        window = [m for m in lasts_before if m.time_ms >= end.time_ms - window_ms and m.value not in here]
        window += here.values()
        if fulfils(frozenset(m.value for m in window)):
            yield end, window
