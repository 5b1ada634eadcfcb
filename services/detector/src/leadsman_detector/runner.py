"""The port between Kafka and the detector: a runner reads audit.events and hands batches to a handler.

Two runners keep it, Faust's and a plain consumer loop; the same tests drive both. Typing only.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias


class Record(NamedTuple):
    """One Kafka record of audit.events."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int


# Returns only when everything that came of the batch is acknowledged by Kafka and kept in the state. False: not all of
# it is, so nothing of its partitions from it on is committed, and a Tick will ask for it again.
# What it raises ends the process with the batch's offsets uncommitted, so that the records come again.
Handler: TypeAlias = Callable[[list[Record]], Coroutine[Any, Any, bool]]

# Asked every TICK_S, also while nothing comes; gives the offset from which partitions are to be read again.
Tick: TypeAlias = Callable[[], Coroutine[Any, Any, Mapping[int, int]]]
TICK_S = 0.5


async def no_tick() -> Mapping[int, int]:
    """Nothing is to be read again."""
    return {}


# Returns when what must be safe before the offsets of handled batches are committed is. What it raises ends the process
# with these offsets uncommitted.
BeforeCommit: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


async def nothing_before() -> None:
    """What came of a batch is safe when its handler returns."""


EXIT_BROKEN = 70  # EX_SOFTWARE: what a handler's exception or a stall ends the process with


@dataclass(frozen=True, slots=True)
class Source:
    """What a runner reads, and how."""

    bootstrap: str
    topic: str
    group: str
    data_dir: str
    kafka_options: dict[str, str] = field(default_factory=dict)
    batch: int = 500  # records a batch, at most
    fetch_wait_ms: int = 50  # how long a fetch waits to fill up
    session_timeout_s: float = 8.0
    stall_s: float = 30.0  # records wait and none is handled: log, leadsman_stalled
    stall_exit_s: float = 120.0  # and then: leave the process


class Runner(Protocol):
    """Reads the topic until SIGTERM or SIGINT."""

    def run(self, handler: Handler, tick: Tick = no_tick, before_commit: BeforeCommit = nothing_before) -> None:
        """Hand every record over at least once, in the order of its partition.

        Partitions that `tick` names are read again from there, if they are this runner's. `before_commit` is awaited
        before each commit.

        Returns after a signal, the batch in hand handled and committed. Raises, or leaves the process with
        EXIT_BROKEN, when the handler raises, Kafka stays unreachable, or nothing moves though records wait.
        """
        ...

    def ready(self) -> bool:
        """Whether it has joined its group, with partitions or without any; asked from another thread."""
        ...

    def waiting(self) -> bool:
        """Whether records wait to be handled, or nobody can tell; asked from another thread."""
        ...
