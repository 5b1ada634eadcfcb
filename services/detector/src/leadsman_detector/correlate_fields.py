"""Which groups an event belongs to in a correlation and which values it brings, by the fields that the rules name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise, product
from types import MappingProxyType
from typing import Any, TypeAlias

from leadsman_detector.compare import text_of
from leadsman_detector.fields import Getter, UnknownField, getter
from leadsman_detector.form import Correlation, Problem
from leadsman_detector.sigma_correlations import is_closed

MAX_GROUPS = 64  # that one event is put into, by fields with several values
MAX_THRESHOLD = 10_000
NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})
Route: TypeAlias = tuple[str, ...]  # from a rule of the correlation down to the Sigma rule that the event met


class Reader:
    """The fields of one correlation. `correlations` has those that it may stand on, by name."""

    def __init__(self, form: Correlation, correlations: Mapping[str, Correlation]) -> None:
        self._form = form
        self._correlations = correlations
        self._getters: dict[Route, tuple[list[tuple[str, Getter]], list[Getter]]] = {}

    def read(
        self, event: Any, route: Route, only: Mapping[str, frozenset[str]] = NOTHING
    ) -> tuple[list[list[str]], list[str]]:
        """The groups and the values of an event; none of either where a field is missing.

        `only` has, of some fields, the values that count.
        """
        group_by, counted = self.getters(route)
        texts = [_texts(get(event)) for _, get in group_by]
        if only:
            texts = [
                [t for t in found if t in only.get(path, found)]
                for (path, _), found in zip(group_by, texts, strict=True)
            ]
        keys = _combined(texts)
        if self._form.type == "value_count":
            values = ["\x1f".join(v) for v in _combined([_texts(get(event)) for get in counted])]
        elif counted:
            values = [v for get in counted for v in _texts(get(event)) if _is_number(v)][:MAX_GROUPS]
        else:
            values = [""] if self._form.type == "event_count" else [route[0]]
        return keys, values

    def getters(self, route: Route) -> tuple[list[tuple[str, Getter]], list[Getter]]:
        """How to read group-by and the counted fields from an event that came this way. Raises UnknownField."""
        if route not in self._getters:
            paths = [self._field(name, route) for name in self._form.group_by]
            self._getters[route] = (
                [(path, getter(path)) for path in paths],
                [getter(self._field(name, route)) for name in self._form.fields],
            )
        return self._getters[route]

    def _field(self, name: str, route: Route) -> str:
        """What a field of group-by is called in the events of a rule: aliases on the whole way down count."""
        found = self._form.aliases.get(name, {}).get(route[0], name)
        for inner, part in pairwise(route):
            found = self._correlations[inner].aliases.get(found, {}).get(part, found)
        return found


def routes(form: Correlation, correlations: Mapping[str, Correlation]) -> Iterator[Route]:
    """Every way on which an event reaches a correlation."""
    for name in form.rules:
        if name in correlations:
            yield from ((name, *route) for route in routes(correlations[name], correlations))
        else:
            yield (name,)


def usable(correlations: Sequence[Correlation], problems: list[Problem]) -> tuple[Correlation, ...]:
    """Those that can be evaluated; what is wrong with the others is added to the problems."""
    found = {c.name: c for c in correlations}
    left = -1
    while left != len(found):
        left = len(found)
        for form in list(found.values()):
            gone = [r for r in form.rules if r not in found and any(c.name == r for c in correlations)]
            reason = f"no such rule: {', '.join(gone)}" if gone else refused(form, found)
            if reason:
                problems.append(Problem(form.file, form.name, reason, form.line))
                del found[form.name]
    return tuple(found.values())


def refused(form: Correlation, correlations: Mapping[str, Correlation]) -> str:
    """Why a correlation cannot be evaluated; empty where it can."""
    if joined := [r for r in form.rules if r in correlations and correlations[r].join]:
        return f"{joined[0]} joins its events its own way and feeds no other correlation"
    try:
        for route in routes(form, correlations):
            Reader(form, correlations).getters(route)
    except UnknownField as error:
        return f"no such field: {error}"
    if form.join:
        return ""
    closed = is_closed(form)
    if form.absence is not None and form.absence.within_s > form.timespan_s:
        return "absence is within the timespan at most"
    if closed and form.anchor:
        return "a condition that more events can make false has no anchor"
    if closed and (inner := [r for r in form.rules if r in correlations and is_closed(correlations[r])]):
        return f"of {inner[0]} and this one, both are judged when their time is over; one of them must not be"
    if not closed and form.type in ("event_count", "value_count") and not 1 <= form.threshold <= MAX_THRESHOLD:
        return f"a threshold lies between 1 and {MAX_THRESHOLD}"
    if form.type.startswith("temporal") and form.condition is None and len(form.rules) < 2:
        return f"{form.type} takes two rules or more"
    if form.type == "temporal_ordered" and form.condition is None and form.threshold not in (0, len(form.rules)):
        return "an order takes all of its rules"
    return ""


def _combined(texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Every choice of one text of each."""
    if all(len(found) == 1 for found in texts):  # as nearly always
        return [[found[0] for found in texts]]
    return [list(key) for key in islice(product(*texts), MAX_GROUPS)]


def _texts(values: Sequence[object]) -> list[str]:
    if len(values) == 1:
        return [text] if (text := text_of(values[0])) else []
    return sorted({text for v in values if (text := text_of(v))})


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and float(text) >= 0
    except ValueError:
        return False
