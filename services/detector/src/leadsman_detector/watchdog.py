"""Ends a process that stands still: records wait and none is handled, and no error says so.

On a thread of its own, so that an event loop that hangs is seen too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from leadsman_common.metrics import STALLED
from leadsman_detector.runner import EXIT_BROKEN


class Watchdog:
    """Asks `waiting` whether records wait; `progress` is called whenever some were handled."""

    def __init__(
        self,
        waiting: Callable[[], bool],
        stall_s: float,
        exit_s: float,
        *,
        leave: Callable[[int], Any] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = waiting
        self._stall_s = stall_s
        self._exit_s = exit_s
        self._leave = leave
        self._clock = clock
        self._moved = clock()
        self._gauge = STALLED.labels("detector")
        self._stop = threading.Event()
        self._log = structlog.get_logger()
        self._stalled = False

    def start(self) -> None:
        """Watch until `stop`."""
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def stop(self) -> None:
        """Watch no more: the runner is leaving in good order."""
        self._stop.set()

    def progress(self) -> None:
        """Some records were handled."""
        self._moved = self._clock()

    def check(self) -> None:
        """Look once. Logs and sets leadsman_stalled past `stall_s`, leaves the process past `exit_s`."""
        now = self._clock()
        try:
            waiting = self._waiting()
        except Exception:  # noqa: BLE001 - whatever it was, a client that cannot even be asked is not moving
            self._log.warning("watchdog could not look", exc_info=True)
            waiting = True
        if not waiting:
            self._moved = now
        idle_s = now - self._moved
        if idle_s < self._stall_s:
            if self._stalled:
                self._log.info("records are handled again")
            self._stalled = False
            self._gauge.set(0)
            return
        if not self._stalled:
            self._log.error("stalled: records wait and none is handled", idle_s=round(idle_s, 1))
        self._stalled = True
        self._gauge.set(1)
        if idle_s >= self._exit_s:
            self._log.critical("stalled for too long: leaving, offsets uncommitted", idle_s=round(idle_s, 1))
            self._leave(EXIT_BROKEN)

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, self._stall_s / 4)):
            self.check()
        self._gauge.set(0)
