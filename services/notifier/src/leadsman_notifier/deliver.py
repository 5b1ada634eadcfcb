"""Delivering one alert to one sink: once per id and revision, tried again with patience, given up after a bound."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from leadsman_common.alerts import LEVELS, Alert, delivery_key, level_at_least
from leadsman_common.metrics import DELIVERIES, DELIVERY_SECONDS, failed
from leadsman_notifier.sink import Refused, Sink, Unavailable


class Stopped(Exception):
    """The process was told to leave while this alert was not delivered: its offset stays uncommitted."""


class Delivered(Protocol):
    """The memory of deliveries (delivered.py): in Redis, or in this process."""

    def has(self, sink: str, key: str) -> bool:
        """Whether that alert was delivered there."""

    def add(self, sink: str, key: str) -> None:
        """Remember a delivery."""


@dataclass(frozen=True)
class Backoff:
    """How long a failing sink is tried: waits of `first_s`, doubled up to `max_s`, for `retry_s` in all."""

    retry_s: float
    first_s: float
    max_s: float

    def wait_s(self, attempt: int, chance: float) -> float:
        """The wait after attempt 0, 1, ...: between half of the doubled wait and all of it, by `chance` in [0, 1)."""
        return float(min(self.max_s, self.first_s * 2 ** min(attempt, 30)) * (0.5 + chance / 2))


class Delivery:
    """One sink and the state of its outage. One thread uses it.

    The bound counts from the sink's first failure after its last answer, not for each alert anew: once it has been
    down that long, every further alert is tried once and then dead-lettered, so that the topic does not pile up.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        delivered: Delivered,
        backoff: Backoff,
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`wait` sleeps and says whether the process was told to stop meanwhile."""
        self.name = name
        self._sink = sink
        self._delivered = delivered
        self._backoff = backoff
        self._stop = stop
        self._clock = clock
        self._wait = wait or stop.wait
        self._chance = chance
        self._failing_since: float | None = None
        self._not_before = 0.0  # what the sink's last Retry-After asked for
        self._reason = ""

    @property
    def failing(self) -> bool:
        """Whether the last attempt found the sink unavailable."""
        return self._failing_since is not None

    def deliver(self, alert: Alert) -> str:
        """Deliver; returns `delivered`, `repeated` or `below_level`. Raises Refused, Stopped or what Redis raises."""
        if alert["level"] in LEVELS and not level_at_least(alert["level"], self._sink.min_level):
            return "below_level"
        key = delivery_key(alert)
        if self._delivered.has(self.name, key):
            return "repeated"
        self._send(alert)
        self._delivered.add(self.name, key)
        return "delivered"

    def _send(self, alert: Alert) -> None:
        attempt = 0
        while True:
            self._pause(self._not_before - self._clock())
            try:
                with DELIVERY_SECONDS.labels(self.name).time():
                    self._sink.send(alert)
            except Unavailable as error:
                failed("sink")
                self._note_failure(error)
                if error.after_s is None:
                    self._pause(self._backoff.wait_s(attempt, self._chance()))
                attempt += 1
                DELIVERIES.labels(self.name, "retried").inc()
            except Refused:
                self._failing_since = None  # it answers
                raise
            else:
                self._failing_since = None
                return

    def _note_failure(self, error: Unavailable) -> None:
        now = self._clock()
        self._reason = error.reason
        if self._failing_since is None:
            self._failing_since = now
        if error.after_s is not None:
            self._not_before = now + error.after_s

    def _pause(self, wait_s: float) -> None:
        """Wait, unless it would take longer than the bound leaves (Refused) or the process stops (Stopped)."""
        if self._stop.is_set():
            raise Stopped
        if wait_s <= 0:
            return
        now = self._clock()
        if self._failing_since is not None and now + wait_s > self._failing_since + self._backoff.retry_s:
            down_s = now - self._failing_since
            raise Refused(f"unavailable for {down_s:.0f} s, next try in {wait_s:.0f} s: {self._reason}")
        if self._wait(wait_s):
            raise Stopped
