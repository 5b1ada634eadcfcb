"""Where a partition is read again from, when the state says that it has not seen what comes before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from leadsman_common.kafka import BadRecordCap
from leadsman_common.ledger import Ledger
from leadsman_detector.handler import BatchHandler
from leadsman_detector.state_redis import StateGap
from leadsman_detector.state_topic import Topics


class Gapped:
    """A guard of a state that ends at an offset."""

    good = True
    state = None

    def __init__(self, stored):
        self._stored = stored

    async def check(self, _spans):
        raise StateGap(3, self._stored)


@pytest.mark.parametrize(
    ("stored", "earliest", "committed", "again"),
    {
        "from where the state ends": (939, 0, 1_000, 939),
        # a rebuild put all that the topic held: the state has it, and nobody has judged it
        "not from behind what is committed": (19_438, 0, 939, 939),
        "from the first record that is left": (939, 5_000, 5_000, 5_000),
    }.values(),
    ids=str,
)
def test_where_it_begins_again(stored, earliest, committed, again):
    handler = BatchHandler(
        SimpleNamespace(rules=SimpleNamespace(digest="")),
        Gapped(stored),
        SimpleNamespace(send=lambda _: None),
        Topics("audit.events", "alerts", "state", "alerts.shadow"),
        SimpleNamespace(),
        BadRecordCap(0),
        bounds=lambda _partition: (earliest, committed),
        reader=SimpleNamespace(all_handled=lambda _now: False),
        ledger=Ledger("detector"),
        name="worker",
    )
    assert asyncio.run(handler.tick()) == {3: again}
