"""What became of each alert of one channel, for the ledger: delivered, suppressed or undelivered (DESIGN 7).

Messages settle their alerts in any order, and the ledger is written in the order of offsets: an outcome waits here
until the offset behind it is committed. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from leadsman_common.kafka import Outgoing
from leadsman_common.ledger import Ledger
from leadsman_notifier.outbox import Place


class Accounts:
    """The outcomes of one channel; `topic` is the full name of the alerts' topic."""

    def __init__(self, ledger: Ledger, topic: str) -> None:
        self._ledger = ledger
        self._topic = topic
        self._outcomes: defaultdict[int, dict[int, str]] = defaultdict(dict)

    def note(self, places: Iterable[Place], outcome: str) -> None:
        """What became of these records; what is said later holds."""
        for place in places:
            self._outcomes[place.partition][place.offset] = outcome

    def pages(self, commits: Mapping[int, int]) -> list[Outgoing]:
        """The ledger's pages that must be safe before these offsets, by partition, are committed."""
        for partition, end in commits.items():
            outcomes = self._outcomes[partition]
            for offset in sorted(offset for offset in outcomes if offset < end):
                self._ledger.note(self._topic, partition, offset, outcomes.pop(offset))
        return self._ledger.pages()

    def forget(self, partition: int) -> None:
        """Another worker has that partition now, and says what becomes of what waited."""
        self._outcomes.pop(partition, None)
