"""One channel's failures: when it may be tried again, and when its messages are given up."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from leadsman_notifier.channel import Unavailable


@dataclass(frozen=True)
class Backoff:
    """How long a failing channel is tried: waits of `first_s`, doubled up to `max_s`, for `retry_s` in all."""

    retry_s: float
    first_s: float
    max_s: float

    def wait_s(self, attempt: int, chance: float) -> float:
        """The wait after attempt 0, 1, ...: between half of the doubled wait and all of it, by `chance` in [0, 1)."""
        return float(min(self.max_s, self.first_s * 2 ** min(attempt, 30)) * (0.5 + chance / 2))


class Outage:
    """Counts from the channel's first failure after its last answer, not for each message anew.

    Once it has been down for the bound, every further message is tried once and then given up, so that alerts do not
    pile up behind it for ever.
    """

    def __init__(self, backoff: Backoff, chance: Callable[[], float] = random.random) -> None:
        self._backoff = backoff
        self._chance = chance
        self._attempt = 0
        self.since_s: float | None = None
        self.not_before_s = 0.0
        self.reason = ""

    def answered(self) -> None:
        """The channel took or refused a message: it is there."""
        self.since_s = None
        self._attempt = 0

    def failed(self, error: Unavailable, now_s: float) -> None:
        """It did not; the next try is after what it asked for, or after the backoff."""
        if self.since_s is None:
            self.since_s = now_s
        self.reason = error.reason
        wait_s = error.after_s
        if wait_s is None:
            wait_s = self._backoff.wait_s(self._attempt, self._chance())
        self._attempt += 1
        self.not_before_s = now_s + wait_s

    def waits(self, now_s: float) -> bool:
        """Whether nothing may be tried yet. Past the bound nothing waits: each message is tried, or given up."""
        return self.since_s is not None and now_s < self.not_before_s and not self.given_up(now_s)

    def given_up(self, now_s: float) -> str:
        """Why the message is given up, where the next try lies past the bound; empty otherwise."""
        if self.since_s is None or max(now_s, self.not_before_s) <= self.since_s + self._backoff.retry_s:
            return ""
        return f"unavailable for {now_s - self.since_s:.0f} s: {self.reason}"
