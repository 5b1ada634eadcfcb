"""A storm asks more of the state in one batch than a slow Redis answers in time: it is judged in parts then."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from last_word import last_of
from normalized import event_of
from storm import anonymous_reads

from leadsman_cli.rules import load_rules
from leadsman_common.avro import audit_event_codec
from leadsman_common.kafka import BadRecordCap
from leadsman_common.ledger import Ledger
from leadsman_detector.detect import Detector
from leadsman_detector.guard import Guard
from leadsman_detector.handler import BatchHandler
from leadsman_detector.runner import Record
from leadsman_detector.state import MemoryState
from leadsman_detector.state_redis import RedisState, connect
from leadsman_detector.state_topic import Topics

pytestmark = pytest.mark.integration

REQUESTS = 90  # few enough that all are told
BORNE = 300  # requests to the state in one exchange; the storm needs some thousand


class Slow(RedisState):
    """A Redis that answers in time only where it is asked little."""

    most = 0

    async def guarded(self, requests, spans):
        self.most = max(self.most, len(requests))
        if len(requests) > BORNE:
            raise TimeoutError("asked too much")
        return await super().guarded(requests, spans)


def storm():
    """Its records of audit.events, of two partitions."""
    began = datetime(2026, 11, 2, 9, tzinfo=UTC)
    for n, raw in enumerate(anonymous_reads(began + timedelta(seconds=n) for n in range(REQUESTS))):
        yield Record("audit.events", n // 60, n % 60, None, audit_event_codec().encode(event_of(raw)), (), 0)


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def test_what_is_too_much_at_once_is_judged_in_parts(rules, redis_url):
    told, records = [], list(storm())
    wire = SimpleNamespace(encode=lambda alert: told.append(alert) or b"")

    async def run():
        state = Slow(connect(redis_url), f"{uuid.uuid4().hex}:")
        marked = await state.mark("new")
        assert await state.finish(marked, 1, {})
        handler = BatchHandler(
            Detector(rules),
            Guard(state, lambda: None, wait_s=0),
            SimpleNamespace(send=list),
            Topics("audit.events", "alerts", "state", "alerts.shadow"),
            wire,
            BadRecordCap(0),
            bounds=lambda _partition: (0, 0),
            reader=SimpleNamespace(all_handled=lambda _now: False),
            ledger=Ledger("detector"),
            name="worker",
        )
        tries = 1
        while not await handler(records):
            assert await handler.tick() == {0: 0, 1: 0}, "all that a runner holds back is to be read again"
            tries += 1
        assert await handler.tick() == {}
        await state.close()
        return tries, state.most

    tries, most = asyncio.run(run())
    assert most > BORNE
    assert 1 < tries < 10
    state, detector = MemoryState(), Detector(rules)
    expected = state.settle(detector.evaluate(detector.plan(records)))
    assert last_of(told) == last_of(expected)
    assert len(expected) > 1
