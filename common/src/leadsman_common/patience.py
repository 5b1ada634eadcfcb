"""How long a service bears a broken world: waits that grow, and a bound past which the error leaves the process.

Ingest uses it around Kafka and around the cloud's API; the orchestrator restarts what gave up.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from leadsman_common import metrics

MOST_TROUBLES = 100


class Trouble(NamedTuple):
    """What failed last of a thing that somebody is patient with, and when (Unix time, ms)."""

    what: str
    at_ms: int
    error: Exception


class Troubles:
    """What fails in this process, for who tells others of it (pulse.py). Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Trouble] = {}

    def now(self) -> list[Trouble]:
        """What has failed and not worked since."""
        with self._lock:
            return list(self._found.values())

    def note(self, what: str, error: Exception | None) -> None:
        """It failed, or works."""
        if not what or (error is None and what not in self._found):
            return
        with self._lock:
            self._found.pop(what, None)
            if error is not None and len(self._found) < MOST_TROUBLES:  # whoever can connect may name clusters
                self._found[what] = Trouble(what, time.time_ns() // 1_000_000, error)


TROUBLES = Troubles()


class Patience:
    """Counts from the first failure after a success. One instance for one thing that may be broken.

    Under `what` others are told of it.
    """

    def __init__(
        self,
        stop: threading.Event,
        bound_s: float,
        *,
        first_s: float = 0.2,
        longest_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        what: str = "",
    ) -> None:
        self.bound_s = bound_s
        self._what = what
        self._stop = stop
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._wait_s = first_s
        self._since: float | None = None

    def succeeded(self) -> None:
        """The thing works: what failed before is forgotten."""
        self._since = None
        TROUBLES.note(self._what, None)
        self._wait_s = self._first_s

    def next_wait_s(self, error: Exception) -> float:
        """How long to wait before the next try. Raises `error` when the bound is met, or when asked to stop."""
        now = self._clock()
        metrics.failed("upstream")
        TROUBLES.note(self._what, error)
        if self._since is None:
            self._since = now
        if self._stop.is_set() or now - self._since >= self.bound_s:
            raise error
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._longest_s)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - only so that workers do not retry in step

    def failed(self, error: Exception) -> None:
        """Wait before the next try, cut short by a stop. Raises as `next_wait_s` does."""
        self._stop.wait(self.next_wait_s(error))
