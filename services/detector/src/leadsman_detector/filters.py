"""A Sigma filter at work on one rule: what it takes away, the level that it caps, or what it has told to nobody.

A filter's condition says what stays. It is asked of the event and of the element that the rule itself is asked of; with
`every` it is asked of each element of a list, and the alert stays where it holds for one of them or there is none.
"""

from __future__ import annotations

from typing import Any

from leadsman_common.events import touches
from leadsman_detector.compile import Condition, paths_of
from leadsman_detector.fields import elements
from leadsman_detector.form import Filter


class CompiledFilter:
    """A filter for the rules whose `each` is this one. Raises UnknownField or BadPattern."""

    def __init__(self, given: Filter, each: str) -> None:
        self.given = given
        self.name, self.level, self.suppress = given.name, given.level, given.suppress
        own = bool(given.every) and given.every != each  # else the rule's element alone is asked
        self._elements = elements(given.every) if own else None
        self._condition = Condition(given.condition, given.every, each) if own else Condition(given.condition, each)
        self._facts = [p.removeprefix("facts.") for p in paths_of(given.condition) if p.startswith("facts.")]

    def holds(self, event: Any, element: Any = None) -> bool:
        """Whether this is what the filter takes away."""
        if self._elements is None:
            return not self._condition.holds(event, element)
        every = self._elements(event)
        return bool(every) and not any(self._condition.holds((event, element), one) for one in every)

    @property
    def takes_away(self) -> bool:
        """Whether what it holds of is left out, in place of being lowered or told to nobody."""
        return not self.level and self.suppress is None

    def released(self, event: Any, element: Any = None) -> bool:
        """Whether it may have held until this patch: it does not hold, but would but for what the patch set.

        So a known agent whose image or command is exchanged is new, even where nothing is known of it before.
        """
        facts = event["facts"]
        touched = facts["touched"] if facts is not None else []
        if not any(touches(touched, path) for path in self._facts) or self.holds(event, element):
            return False

        def unknown(path: str) -> bool:
            return path.startswith("facts.") and touches(touched, path.removeprefix("facts."))

        if self._elements is None:
            return self._condition.perhaps(event, element, unknown) is not True
        every = self._elements(event)
        return bool(every) and all(self._condition.perhaps((event, element), one, unknown) is not True for one in every)
