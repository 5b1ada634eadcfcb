"""A storm asks more of the state in one batch than a slow Redis answers in time: it is judged in parts then."""

import asyncio
import io
import json
import uuid
from types import SimpleNamespace

import pytest
from last_word import last_of

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_common.avro import audit_event_codec
from leadsman_common.clusters import NO_CLUSTERS
from leadsman_common.kafka import BadRecordCap
from leadsman_common.ledger import Ledger
from leadsman_detector.detect import Detector
from leadsman_detector.guard import Guard
from leadsman_detector.handler import BatchHandler
from leadsman_detector.runner import Record
from leadsman_detector.state import MemoryState
from leadsman_detector.state_redis import RedisState, connect
from leadsman_detector.state_topic import Topics
from leadsman_normalizer.normalize import normalize

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
    """Records of audit.events: nobody in particular reads secrets over and over."""
    for n in range(REQUESTS):
        at = f"2026-11-02T09:{n // 60:02}:{n % 60:02}.000000Z"
        request = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": str(uuid.UUID(int=n + 1)),
            "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/shop/secrets",
            "verb": "list",
            "user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
            "sourceIPs": ["203.0.113.77"],
            "userAgent": "curl/8.9.1",
            "objectRef": {"resource": "secrets", "namespace": "shop", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 200},
            "requestReceivedTimestamp": at,
            "stageTimestamp": at,
        }
        log = io.BytesIO(json.dumps(request).encode())
        for raw in read("storm", log, "auto", Identity(cluster="storm"), lambda _size: None):
            value = audit_event_codec().encode(normalize(raw, NO_CLUSTERS))
            yield Record("audit.events", n // 60, n % 60, None, value, (), 0)


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
