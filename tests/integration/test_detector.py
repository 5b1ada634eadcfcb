"""The detector as a process, with either runner: audit events in, alerts and dead letters out, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pod_made import RULE, event

from leadsman_common.avro import alert_codec
from leadsman_common.topic_reader import TopicReader
from leadsman_detector.runner import EXIT_BROKEN

pytestmark = pytest.mark.integration


class Detector:
    """The process, its topics, and what came out."""

    def __init__(self, bootstrap, redis_url, prefix, topics, folder, **settings):
        rules = folder / "rules"
        rules.mkdir(exist_ok=True)
        (rules / "pod-made.yml").write_text(RULE)
        self.bootstrap, self.topics, self.prefix, self.folder = bootstrap, topics, prefix, folder
        self.port = settings.pop("port", 0)
        self.env = {
            **os.environ,
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_REDIS_URL": redis_url,
            "LEADSMAN_TOPIC_PREFIX": prefix,
            "LEADSMAN_RULES_DIR": str(rules),
            "LEADSMAN_DATA_DIR": str(folder),
            "LEADSMAN_SESSION_TIMEOUT_S": "6",
            **{f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.producer = Producer({"bootstrap.servers": bootstrap})
        self.processes = []

    def put(self, *values, **more):
        for value in values:
            self.producer.produce(self.topics["audit.events"], value, partition=0, **more)
        assert self.producer.flush(30) == 0

    def start(self, **settings):
        env = {**self.env, **{f"LEADSMAN_{name.upper()}": str(value) for name, value in settings.items()}}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", "leadsman_detector"], env=env, stderr=log)
        self.processes.append(process)
        return process

    def log(self):
        return (self.folder / "log").read_text()

    def read(self, topic, count, wait_s=90):
        """Read `count` records of a topic, or what came in time, and whatever else comes in half a second."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False})
        try:
            reader.assign([TopicPartition(self.topics[topic], n, 0) for n in range(3)])
            found, deadline = [], time.monotonic() + wait_s
            while len(found) < count and time.monotonic() < deadline:
                found += reader.consume(100, timeout=0.1)
            return found + reader.consume(100, timeout=0.5)
        finally:
            reader.close()

    def there(self, topic):
        """All that a topic holds now."""
        return list(TopicReader(self.bootstrap).read(self.topics[topic]))

    def committed(self):
        reader = TopicReader(self.bootstrap)
        found = reader.committed(f"{self.prefix}leadsman-detector", self.topics["audit.events"])
        return {partition: offset for partition, offset in found.items() if offset > 0}

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture(params=["faust", "plain"])
def detector(request, bootstrap, redis_url, topic_prefix, topics, tmp_path):
    """Give a Detector that is not started yet."""
    it = Detector(bootstrap, redis_url, topic_prefix, topics, tmp_path, runner=request.param)
    yield it
    it.close()


def stop(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(60)


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_ready(port, wait_s=90):
    """Wait until /readyz says so."""
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(OSError):
            if get(port, "/readyz")[0] == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_alerts_dead_letters_health_and_a_stop_in_good_order(detector, local):
    port = local("processes").free_port()
    headers = [("source", b"\xff\x00"), ("dlq-reason", b"another's")]
    detector.put(event("one"), event("two", verb="get"), event("one"))
    detector.put(b"\x00 no avro \xff", key=b"k\xff", headers=headers)
    detector.put(event("three"))
    process = detector.start(http_port=port)

    alerts = detector.read("alerts", 2)
    decoded = {alert_codec().decode(m.value())["objectRef"]["name"]: m for m in alerts}
    assert sorted(decoded) == ["one", "three"], detector.log()
    assert len(alerts) == 2  # the same event again is the same alert
    alert = alert_codec().decode(decoded["one"].value())
    assert decoded["one"].key().decode() == alert["id"]
    assert dict(decoded["one"].headers()) == {
        "ce_specversion": b"1.0",
        "ce_id": alert["id"].encode(),
        "ce_source": b"/leadsman/detector",
        "ce_type": b"io.leadsman.alert.v1",
        "ce_subject": alert["id"].encode(),
        "ce_time": b"2023-11-14T22:13:20.000000Z",
        "content-type": b"application/avro",
    }
    assert [(e["topic"], e["partition"]) for e in alert["evidence"]] == [(detector.topics["audit.events"], 0)]

    (dead,) = detector.read("audit.events.dlq", 1)
    assert (dead.key(), dead.value()) == (b"k\xff", b"\x00 no avro \xff")
    found = dict(dead.headers())
    assert found["source"] == b"\xff\x00"
    assert found["dlq-reason"].startswith(b"avro: ")
    assert (found["dlq-stage"], found["dlq-offset"], found["dlq-partition"]) == (b"detect", b"3", b"0")

    assert get(port, "/healthz")[0] == 200
    wait_ready(port)
    received = f'leadsman_received_total{{service="detector",source="{detector.topics["audit.events"]}"}}'
    wait_for(lambda: f"{received} 5.0" in get(port, "/metrics")[1])
    metrics = get(port, "/metrics")[1]
    assert 'leadsman_alerts_total{level="high",rule="pod-made"}' in metrics
    assert 'leadsman_stalled{service="detector"} 0.0' in metrics

    assert stop(process) == 0, detector.log()
    assert detector.committed() == {0: 5}


def test_too_many_bad_records_stop_it_with_offsets_uncommitted(detector):
    detector.put(event("one"), *[b"bad"] * 9)
    process = detector.start(max_bad_in_a_row=5)
    assert process.wait(90) == EXIT_BROKEN, detector.log()
    assert "5 bad records in a row" in detector.log()
    assert detector.committed() == {}
    assert detector.read("audit.events.dlq", 1, wait_s=0) == []


def test_without_redis_single_events_alert_and_nothing_is_committed_until_it_is_there(detector, local, tmp_path):
    server, processes = local("redis_server"), local("processes")
    port = processes.free_port()
    detector.put(event("one"), b"bad")
    process = detector.start(redis_url=server.url(port), state_wait_s=0.5)
    assert names(detector.read("alerts", 1)) == {"one"}, detector.log()
    detector.put(event("two"))
    # what waits for Redis may be told once more meanwhile
    wait_for(lambda: names(detector.there("alerts")) == {"one", "two"})
    assert detector.committed() == {}
    started = server.start(tmp_path, port=port, tie_to_parent=True)
    try:
        wait_for(lambda: detector.committed() == {0: 3})
        detector.put(event("three"))
        wait_for(lambda: names(detector.there("alerts")) == {"one", "two", "three"})
        assert len(detector.read("audit.events.dlq", 1)) == 1  # once, when it was handled
        assert process.poll() is None
        assert stop(process) == 0
    finally:
        processes.stop(tmp_path, [started], grace_s=5)


FIRST_SEEN = """\
title: A pod of a new name
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad002
name: new-name
status: test
level: medium
logsource: {product: kubernetes, service: audit}
leadsman:
    first_seen: {fields: [objectRef.name], window: 1d, learning: 1h}
detection:
    made: {verb: create, objectRef.resource: pods}
    condition: made
"""


@pytest.mark.parametrize("detector", ["plain"], indirect=True)
def test_what_waits_on_a_timer_is_told_when_its_source_has_come_far_enough(detector):
    (detector.folder / "rules" / "new-name.yml").write_text(FIRST_SEEN)
    process = detector.start()
    detector.put(event("learning"), event("one", after_s=3700))
    detector.read("alerts", 2)
    assert told(detector, "new-name") == set()  # what comes late may still be older than the hour of learning
    detector.put(event("learning", after_s=6000))
    wait_for(lambda: told(detector, "new-name") == {"one"}, 60)
    assert stop(process) == 0


def told(detector, rule):
    """Tell the objects of the alerts of a rule."""
    alerts = [alert_codec().decode(m.value()) for m in detector.there("alerts")]
    return {a["objectRef"]["name"] for a in alerts if a["rule"]["name"] == rule}


def names(alerts):
    return {alert_codec().decode(m.value())["objectRef"]["name"] for m in alerts}


@pytest.mark.parametrize("detector", ["plain"], indirect=True)
def test_a_redis_that_evicts_is_refused(detector, redis_url):
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert detector.start().wait(100) == 2
            assert "maxmemory-policy allkeys-lru" in detector.log()
            allowed = detector.start(redis_eviction_allowed="true")
            detector.put(event("one"))
            assert names(detector.read("alerts", 1)) == {"one"}
            assert stop(allowed) == 0
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("detector", ["faust"], indirect=True)
@pytest.mark.parametrize(
    ("settings", "says"),
    {
        "runner": ({"runner": "spark"}, "LEADSMAN_RUNNER='spark': faust or plain"),
        "rules": ({"rules_dir": "/nowhere"}, "LEADSMAN_RULES_DIR: there is no /nowhere"),
        "batch": ({"batch": 0}, "LEADSMAN_BATCH must be positive"),
        "session": ({"session_timeout_s": 5}, "LEADSMAN_SESSION_TIMEOUT_S"),
        "stall": ({"stall_s": 9, "stall_exit_s": 8}, "LEADSMAN_STALL_S"),
        "sasl": (
            {"kafka_options": "security.protocol=sasl_ssl,sasl.mechanism=OAUTHBEARER"},
            "OAUTHBEARER needs leadsman.token",
        ),
    }.values(),
    ids=str,
)
def test_a_bad_setting_is_named(detector, settings, says):
    assert detector.start(**settings).wait(60) == 2
    assert says in detector.log()


def test_logs_are_one_json_object_a_line(detector, local):
    port = local("processes").free_port()
    process = detector.start(http_port=port)
    wait_ready(port)
    assert stop(process) == 0
    lines = [line for line in detector.log().splitlines() if not line.startswith("%")]  # librdkafka's own
    assert "stopped: what was read is acknowledged and committed" in [json.loads(line).get("event") for line in lines]


def test_changed_rules_are_put_in_force_between_batches_and_bad_ones_refused(detector, local):
    """Each alert carries the digest of the rules that raised it; a folder with a fatal problem changes nothing."""
    port, rule = local("processes").free_port(), detector.folder / "rules" / "pod-made.yml"
    detector.start(http_port=port, rules_reload_s=0.2)
    wait_ready(port)
    detector.put(event("one"))
    detector.read("alerts", 1)

    def put(text):  # whole at once: half a file would be refused
        (detector.folder / "next").write_text(text)
        (detector.folder / "next").replace(rule)

    put(RULE.replace("level: high", "level: low"))
    wait_for(lambda: 'leadsman_rules_reloads_total{result="loaded"} 1.0' in get(port, "/metrics")[1])
    detector.put(event("two"))
    detector.read("alerts", 2)

    put(RULE.replace("objectRef.resource", "no.such.field"))
    wait_for(lambda: 'leadsman_rules_reloads_total{result="refused"} 1.0' in get(port, "/metrics")[1])
    detector.put(event("three"))
    alerts = [alert_codec().decode(m.value()) for m in detector.read("alerts", 3)]
    found = {a["objectRef"]["name"]: (a["level"], a["rules_digest"]) for a in alerts}
    assert {name: level for name, (level, _) in found.items()} == {"one": "high", "two": "low", "three": "low"}
    assert found["one"][1] != found["two"][1] == found["three"][1]
    assert f'digest="{found["two"][1]}"' in get(port, "/metrics")[1]
    assert "no such field: no.such.field" in detector.log()


def wait_for(holds, wait_s=60):
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
