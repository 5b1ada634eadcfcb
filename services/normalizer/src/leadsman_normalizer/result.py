"""What normalize may give instead of an event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dropped:
    """Not ours: a record that is no request to a cluster. Counted by `reason`, never an error."""

    reason: str
