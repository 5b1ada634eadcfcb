"""`leadsman posture` of what the detector left in Redis, and what is left of it when Redis has lost everything."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from leadsman_cli.__main__ import main
from leadsman_cli.readers import Identity, read
from leadsman_common.avro import audit_event_codec
from leadsman_common.kafka import AckedProducer
from leadsman_common.settings import load as load_settings
from leadsman_common.topic_reader import TopicReader
from leadsman_detector.config import Settings
from leadsman_detector.match import load
from leadsman_detector.renew import AFTER_MS, renew
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.runner import Record
from leadsman_detector.stream import make_handler, source_of
from leadsman_normalizer.normalize import normalize

pytestmark = pytest.mark.integration

LIFE = Path(__file__).parents[1] / "rules" / "records" / "posture-life-eks.json"
DAY_MS = 86_400_000
NOT_SECURE_US = 1_780_358_399_000_000  # the end of 2026-06-01


@pytest.fixture
def life():
    """The events of an EKS cluster's life until its endpoint is open, as they stand on audit.events."""
    with LIFE.open("rb") as stream:
        found = [normalize(raw) for raw in read("life", stream, "auto", Identity(), lambda _size: None)]
    return [audit_event_codec().encode(event) for event in found if event["time"] <= NOT_SECURE_US]


@pytest.fixture
def settings(bootstrap, redis_url, topic_prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_REDIS_URL", redis_url)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("LEADSMAN_DATA_DIR", str(tmp_path))
    return load_settings(Settings)


class Worker:
    """A detector's handler on a loop of its own, with the rules of posture alone."""

    def __init__(self, settings, tmp_path):
        folder = tmp_path / "rules"
        folder.mkdir()
        for rule in (default_rules_dir() / "cloud").glob("posture-regression-*.yml"):
            (folder / rule.name).write_text(rule.read_text())
        self.loop = asyncio.Runner()
        producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)
        self.handler = make_handler(settings, load([folder]), producer)

    def handles(self, records):
        self.loop.run(self._handled(records))

    async def _handled(self, records):
        """A batch until it is handled; the state of a new or an emptied Redis is rebuilt meanwhile."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            await self.handler.tick()
            if await self.handler(records):
                return
            await asyncio.sleep(0.1)
        raise TimeoutError("the state is not whole")


@pytest.fixture
def worker(settings, tmp_path):
    it = Worker(settings, tmp_path)
    yield it
    it.loop.close()


def written(settings, topic, values, at=0):
    """Produce values to partition 0, which ends at `at`; give them as records."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
    now_ms = time.time_ns() // 1_000_000
    return [Record(topic, 0, n, None, value, (), now_ms) for n, value in enumerate(values, at)]


def on(settings, topic):
    """What a topic holds: (key, value, time) of each record."""
    return [(m.key(), m.value(), m.timestamp()[1]) for m in TopicReader(settings.kafka_bootstrap).read(topic)]


def posture(capsys):
    capsys.readouterr()  # what was logged until now
    assert main(["posture", "harbour", "--all", "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_was_said_is_there_after_redis_lost_it_and_the_events_are_gone(settings, worker, topics, life, capsys):
    worker.handles(written(settings, topics["audit.events"], life))
    before = posture(capsys)
    assert "logging/audit" in json.dumps(before)
    assert "posture-regression-endpoint" in json.dumps(before)

    # the last day of events does not bring it back: they are older than what Kafka keeps of them
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    end = TopicPartition(topics["audit.events"], 0, len(life))
    for done in admin.delete_records([end]).values():
        done.result(20)
    # and what was said stood on the topic `state` for 40 days
    kept = on(settings, topics["state"])
    old_ms = time.time_ns() // 1_000_000 - AFTER_MS - 10 * DAY_MS
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    for key, value, _ in kept:
        producer.produce(topics["state"], value, key=key, timestamp=old_ms)
    assert producer.flush(30) == 0
    count = renew(source_of(settings), topics["state"], time.time_ns() // 1_000_000)
    latest = {key: time_ms for key, _, time_ms in on(settings, topics["state"])}
    assert 0 < count == sum(time_ms > old_ms for time_ms in latest.values())
    assert renew(source_of(settings), topics["state"], time.time_ns() // 1_000_000) == 0

    redis.Redis.from_url(settings.redis_url).flushall()
    worker.handles(written(settings, topics["audit.events"], life[-1:], at=len(life)))
    assert posture(capsys) == before
