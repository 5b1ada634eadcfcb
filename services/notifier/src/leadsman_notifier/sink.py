"""What a sink is: the interface between delivering (deliver.py) and the files of sinks/."""

from __future__ import annotations

from typing import Protocol

from leadsman_common.alerts import Alert


class Unavailable(Exception):
    """The sink cannot take it now; the same alert may be tried again, `after_s` later where the sink said so."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s


class Refused(Exception):
    """The sink will never take this alert: it goes to the dead-letter topic with `reason`, which holds no secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sink(Protocol):
    """A configured sink. One thread uses it."""

    @property
    def min_level(self) -> str:
        """The lowest level that it is told of."""

    def send(self, alert: Alert) -> None:
        """Deliver one alert; returns once the other side has accepted it. Raises Unavailable or Refused."""

    def close(self) -> None:
        """Let go of connections."""


class SinkConfig(Protocol):
    """The settings of one sink: a frozen dataclass of leadsman_common.settings fields."""

    def open(self) -> Sink | None:
        """The sink, or None where it is not configured. Raises SettingError."""
