"""A log file that grows and is rotated, read line by line from where it was left. What `leadsman tail-file` reads with.

A file is known again by a hash of its beginning, so that it may have been renamed, copied or packed meanwhile. Rotation
as kube-apiserver does it (audit.log to audit-TIME.log, perhaps .gz), as logrotate does it (audit.log.1), or by copying
and truncating. A line counts once it is ended; the last one of a file that will not grow any more counts as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

_HEAD_BYTES = 1024
_DONE = 64
_PIECE_BYTES = 1024 * 1024
# longer than any event: an API server takes requests of 3 MiB
MAX_LINE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file: `offset` bytes (unpacked) from its beginning, which is known by `head`.

    `head` is the SHA-256 of the first `head_bytes` bytes; `changed_ns` is when the file was last written.
    """

    head: str
    head_bytes: int
    offset: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, and where the file is read on from once they are safe."""

    lines: bytes
    position: Position


@dataclass(slots=True)
class _Open:
    stream: BinaryIO
    device_inode: tuple[int, int]
    packed: bool


class Follower:
    """Reads `path` and what it was rotated to, from `position` on; without one from the oldest file there is.

    `say` is told what a person should know: lines that are lost, a file that was cut.
    """

    def __init__(self, path: Path, position: Position | None, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._file: _Open | None = None
        self._head, self._head_bytes = "", 0
        self._offset = 0
        self._changed_ns = 0
        self._size = 0
        self._done: deque[tuple[str, int]] = deque(maxlen=_DONE)  # heads of the files that were read to their end
        if position is None or not position.head_bytes:
            self._open_next()
        else:
            self._find(position)

    def skip_to_end(self) -> None:
        """Forget what is there already."""
        while self.read() is not None:
            pass

    def read(self, max_bytes: int = _PIECE_BYTES) -> Piece | None:
        """The next lines, about `max_bytes` of them; None where nothing new is there."""
        while True:
            file = self._file or self._open_next()
            if file is None:
                return None
            self._look_for_a_cut(file)
            gone = self._is_over(file)  # asked first: what is written before a rotation is read after this
            data = _lines(file.stream, max_bytes, ended=gone)
            if data:
                self._offset += len(data)
                self._learn_head(file)
                return Piece(data, Position(self._head, self._head_bytes, self._offset, self._changed_ns))
            if not gone:
                return None
            file.stream.close()
            self._file = None
            if self._head_bytes:
                self._done.append((self._head, self._head_bytes))

    # --- files -------------------------------------------------------------------------------------------------

    def _history(self) -> list[Path]:
        """The file and those it was rotated to, the oldest first."""
        stem, suffix = self._path.stem, self._path.suffix
        found: dict[Path, int] = {}
        for pattern in (f"{stem}-*{suffix}", f"{stem}-*{suffix}.gz", f"{self._path.name}.*"):
            for one in self._path.parent.glob(pattern):
                with _absent():
                    found[one] = one.stat().st_mtime_ns
        with _absent():
            found[self._path] = max(self._path.stat().st_mtime_ns, *(found.values() or [0]), 0)
        live = self._path
        return sorted(found, key=lambda one: (one == live, found[one], one.name))

    def _find(self, position: Position) -> None:
        """Open the file that the position is in, under whatever name."""
        for path in reversed(self._history()):
            with _absent():
                file = _open(path)
                if _head(file.stream, position.head_bytes) == position.head:
                    file.stream.seek(position.offset)
                    self._take(file, position.offset)
                    return
                file.stream.close()
        self._changed_ns = position.changed_ns
        self._say("the file that was read last is gone: what it held after that is lost, if there was anything")
        self._open_next()

    def _open_next(self) -> _Open | None:
        """Open the oldest file that was written after the one before."""
        for path in self._history():
            with _absent():
                found = path.stat()
                if found.st_mtime_ns < self._changed_ns or (not found.st_size and path != self._path):
                    continue
                file = _open(path)
                if any(_head(file.stream, size) == head for head, size in self._done):  # renamed or packed
                    file.stream.close()
                    continue
                file.stream.seek(0)
                self._take(file, 0)
                return file
        return None

    def _take(self, file: _Open, offset: int) -> None:
        self._file, self._offset = file, offset
        self._head, self._head_bytes = "", 0
        self._learn_head(file)

    def _is_over(self, file: _Open) -> bool:
        """Whether the file is another than the one at the path by now, so that it will not grow."""
        if file.packed:
            return True
        try:
            return _identity(self._path.stat()) != file.device_inode
        except FileNotFoundError:  # between the two steps of a rotation
            return False

    def _look_for_a_cut(self, file: _Open) -> None:
        """A file that is shorter than what was read of it was emptied: it begins again."""
        if file.packed:
            return
        found = os.fstat(file.stream.fileno())
        if (found.st_size, found.st_mtime_ns) == (self._size, self._changed_ns):
            return
        self._size = found.st_size
        here = file.stream.tell()
        same = found.st_size >= self._offset and (
            not self._head_bytes or _head(file.stream, self._head_bytes) == self._head
        )
        file.stream.seek(here)
        if not same:
            self._say("the file was cut: reading it from its beginning")
            file.stream.seek(0)
            self._offset, self._head, self._head_bytes = 0, "", 0

    def _learn_head(self, file: _Open) -> None:
        """Know the file by as much of its beginning as was read, up to a bound."""
        self._changed_ns = os.fstat(file.stream.fileno()).st_mtime_ns
        wanted = min(self._offset, _HEAD_BYTES)
        if wanted > self._head_bytes:
            here = file.stream.tell()
            self._head, self._head_bytes = _head(file.stream, wanted), wanted
            file.stream.seek(here)


def _lines(stream: BinaryIO, max_bytes: int, *, ended: bool) -> bytes:
    """Whole lines from here on; the stream stands behind them afterwards."""
    here = stream.tell()
    data = b""
    while True:
        more = stream.read(max_bytes)
        data += more
        end = data.rfind(b"\n") + 1
        if end or not more or len(data) >= MAX_LINE_BYTES:
            break
    if not end and (len(data) >= MAX_LINE_BYTES or (ended and not more)):
        end = len(data)
    stream.seek(here + end)
    return data[:end]


class _absent:  # noqa: N801 - reads as what it is
    """What is renamed or removed meanwhile is passed over."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, (FileNotFoundError, gzip.BadGzipFile, EOFError))


def _open(path: Path) -> _Open:
    stream = path.open("rb")
    identity = _identity(os.fstat(stream.fileno()))
    packed = path.suffix == ".gz"
    return _Open(cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if packed else stream, identity, packed)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)


def _head(stream: BinaryIO, size: int) -> str:
    stream.seek(0)
    data = stream.read(size)
    return hashlib.sha256(data).hexdigest() if len(data) == size else ""
