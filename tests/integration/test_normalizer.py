"""The normalizer on a real Kafka: events out, bad records dead-lettered; kill -9, rebalance and SIGTERM lose none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from groups import at_work

from leadsman_common.avro import audit_event_codec
from leadsman_common.raw import RawEvent
from leadsman_common.topic_reader import TopicReader
from leadsman_normalizer.key import partition_key
from leadsman_normalizer.normalize import normalize

pytestmark = pytest.mark.integration

RECORDS = Path(__file__).parents[1] / "fixtures" / "records"
COUNT = 2_000
WAIT_S = 90
# these are none: what makes them bad is the reason in their dead letter
BAD = {
    b"not json": "malformed JSON",
    b"\xff\xfe\x00": "malformed JSON",
    b"[]": "not a JSON object",
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","ver': "truncated before",
}


def raws() -> list[RawEvent]:
    """2,000 records of three clouds, each with an id of its own; every fiftieth is bad, every tenth is not ours."""
    slugs = sorted(path.name for path in RECORDS.iterdir())
    clouds = {"native": ("k8s-audit", "k8s"), "eks": ("eks-audit", "aws"), "gke": ("gke-logentry", "gcp")}
    made = []
    for n in range(COUNT):
        slug, cloud = slugs[n % len(slugs)], list(clouds)[n // len(slugs) % 3]
        source_format, provider = clouds[cloud]
        record = json.loads((RECORDS / slug / f"{cloud}.json").read_bytes())
        if cloud == "gke":
            record["operation"]["id"] = f"op-{n}"
        else:
            record["auditID"] = f"audit-{n}"
            record["stage"] = "RequestReceived" if n % 10 == 3 else record["stage"]
        value = json.dumps(record).encode()
        if n % 50 == 7:
            value, source_format = list(BAD)[n // 50 % len(BAD)], "k8s-audit"
        made.append(RawEvent(value, source_format, "harbour", "1", "r", provider, source_id=f"s{n}", received_ms=n + 1))
    return made


def topic_of(raw: RawEvent) -> str:
    return {"aws": "raw.aws", "gcp": "raw.gcp"}.get(raw.provider, "raw.k8s")


def put(bootstrap, topics, made):
    """Put records on their raw topics."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for raw in made:
        producer.produce(topics[topic_of(raw)], raw.value, raw.key(), headers=raw.headers())
    assert producer.flush(30) == 0


@pytest.fixture
def produced(topics, bootstrap):
    """Put all records on their raw topics; give them."""
    made = raws()
    put(bootstrap, topics, made)
    return made


class Normalizer:
    """A normalizer as it runs in production."""

    def __init__(self, bootstrap, prefix, folder, **more):
        self.log = (folder / f"{time.monotonic_ns()}.log").open("w+")
        env = {
            **os.environ,
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_TOPIC_PREFIX": prefix,
            "LEADSMAN_NORMALIZER_BATCH": "50",
            **more,
        }
        command = [sys.executable, "-m", "leadsman_normalizer"]
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=subprocess.STDOUT)

    def said(self):
        self.log.seek(0)
        return self.log.read()


@pytest.fixture
def start(bootstrap, topic_prefix, tmp_path):
    """Give a starter; what is still running at the end is killed."""
    running = []

    def starter(**more):
        running.append(Normalizer(bootstrap, topic_prefix, tmp_path, **more))
        return running[-1]

    yield starter
    for normalizer in running:
        normalizer.process.kill()
        normalizer.process.wait(10)
        normalizer.log.close()


class Reader:
    """Everything on some topics, from the beginning."""

    def __init__(self, bootstrap, *topics):
        self.messages = []
        self.client = Consumer({"bootstrap.servers": bootstrap, "group.id": f"r{time.monotonic_ns()}"})
        found = self.client.list_topics(timeout=10).topics
        self.client.assign([TopicPartition(t, p, 0) for t in topics for p in found[t].partitions])

    def read(self, until):
        deadline = time.monotonic() + WAIT_S
        while not until(self.messages) and time.monotonic() < deadline:
            got = self.client.consume(1000, timeout=0.2)
            assert all(m.error() is None for m in got)
            self.messages += got
        return until(self.messages)


def wanted_of(made):
    """The ids of the events that must come, and how many records are bad."""
    ids, bad = set(), 0
    for raw in made:
        if raw.value in BAD:
            bad += 1
        elif isinstance(event := normalize(raw), dict):
            ids.add(event["id"])
    return ids, bad


def ids_of(messages):
    return {audit_event_codec().decode(m.value())["id"] for m in messages}


def lag(bootstrap, topics, prefix):
    """Records on the raw topics that the group has not committed."""
    reader, group = TopicReader(bootstrap), f"{prefix}leadsman-normalizer"
    raw = [t for t in topics.values() if ".dlq" not in t and "raw." in t]
    done = sum(max(offset, 0) for topic in raw for offset in reader.committed(group, topic).values())
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "lag"})
    found = client.list_topics(timeout=10).topics
    ends = sum(client.get_watermark_offsets(TopicPartition(t, p))[1] for t in raw for p in found[t].partitions)
    client.close()
    return ends - done


def until_committed(bootstrap, topics, prefix):
    """Wait for the last records too, of which no event comes."""
    deadline = time.monotonic() + WAIT_S
    while left := lag(bootstrap, topics, prefix):
        assert time.monotonic() < deadline, f"{left} records are not committed"
        time.sleep(0.2)


def test_events_come_out_and_bad_records_are_dead_lettered(start, bootstrap, topics, topic_prefix, produced):
    wanted, bad = wanted_of(produced)
    assert len(wanted) > COUNT * 0.8
    assert bad == COUNT // 50
    normalizer = start()
    events = Reader(bootstrap, topics["audit.events"])
    assert events.read(lambda got: len(got) >= len(wanted)), normalizer.said()
    assert ids_of(events.messages) == wanted
    for message in events.messages[:200]:
        event = audit_event_codec().decode(message.value())
        assert message.key() == partition_key(event)
        assert event["source"]["topic"].startswith(f"{topic_prefix}raw.")
    letters = Reader(bootstrap, *(topics[f"raw.{cloud}.dlq"] for cloud in ("aws", "gcp", "k8s")))
    assert letters.read(lambda got: len(got) >= bad)
    assert len(letters.messages) == bad
    originals = {raw.source_id: raw for raw in produced}
    for message in letters.messages:
        headers = {name: value.decode() for name, value in message.headers()}
        raw = originals[headers["source-id"]]
        assert message.value() == raw.value
        assert message.key() == raw.key()
        assert BAD[raw.value] in headers["dlq-reason"]
        assert headers["dlq-stage"] == "normalize"
        assert headers["dlq-topic"] == topics[topic_of(raw)]
        assert {"dlq-partition", "dlq-offset", "dlq-version"} <= headers.keys()
    until_committed(bootstrap, topics, topic_prefix)
    normalizer.process.send_signal(signal.SIGTERM)
    assert normalizer.process.wait(60) == 0, normalizer.said()
    assert lag(bootstrap, topics, topic_prefix) == 0
    assert "stopped" in normalizer.said()


def test_kill_9_in_the_middle_loses_nothing(start, bootstrap, topics, topic_prefix, produced):
    wanted, bad = wanted_of(produced)
    events = Reader(bootstrap, topics["audit.events"])
    for _ in range(3):
        normalizer = start()
        before = len(events.messages)

        def some(got, before=before):  # or all: the worker before it may have left less than that
            return len(got) > before + 100 or ids_of(got) >= wanted

        assert events.read(some), normalizer.said()
        normalizer.process.kill()
        normalizer.process.wait(10)
        if ids_of(events.messages) == wanted:
            break
    normalizer = start()
    assert events.read(lambda got: ids_of(got) >= wanted), normalizer.said()
    assert ids_of(events.messages) == wanted
    letters = Reader(bootstrap, *(topics[f"raw.{cloud}.dlq"] for cloud in ("aws", "gcp", "k8s")))
    assert letters.read(lambda got: len({dict(m.headers())["source-id"] for m in got}) >= bad)
    until_committed(bootstrap, topics, topic_prefix)


def test_a_rebalance_in_the_middle_loses_nothing(start, bootstrap, topics, topic_prefix):
    """A second worker joins while the first one works, and takes over all when that leaves."""
    made = raws()
    wanted, _ = wanted_of(made)
    group = f"{topic_prefix}leadsman-normalizer"
    put(bootstrap, topics, made[:1000])
    events = Reader(bootstrap, topics["audit.events"])
    first = start()
    assert events.read(lambda got: len(got) > 100), first.said()
    second = start()
    put(bootstrap, topics, made[1000:1500])
    deadline = time.monotonic() + WAIT_S
    while at_work(bootstrap, group) < 2:
        assert time.monotonic() < deadline, second.said()
        time.sleep(0.1)
    put(bootstrap, topics, made[1500:])
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(60) == 0, first.said()
    assert events.read(lambda got: ids_of(got) >= wanted), second.said()
    assert ids_of(events.messages) == wanted
    until_committed(bootstrap, topics, topic_prefix)
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(60) == 0, second.said()
    assert lag(bootstrap, topics, topic_prefix) == 0


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_a_flood_of_bad_records_stops_the_service(start, bootstrap, topics, topic_prefix):
    producer = Producer({"bootstrap.servers": bootstrap})
    for n in range(300):
        producer.produce(topics["raw.k8s"], b"flood %d" % n, headers=[("format", b"k8s-audit")])
    assert producer.flush(30) == 0
    normalizer = start(LEADSMAN_MAX_BAD_IN_A_ROW="100", LEADSMAN_NORMALIZER_TOPICS="raw.k8s")
    assert normalizer.process.wait(60) == 1, normalizer.said()
    assert "100 bad records in a row" in normalizer.said()
    # what was handled before the cap is committed, the rest is not: all of it comes again
    assert lag(bootstrap, {"raw.k8s": topics["raw.k8s"]}, topic_prefix) >= 200


def test_a_dead_letter_topic_that_is_gone_stops_the_service(start, bootstrap, topics, topic_prefix):
    """A dead letter that cannot be written is a broken world: nothing is skipped."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topics["raw.k8s.dlq"]])[topics["raw.k8s.dlq"]].result()
    deadline = time.monotonic() + 30
    while topics["raw.k8s.dlq"] in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topics["raw.k8s"], b"bad", headers=[("format", b"k8s-audit")])
    assert producer.flush(30) == 0
    normalizer = start(LEADSMAN_KAFKA_OPTIONS="delivery.timeout.ms=3000,topic.metadata.propagation.max.ms=2000")
    assert normalizer.process.wait(60) == 1, normalizer.said()
    assert lag(bootstrap, topics, topic_prefix) == 1
