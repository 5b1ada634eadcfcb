"""Sink `stdout`: one readable line or one JSON object for each alert."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from leadsman_common.alerts import Alert, to_json
from leadsman_common.settings import SettingError, setting
from leadsman_notifier.config import check_level
from leadsman_notifier.render import one_line
from leadsman_notifier.sink import Unavailable

FORMATS = ("line", "json", "off")


@dataclass(frozen=True)
class Config:
    """Settings of the sink."""

    stdout_format: str = setting("line, json or off: how alerts are printed", "line")
    stdout_min_level: str = setting("lowest level that is printed", "informational")

    def open(self) -> Stdout | None:
        """The sink, or None where it is off."""
        if self.stdout_format not in FORMATS:
            raise SettingError(f"LEADSMAN_STDOUT_FORMAT={self.stdout_format!r} is none of {', '.join(FORMATS)}")
        check_level("stdout_min_level", self.stdout_min_level)
        return None if self.stdout_format == "off" else Stdout(self)


def render(alert: Alert, form: str) -> str:
    """The line, without its end. JSON is ASCII, so nothing in it can act on a terminal."""
    return one_line(alert) if form == "line" else json.dumps(to_json(alert), separators=(",", ":"))


class Stdout:
    """Prints alerts."""

    def __init__(self, config: Config) -> None:
        self.min_level = config.stdout_min_level
        self._format = config.stdout_format

    def send(self, alert: Alert) -> None:
        """Print and flush; a pipe that nobody reads is Unavailable."""
        line = render(alert, self._format) + "\n"
        try:
            sys.stdout.buffer.write(line.encode())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise Unavailable(f"{type(error).__name__}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing to let go of."""
