"""When what waits on a timer is looked at again: once its source has come far enough, and all of it was handled.

A source's progress is the latest time of its events that were handled, by any worker, and never more than five minutes
ahead of the clock. It says nothing of records that wait in other partitions, so nothing is due before all that the
topic held a while ago is handled. A source of which nothing comes for an hour is silent: its timers go by the clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from leadsman_detector.state import CLOCK

AHEAD_MS = 5 * 60_000
SILENT_MS = 60 * 60_000
SLACK_MS = 60_000  # how long ago everything must have been handled; far below any source's lateness

Place = tuple[str, str]  # cluster, source


def clamped(at_ms: int, now_ms: int) -> int:
    """A time of an event as progress: a clock that is wrong must close nothing early."""
    return min(at_ms, now_ms + AHEAD_MS)


def reached(source: str, progress: tuple[int, int] | None, now_ms: int) -> int | None:
    """Up to when timers of a source are due; None where nothing is known of it. `progress`: a time, and since when."""
    if source == CLOCK:
        return now_ms
    if progress is None:
        return None
    at_ms, since_ms = progress
    return max(at_ms, now_ms) if now_ms - since_ms > SILENT_MS else at_ms


class Handled:
    """Whether all is handled that a topic held a while ago, by what its ends and the committed offsets were."""

    def __init__(self, slack_ms: int = SLACK_MS) -> None:
        self._slack_ms = slack_ms
        self._ends: deque[tuple[int, Mapping[int, int]]] = deque(maxlen=1000)

    def look(self, ends: Mapping[int, int], committed: Mapping[int, int], now_ms: int) -> bool:
        """Note the ends of the partitions now; True where those of the last while are committed."""
        committed = {p: max(offset, 0) for p, offset in committed.items()}  # none yet is below 0
        self._ends.append((now_ms, ends))
        while len(self._ends) > 1 and now_ms - self._ends[1][0] >= self._slack_ms:
            self._ends.popleft()
        at_ms, then = self._ends[0]
        behind = any(committed.get(partition, 0) < end for partition, end in then.items())
        return not behind and (now_ms - at_ms >= self._slack_ms or all(ends[p] <= committed.get(p, 0) for p in ends))
