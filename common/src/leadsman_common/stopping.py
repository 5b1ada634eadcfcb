"""SIGTERM and SIGINT as a flag that loops ask: finish the batch, commit, leave."""

from __future__ import annotations

import signal
import threading

_leave = threading.Event()


def on_signals() -> threading.Event:
    """An event that is set at the first SIGTERM or SIGINT. Call it in the main thread."""
    stop = threading.Event()

    def asked(number: int, _frame: object) -> None:
        note(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    return stop


def note(number: int) -> None:
    """A signal came. A handler that is not `on_signals` tells it here."""
    if number == signal.SIGTERM:
        _leave.set()


def told_to_leave() -> bool:
    """Whether a SIGTERM came: whoever runs the process wants it gone."""
    return _leave.is_set()
