"""Channel `file`: lines appended to a file, JSON or readable. A file that was moved away (logrotate) is made anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from leadsman_common.settings import SettingError
from leadsman_notifier.channel import ChannelConfig, Unavailable, about
from leadsman_notifier.channels.stdout import render
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.story import Story


class Config(ChannelConfig, frozen=True, kw_only=True, tag="file"):
    """A file."""

    limit_per_minute: Annotated[int, about("messages in any minute; 0: no limit")] = 0
    path: Annotated[str, about("the file")]
    format: Annotated[Literal["line", "json"], about("line or json")] = "json"

    @property
    def keyed(self) -> bool:
        """A log: many at a time."""
        return False

    def open(self, net: Net) -> File:  # noqa: ARG002 - it connects to nothing
        """The channel."""
        path = Path(self.path)
        if not path.parent.is_dir() or path.is_dir():
            raise SettingError(f"path {self.path!r} is no file in a folder that exists")
        return File(path, self.format)


class File:
    """Appends messages, whole lines at once; a line that was cut by a full disk is ended first."""

    def __init__(self, path: Path, form: str) -> None:
        self._path = path
        self._format = form

    def send(self, message: Message, story: Story) -> None:
        """Append and hand over to the disk."""
        line = (render(message, story, self._format) + "\n").encode()
        try:
            at = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                end = os.lseek(at, 0, os.SEEK_END)
                if end and os.pread(at, 1, end - 1) != b"\n":
                    line = b"\n" + line
                if os.write(at, line) != len(line):
                    raise Unavailable("the disk is full")
                os.fdatasync(at)
            finally:
                os.close(at)
        except OSError as error:
            raise Unavailable(f"{type(error).__name__}: {error.strerror}") from error

    def close(self) -> None:
        """Nothing to let go of."""
