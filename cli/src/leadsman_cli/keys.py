"""Keys that a person presses while something else goes on. Where standard input is no terminal, there are none."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keyboard() -> Iterator[Callable[[], str]]:
    """Give what tells the key that was pressed since the last call, or ""; it does not wait."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios  # noqa: PLC0415 - not everywhere
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed() -> str:
        ready, _, _ = select.select([descriptor], [], [], 0)
        return os.read(descriptor, 1).decode("ascii", "replace") if ready else ""

    tty.setcbreak(descriptor)
    try:
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
