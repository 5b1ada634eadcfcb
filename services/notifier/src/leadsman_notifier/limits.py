"""How many messages a channel gets in any minute: a window of the last ones, kept over restarts by the stream."""

from __future__ import annotations

from collections import deque

MINUTE_S = 60.0


class Limit:
    """At most `per_minute` messages in any 60 seconds; 0 is no limit. Times are Unix seconds.

    A quarter is kept for digests, which then come evenly: an attack that floods a channel with single messages
    does not delay the news of what follows by a minute.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._sent: deque[float] = deque()

    def share(self, owned: int, partitions: int, whole: int) -> None:
        """Take this worker's part of `whole`, by the partitions it owns: the others have the rest."""
        if whole:
            self.per_minute = max(1, whole * owned // max(1, partitions))

    @property
    def singles(self) -> int:
        """How many of a minute's messages may tell of one alert each."""
        return self.per_minute - self._kept

    @property
    def _kept(self) -> int:
        return max(1, self.per_minute // 4) if self.per_minute > 1 else 0

    def note(self, now_s: float) -> None:
        """A message was sent."""
        self._sent.append(now_s)

    def used(self, now_s: float) -> int:
        """How many were sent in the last minute."""
        while self._sent and self._sent[0] <= now_s - MINUTE_S:
            self._sent.popleft()
        return len(self._sent)

    def single_at(self, now_s: float) -> float:
        """When a message of one alert may be sent."""
        return self._free_at(now_s, self.singles)

    def digest_at(self, now_s: float) -> float:
        """When a digest may be sent: a slot is free, and the minute's digests are spread over it."""
        if not self.per_minute:
            return now_s
        return self._free_at(now_s, self.per_minute)

    @property
    def spacing_s(self) -> float:
        """The time between two digests of a storm."""
        return MINUTE_S / max(1, self._kept) if self.per_minute else MINUTE_S / 4

    def _free_at(self, now_s: float, slots: int) -> float:
        used = self.used(now_s)
        if not self.per_minute or used < slots:
            return now_s
        if slots <= 0:
            return now_s + MINUTE_S
        return self._sent[used - slots] + MINUTE_S
