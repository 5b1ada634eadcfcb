"""How long a source is usually silent, learned from the pauses that it made: a control plane makes none. Pure.

    paused(gaps, from_ms, until_ms, told)     the pauses with one more
    merged(some, others, until_ms)            what two workers saw of one source
    expected_ms(gaps, watched_ms)             within what time something of it is usually there

Only pauses of GRAIN_MIN and more are kept, of the last KEPT_MIN minutes the MOST longest. Times are minutes since the
epoch, by when records were received.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

MINUTE_MS = 60_000
DAY_MIN = 24 * 60
GRAIN_MIN = 10
KEPT_MIN = 28 * DAY_MIN
MOST = 64
# pauses that make up no more than this of the time are no rhythm: an outage of ours that nobody was told of
RARE = 0.02


class Gap(NamedTuple):
    """A pause. `told`: somebody was told that the source is silent."""

    start: int
    minutes: int
    told: bool = False

    @property
    def end(self) -> int:
        """The minute in which something came again."""
        return self.start + self.minutes


Gaps: TypeAlias = tuple[Gap, ...]


def paused(gaps: Gaps, from_ms: int, until_ms: int, *, told: bool = False) -> Gaps:
    """The pauses with one more, where it is long enough to be one."""
    start, end = from_ms // MINUTE_MS, until_ms // MINUTE_MS
    if end - start < GRAIN_MIN:
        return gaps
    return merged(gaps, (Gap(start, end - start, told),), until_ms)


def merged(some: Gaps, others: Gaps, until_ms: int) -> Gaps:
    """What both say, in whatever order: of pauses that begin together, or run into the next one, the shorter holds."""
    if not others or some == others:
        return some
    by_start: dict[int, Gap] = {}
    for gap in (*some, *others):
        known = by_start.get(gap.start, gap)
        by_start[gap.start] = Gap(gap.start, min(known.minutes, gap.minutes), known.told or gap.told)
    oldest = until_ms // MINUTE_MS - KEPT_MIN
    found: list[Gap] = []
    for gap in sorted(by_start.values(), reverse=True):
        minutes = min(gap.minutes, found[-1].start - gap.start) if found else gap.minutes
        if gap.start + minutes > oldest:
            found.append(Gap(gap.start, minutes, gap.told))
    longest = sorted(found, key=lambda gap: (-gap.minutes, -gap.start))[:MOST]
    return tuple(sorted(longest))


def expected_ms(gaps: Iterable[Gap], watched_ms: int) -> int:
    """Within what time something of it is usually there; GRAIN_MIN of a source that makes no pauses.

    It is the longest pause, but for what is rare, and for a silence that was told of: that one is the source's rhythm
    once it came twice.
    """
    left = RARE * min(watched_ms // MINUTE_MS, KEPT_MIN)
    usual = GRAIN_MIN
    for minutes in sorted((gap.minutes for gap in gaps if not gap.told), reverse=True):
        if minutes > left:
            usual = max(usual, minutes)
            break
        left -= minutes
    twice = sorted((gap.minutes for gap in gaps if gap.told), reverse=True)[1:2]
    return max(usual, *twice) * MINUTE_MS if twice else usual * MINUTE_MS
