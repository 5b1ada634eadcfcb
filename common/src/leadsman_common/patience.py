"""How long a service bears a broken world: waits that grow, and a bound past which the error leaves the process.

Ingest uses it around Kafka and around the cloud's API; the orchestrator restarts what gave up.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from leadsman_common import metrics


class Patience:
    """Counts from the first failure after a success. One instance for one thing that may be broken."""

    def __init__(
        self,
        stop: threading.Event,
        bound_s: float,
        *,
        first_s: float = 0.2,
        longest_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bound_s = bound_s
        self._stop = stop
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._wait_s = first_s
        self._since: float | None = None

    def succeeded(self) -> None:
        """The thing works: what failed before is forgotten."""
        self._since = None
        self._wait_s = self._first_s

    def next_wait_s(self, error: Exception) -> float:
        """How long to wait before the next try. Raises `error` when the bound is met, or when asked to stop."""
        now = self._clock()
        metrics.failed("upstream")
        if self._since is None:
            self._since = now
        if self._stop.is_set() or now - self._since >= self.bound_s:
            raise error
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._longest_s)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - only so that workers do not retry in step

    def failed(self, error: Exception) -> None:
        """Wait before the next try, cut short by a stop. Raises as `next_wait_s` does."""
        self._stop.wait(self.next_wait_s(error))
