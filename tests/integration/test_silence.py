"""The normalizers as processes: what is silent, unclaimed or unwatched is one alert, over a restart, and then over."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from leadsman_common.alerts import Alert
from leadsman_common.avro import alert_codec, audit_event_codec
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.raw import RawEvent
from leadsman_common.sightings import Listed, ListedCluster, decode, encode
from leadsman_common.topic_reader import TopicReader

pytestmark = pytest.mark.integration

REGISTRY = """
clusters:
    - {name: prod, expects: {k8s-audit: 4s}}
    - {name: busy, expects: {k8s-audit: 1h}}
"""


@pytest.fixture
def normalizer(bootstrap, topics, topic_prefix, tmp_path):  # noqa: ARG001 - the topics must exist
    """Give start() -> the process of a normalizer with the registry, which looks every second."""
    (tmp_path / "clusters.yaml").write_text(REGISTRY)
    running = []

    def start():
        env = {
            **os.environ,
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_TOPIC_PREFIX": topic_prefix,
            "LEADSMAN_CLUSTERS": str(tmp_path / "clusters.yaml"),
            "LEADSMAN_SILENCE_LOOK_S": "1",
        }
        running.append(subprocess.Popen([sys.executable, "-m", "leadsman_normalizer"], env=env))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def send(bootstrap, topics):
    producer = AckedProducer(bootstrap)

    def post(cluster, **changes):
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        value = {
            "kind": "Event",
            "auditID": f"{cluster}-{time.time_ns()}",
            "stage": "ResponseComplete",
            "level": "Metadata",
            "verb": "get",
            "requestURI": "/api",
            "user": {"username": "u"},
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": now,
            "stageTimestamp": now,
            **changes,
        }
        event = RawEvent(
            json.dumps(value).encode(), format="k8s-audit", cluster=cluster, received_ms=time.time_ns() // 1_000_000
        )
        producer.send([Outgoing(topics["raw.k8s"], event.key(), event.value, event.headers())])

    post.producer = producer
    return post


def test_silent_unclaimed_and_unwatched(bootstrap, topics, normalizer, send):
    workers = [normalizer(), normalizer()]
    send("prod")
    send("busy")
    send("stranger")
    listed = Listed("aws/111122223333/eu-west-1", int(time.time() * 1000), [ListedCluster("eu-west-1", "dark", 1000)])
    send.producer.send([Outgoing(topics["sightings"], listed.key.encode(), encode(listed))])
    reader = TopicReader(bootstrap)

    def alerts() -> list[Alert]:
        return [alert_codec().decode(m.value()) for m in reader.read(topics["alerts"])]

    def told():
        return sorted((a["rule"]["name"], a["cluster"]["name"], a["revision"]) for a in alerts())

    def until(holds):
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline, told()
            time.sleep(0.3)

    first = [("cluster-unclaimed", "stranger", 0), ("cluster-unwatched", "dark", 0), ("source-silent", "prod", 0)]
    until(lambda: told() == first)
    workers[0].terminate()
    assert workers[0].wait(60) == 0
    workers.append(normalizer())
    time.sleep(8)
    assert told() == first  # neither each second nor by each worker, nor again after a restart

    def goes_on():  # a worker that does not know of the silence yet tells of one event a minute
        send("prod")
        return ("source-silent", "prod", 1) in told()

    until(goes_on)
    by_id = {}
    for alert in sorted(alerts(), key=lambda one: one["revision"]):
        by_id.setdefault(alert["id"], []).append(alert["level"])
    # the end has the id of what it ends; the source may be silent once more by now, which is another alert
    assert [levels for levels in by_id.values() if len(levels) > 1] == [["high", "informational"]]
    workers[1].terminate()
    assert workers[1].wait(60) == 0


def test_a_cluster_made_anew_has_another_id_for_every_worker(bootstrap, topics, topic_prefix, normalizer, send):
    worker, reader, group = normalizer(), TopicReader(bootstrap), f"{topic_prefix}leadsman-normalizer"
    made = {"verb": "create", "responseStatus": {"code": 201}, "requestURI": "/api/v1/namespaces"}
    made["objectRef"] = {"resource": "namespaces", "name": "kube-system", "apiVersion": "v1"}
    long_ago = {"requestReceivedTimestamp": "2026-01-01T00:00:00Z", "stageTimestamp": "2026-01-01T00:00:00Z"}

    def ids(count):
        deadline = time.monotonic() + 120
        while True:
            events = [audit_event_codec().decode(m.value()) for m in reader.read(topics["audit.events"])]
            if len(events) >= count:
                return [event["cluster"]["id"] for event in sorted(events, key=lambda e: e["time"])]
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def until_committed(count):  # what is killed before that may rightly tell its events and the life once more
        deadline = time.monotonic() + 120
        while sum(max(at, 0) for at in reader.committed(group, topics["raw.k8s"]).values()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.3)

    send("busy", **long_ago)
    assert ids(1) == ["///busy"]
    send("busy", **made)
    plain, anew = ids(2)
    assert plain == "///busy"
    assert anew.startswith("///busy@20")
    until_committed(2)
    worker.kill()
    worker.wait()
    normalizer()  # it learns from the topic what the other one saw
    send("busy")
    assert ids(3)[2] == anew
    lives = [decode(m.value()) for m in reader.read(topics["sightings"]) if m.key().startswith(b"life|")]
    assert [life.plain for life in lives] == ["///busy"]
