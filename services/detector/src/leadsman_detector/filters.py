"""A Sigma filter at work on one rule: what it takes away, or the level that it caps.

A filter's condition says what stays. It is asked of the event and of the element that the rule itself is asked of; with
`every` it is asked of each element of a list, and the alert stays where it holds for one of them or there is none.
"""

from __future__ import annotations

from typing import Any

from leadsman_detector.compile import Condition
from leadsman_detector.fields import elements
from leadsman_detector.form import Filter


class CompiledFilter:
    """A filter for the rules whose `each` is this one. Raises UnknownField or BadPattern."""

    def __init__(self, given: Filter, each: str) -> None:
        self.given = given
        self.name, self.level = given.name, given.level
        own = bool(given.every) and given.every != each  # else the rule's element alone is asked
        self._elements = elements(given.every) if own else None
        self._condition = Condition(given.condition, given.every, each) if own else Condition(given.condition, each)

    def holds(self, event: Any, element: Any = None) -> bool:
        """Whether this is what the filter takes away."""
        if self._elements is None:
            return not self._condition.holds(event, element)
        every = self._elements(event)
        return bool(every) and not any(self._condition.holds((event, element), one) for one in every)
