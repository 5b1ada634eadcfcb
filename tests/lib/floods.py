"""What hostile and broken clients send to an endpoint that takes requests: endless, huge, packed and slow bodies.

    Flood(port, head).run(good) -> Outcome

`head` is a request line and the headers of a request that would be taken, credentials and all; `good()` posts one that
is taken and gives its status. Used against every service that listens.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
SLOW = 200


@dataclass(frozen=True)
class Outcome:
    """What came of it. Statuses: of the floods, of the slow connections, of the good requests; growth in bytes."""

    floods: list[int]
    slow: list[int]
    good: list[int]
    grown: int


def endless_chunks() -> Iterator[bytes]:
    """The chunks of an endless body."""
    piece = b" " * 65536
    while True:
        yield b"10000\r\n" + piece + b"\r\n"


def bomb(size: int) -> bytes:
    """Gzip of that many spaces."""
    pack = zlib.compressobj(9, wbits=31)
    piece = b" " * MIB
    return b"".join(pack.compress(piece) for _ in range(size // MIB)) + pack.flush()


def sized(head: bytes, body: bytes, length: int | None = None, extra: bytes = b"") -> bytes:
    """A request with a Content-Length, its own or another."""
    return head + extra + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def status_of(connection: socket.socket) -> int:
    """The status line's number; 0 where there was none."""
    data = b""
    with contextlib.suppress(ConnectionResetError, TimeoutError):
        while b"\r\n" not in data and (more := connection.recv(65536)):
            data += more
    return int(data.split()[1]) if data.startswith(b"HTTP/1.") else 0


def resident(pid: int) -> int:
    """The memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024


class Flood:
    """SEC-1 and SEC-2 against one endpoint: bodies of 100 MB, endless ones, bombs, depth, and 200 slow connections."""

    def __init__(self, port: int, pid: int, head: bytes) -> None:
        self._port, self._pid, self._head = port, pid, head
        self._statuses: list[int] = []

    def run(self, good: Callable[[], int], seconds: float = 6.0) -> Outcome:
        """All of it at once for a while, and good requests meanwhile."""
        for _ in range(20):
            good()
        before = resident(self._pid)
        slow = [self._hold(at) for at in range(SLOW)]
        floods = [threading.Thread(target=self._send, args=(parts,)) for parts in self._bodies() for _ in range(2)]
        for thread in floods:
            thread.start()
        answers, peak = [], 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answers.append(good())
            peak = max(peak, resident(self._pid))
            time.sleep(0.02)
        for thread in floods:
            thread.join()
        held = []
        for connection in slow:
            held.append(status_of(connection))
            connection.close()
        return Outcome(self._statuses, held, answers, peak - before)

    def _bodies(self) -> list[list[bytes]]:
        chunks = endless_chunks()
        gzipped = b"Content-Encoding: gzip\r\n"
        return [
            [self._head + b"Transfer-Encoding: chunked\r\n\r\n", *(next(chunks) for _ in range(1600))],
            [sized(self._head, b"", 100_000_000), *[b" " * MIB] * 95],
            [sized(self._head, bomb(512 * MIB), extra=gzipped)],  # half a megabyte
            [sized(self._head, b"[" * 8_000_000)],
        ]

    def _hold(self, at: int) -> socket.socket:
        """A connection whose headers, or whose body, never come to an end."""
        connection = self._connect()
        connection.sendall(self._head if at % 2 else sized(self._head, b"[" + b" " * 50_000, 100_000))
        return connection

    def _send(self, parts: list[bytes]) -> None:
        with self._connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    connection.sendall(part)
            self._statuses.append(status_of(connection))

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=30)
