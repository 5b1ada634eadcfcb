"""SIGTERM and SIGINT as a flag that loops ask: finish the batch, commit, leave."""

from __future__ import annotations

import signal
import threading


def on_signals() -> threading.Event:
    """An event that is set at the first SIGTERM or SIGINT. Call it in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
