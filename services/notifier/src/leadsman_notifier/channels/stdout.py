"""Channel `stdout`: one readable line or one JSON object for each message."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Literal

from leadsman_notifier.channel import ChannelConfig, Unavailable, about
from leadsman_notifier.channels.webhook import to_body
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.story import Story


class Config(ChannelConfig, frozen=True, kw_only=True, tag="stdout"):
    """The notifier's standard output."""

    limit_per_minute: Annotated[int, about("messages in any minute; 0: no limit")] = 0
    format: Annotated[Literal["line", "json"], about("line or json")] = "line"

    @property
    def keyed(self) -> bool:
        """A log: lines by the thousand, and a few of them again after a crash."""
        return False

    def open(self, net: Net) -> Stdout:  # noqa: ARG002 - it connects to nothing
        """The channel."""
        return Stdout(self.format)


def render(message: Message, story: Story, form: str) -> str:
    """The line, without its end. JSON is ASCII, so nothing in it can act on a terminal."""
    return story.line if form == "line" else json.dumps(to_body(message), separators=(",", ":"))


class Stdout:
    """Prints messages."""

    def __init__(self, form: str) -> None:
        self._format = form

    def send(self, message: Message, story: Story) -> None:
        """Print and flush; a pipe that nobody reads is Unavailable."""
        line = render(message, story, self._format) + "\n"
        try:
            sys.stdout.buffer.write(line.encode())
            sys.stdout.buffer.flush()
        except OSError as error:
            raise Unavailable(f"{type(error).__name__}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing to let go of."""
