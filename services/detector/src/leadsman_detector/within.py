"""Where something holds: in every cluster, in none, or in those that a condition over `cluster.*` names."""

from __future__ import annotations

from collections.abc import Callable

from leadsman_common.events import Cluster
from leadsman_detector.compile import Condition
from leadsman_detector.form import Correlation, Where
from leadsman_detector.overlays import shifted


def within(given: Where) -> Callable[[Cluster], bool]:
    """Whether it holds in a cluster."""
    if isinstance(given, bool):
        return lambda _: given
    condition = Condition(given)
    return lambda cluster: condition.holds({"cluster": cluster})


class Standing:
    """Where a correlation is asked, and where it is on trial."""

    def __init__(self, form: Correlation) -> None:
        self._enabled, self._shadow = within(form.enabled), within(form.shadow)
        self._plain = form.enabled is True
        self._moves = [(within(node), by) for node, by in reversed(form.moves)]

    def shadow(self, cluster: Cluster) -> bool:
        """Whether nobody is told of what it raises there."""
        return self._shadow(cluster)

    def level(self, level: str, cluster: Cluster) -> str:
        """The level of an alert there."""
        by = next((by for holds, by in self._moves if holds(cluster)), 0)
        return shifted(level, by) if by else level

    def takes(self, cluster: Cluster, *, shadow: bool) -> bool:
        """Whether it is fed with what was found there; what a rule on trial found feeds only what is on trial too."""
        if self._plain and not shadow:
            return True
        return self._enabled(cluster) and (not shadow or self._shadow(cluster))
