"""A rule on trial beside one that is not, with a real Kafka and Redis: two topics, and the ledger adds up over both."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pod_made import RULE, event

from leadsman_cli.__main__ import main
from leadsman_common.avro import alert_codec, audit_event_codec
from leadsman_common.topic_reader import TopicReader

sys.path.append(str(Path(__file__).parent))
from test_detector import Detector, names, stop, wait_for

pytestmark = pytest.mark.integration

TRIAL = (
    RULE.replace("name: pod-made", "name: on-trial")
    .replace("5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001", "5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad002")
    .rstrip()
    + "\nauthor: Eve Example\nleadsman: {shadow: true}\n"
)


@pytest.fixture
def detector(bootstrap, redis_url, topic_prefix, topics, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)
    it = Detector(bootstrap, redis_url, topic_prefix, topics, tmp_path, runner="plain")
    (tmp_path / "rules" / "on-trial.yml").write_text(TRIAL)
    yield it
    it.close()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def by_alice(name):
    codec = audit_event_codec()
    found = codec.decode(event(name))
    actor, user = {"name": "alice", "class": "human"}, {"username": "alice", "groups": ["system:authenticated"]}
    return codec.encode({**found, "actor": {**found["actor"], **actor}, "user": {**found["user"], **user}})


def test_what_a_rule_on_trial_finds_goes_to_its_own_topic(detector, topics, tmp_path, monkeypatch, capsys):
    detector.put(event("one"), by_alice("two"))
    process = detector.start()
    live, shadow = detector.read("alerts", 2), detector.read("alerts.shadow", 2)
    assert (names(live), names(shadow)) == ({"one", "two"}, {"one", "two"}), detector.log()
    found = [alert_codec().decode(m.value()) for m in shadow]
    assert {(a["rule"]["name"], a["rule"]["author"], a["shadow"]) for a in found} == {("on-trial", "Eve Example", True)}
    assert {alert_codec().decode(m.value())["rule"]["name"] for m in live} == {"pod-made"}
    wait_for(lambda: detector.committed() == {0: 2})
    assert stop(process) == 0

    assert main(["verify"]) == 0, capsys.readouterr().out
    capsys.readouterr()
    assert main(["tail", "--shadow", "--since", "1d", "--no-follow", "-o", "jsonl"]) == 0
    assert {a["id"] for a in lines(capsys)} == {a["id"] for a in found}
    assert main(["tail", "--since", "1d", "--no-follow", "-o", "jsonl"]) == 0
    assert {a["rule"]["name"] for a in lines(capsys)} == {"pod-made"}
    assert main(["show", found[0]["id"], "-o", "text"]) == 0
    assert "Eve Example" in capsys.readouterr().out

    # an exception is made of an alert that is looked up, and of its event
    ours = tmp_path / "ours"
    (two,) = [m.key().decode() for m in live if alert_codec().decode(m.value())["actor"]["name"]]
    said = ["--reason", "x", "--expires", str((datetime.now(UTC) + timedelta(days=1)).date()), "--out", str(ours)]
    assert main(["except", two[:12], *said, "-r", str(tmp_path / "rules")]) == 0
    out = capsys.readouterr().out
    assert "it would have silenced 1 of 2 alerts of pod-made in the last 30 days" in out
    assert "3 cases" in out
    (name,) = [p.name for p in (ours / "rules").iterdir()]
    assert [p.name for p in (ours / "cases").iterdir()] == [name]

    read = TopicReader.read
    lost = topics["alerts.shadow"]
    monkeypatch.setattr(
        TopicReader, "read", lambda self, topic, *more: () if topic == lost else read(self, topic, *more)
    )
    assert main(["verify"]) == 1
    assert f"alert {found[0]['id']} was made and is not on its topic" in capsys.readouterr().out
