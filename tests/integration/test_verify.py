"""`leadsman verify` over a real run: it adds up after kill -9; a lost record and a lying page are named."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import msgspec
import pytest
from confluent_kafka import Producer

from leadsman_cli.__main__ import main
from leadsman_common.ledger import read_page
from leadsman_common.raw import RawEvent
from leadsman_common.topic_reader import TopicReader

pytestmark = pytest.mark.integration

COUNT = 3_000
WAIT_S = 120
LONG_WAIT_S = 2_400
EVENT = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "Metadata",
    "stage": "ResponseComplete",
    "requestURI": "/api/v1/namespaces/a/pods/b",
    "verb": "get",
    "user": {"username": "ada"},
    "sourceIPs": ["192.0.2.1"],
    "objectRef": {"resource": "pods", "namespace": "a", "name": "b", "apiVersion": "v1"},
    "responseStatus": {"code": 200},
    "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
    "stageTimestamp": "2026-01-01T00:00:00.000000Z",
}
# a normalizer that loses one record: it counts it and does not send it
LOSSY = """
import sys
from leadsman_common.kafka import AckedProducer
from leadsman_normalizer.__main__ import main
keep = AckedProducer.enqueue
def lose(self, record):
    if record.topic.endswith("audit.events") and b"audit-0001234" in record.value:
        return
    keep(self, record)
AckedProducer.enqueue = lose
sys.exit(main())
"""


@pytest.fixture
def count(request):
    """How many records there are."""
    return getattr(request, "param", COUNT)


@pytest.fixture
def verify(bootstrap, topics, topic_prefix, redis_url, tmp_path, monkeypatch, capsys, count):
    """Put records on raw.k8s (every tenth not ours, every hundredth bad), and give a command and a starter."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for n in range(count):
        stage = "RequestReceived" if n % 10 == 3 else "ResponseComplete"
        value = (
            b"not json" if n % 100 == 7 else json.dumps({**EVENT, "auditID": f"audit-{n:07}", "stage": stage}).encode()
        )
        raw = RawEvent(value, "k8s-audit", "harbour", provider="none", source_id=str(n), received_ms=n + 1)
        producer.produce(topics["raw.k8s"], raw.value, raw.key(), headers=raw.headers())
        if n % 10_000 == 0:
            producer.flush(60)
    assert producer.flush(60) == 0
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("LEADSMAN_REDIS_URL", redis_url)
    monkeypatch.setenv("LEADSMAN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("LEADSMAN_HTTP_PORT", "0")
    monkeypatch.setenv("LEADSMAN_NORMALIZER_BATCH", "100" if count == COUNT else "500")
    monkeypatch.setenv("LEADSMAN_BATCH", "100")
    running = []

    def start(*command):
        running.append(subprocess.Popen([sys.executable, *command], env=dict(os.environ)))
        return running[-1]

    def run():
        code = main(["verify", "-o", "json"])
        return code, json.loads(capsys.readouterr().out)

    yield start, run, TopicReader(bootstrap)
    for process in running:
        process.kill()
        process.wait(10)


def lag(reader, topics, topic_prefix, service, base):
    """How many records of a topic a service has not committed."""
    committed = reader.committed(f"{topic_prefix}leadsman-{service}", topics[base])
    return sum(s.end - max(0, committed[p]) for p, s in reader.spans(topics[base]).items())


def until_done(reader, topics, topic_prefix, *services, wait_s=WAIT_S):
    """Wait until all is committed."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if not any(lag(reader, topics, topic_prefix, *one) for one in services or [("normalizer", "raw.k8s")]):
            return
        time.sleep(0.3)
    pytest.fail("they did not come to the end")


def kill_in_the_middle(start, service, done, left):
    """Start it, and kill it when it has done more than before; a fast machine may have left nothing to be done."""
    seen = done()
    process = start("-m", f"leadsman_{service}")
    deadline = time.monotonic() + WAIT_S
    while done() <= seen and left():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_it_adds_up_after_kills_and_a_lie_is_found(verify, bootstrap, topics, topic_prefix):
    start, run, reader = verify
    group = f"{topic_prefix}leadsman-detector"
    raw_left = partial(lag, reader, topics, topic_prefix, "normalizer", "raw.k8s")
    events_left = partial(lag, reader, topics, topic_prefix, "detector", "audit.events")
    for _ in range(3):  # killed in the middle, wherever that is
        kill_in_the_middle(start, "normalizer", lambda: sum(1 for _ in reader.read(topics["audit.events"])), raw_left)
    kill_in_the_middle(
        start, "detector", lambda: sum(reader.committed(group, topics["audit.events"]).values()), events_left
    )
    start("-m", "leadsman_normalizer")
    start("-m", "leadsman_detector")
    until_done(reader, topics, topic_prefix, ("normalizer", "raw.k8s"), ("detector", "audit.events"))
    code, report = run()
    judged = [a for a in report["accounts"] if a["hop"] == "detector"]
    assert sum(a["outcomes"].get("passed", 0) for a in judged) == sum(a["end"] - a["start"] for a in judged) > 2_000
    totals = [a["outcomes"] for a in report["accounts"] if a["hop"] == "normalizer" and a["topic"] == "raw.k8s"]
    assert (code, report["findings"]) == (0, [])
    assert sum(sum(t.values()) for t in totals) == COUNT
    assert sum(n for t in totals for kind, n in t.items() if kind.startswith("dead:")) == COUNT // 100
    assert sum(n for t in totals for kind, n in t.items() if kind.startswith("filtered:")) == COUNT // 10

    # one page lies: it says that what was produced was not ours
    pages = {m.key(): m.value() for m in reader.read(topics["ledger"])}
    key, page = next((k, p) for k, v in pages.items() if (p := read_page(v)).texts[p.outcomes[0][0]] == "produced")
    page.texts.append("filtered:no reason")
    page.outcomes[0][1] -= 1
    page.outcomes.insert(0, [len(page.texts) - 1, 1])
    page.outcomes = [run for run in page.outcomes if run[1]]
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topics["ledger"], msgspec.json.encode(page), key)
    assert producer.flush(30) == 0
    code, report = run()
    assert code == 1
    assert [(f["topic"], f["partition"], f["start"], f["end"]) for f in report["findings"]] == [
        ("raw.k8s", page.partition, page.start, page.start + 1)
    ]
    assert "something was produced" in report["findings"][0]["what"]


@pytest.mark.parametrize(
    "count",
    [COUNT, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(3_600)])],
    indirect=True,
)
def test_a_lost_record_is_named(verify, topics, topic_prefix, count):
    start, run, reader = verify
    start("-c", LOSSY)
    until_done(reader, topics, topic_prefix, wait_s=WAIT_S if count == COUNT else LONG_WAIT_S)
    code, report = run()
    lost = [m for m in reader.read(topics["raw.k8s"]) if b'"audit-0001234"' in (m.value() or b"")]
    assert code == 1
    assert [(f["topic"], f["partition"], f["start"], f["end"]) for f in report["findings"]] == [
        ("raw.k8s", lost[0].partition(), lost[0].offset(), lost[0].offset() + 1)
    ]
    assert "nothing came of it" in report["findings"][0]["what"]
