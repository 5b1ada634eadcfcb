"""The three kinds of trouble a record can be (docs/decisions/001): bad data, not ours, and a broken world.

A broken world needs no class here: it is whatever the client library raises, and it ends the process.
"""

from __future__ import annotations


class InvalidEvent(Exception):
    """Bad data: the record goes to the dead-letter topic, untouched, with `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooManyBadRecords(Exception):
    """The cap on consecutive bad records was met: the consumer stops, offsets uncommitted."""
