"""Filters that name correlations: an alert of one is told to nobody where all of its events are what a filter means.

Events are asked as they arrive, for what is kept of them is little; a chain remembers which filters meant each. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from leadsman_common.alerts import Suppressed
from leadsman_common.events import AuditEvent
from leadsman_detector.alert import told_of
from leadsman_detector.filters import CompiledFilter

Named = tuple[tuple[str, ...], CompiledFilter]  # the correlations, and the filter


class Suppressing:
    """The suppressions of correlations."""

    def __init__(self, filters: Sequence[Named] = ()) -> None:
        self._filters = tuple(filters)

    def held(self, event: AuditEvent) -> tuple[str, ...]:
        """The filters that mean this event, by name."""
        return tuple(found.name for _, found in self._filters if found.holds(event))

    def of(self, correlation: str, chain: Sequence[tuple[Sequence[str], int]]) -> Suppressed | None:
        """By which nobody is told of a chain; of each event what `held` gave, and its time in ms."""
        for named, found in self._filters:
            suppress = found.suppress
            if correlation not in named or suppress is None or not chain:
                continue
            if all(found.name in held and at_ms * 1000 < suppress.until for held, at_ms in chain):
                return told_of(found.given)
        return None


NOBODY = Suppressing()
