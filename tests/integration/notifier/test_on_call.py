"""`leadsman show` and `leadsman events --around` on a broker: raw records by their offsets, the events around."""

import json

import pytest
from click.testing import CliRunner
from notifying import alert

from leadsman_cli.__main__ import cli
from leadsman_common.avro import audit_event_codec
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.schemas import schemas_dir

pytestmark = pytest.mark.integration
EVENT = json.loads((schemas_dir() / "examples" / "audit.events" / "create-pod.json").read_text(encoding="utf-8"))
MINUTE_US = 60_000_000


def run(bootstrap, topic_prefix, *arguments):
    env = {"LEADSMAN_KAFKA_BOOTSTRAP": bootstrap, "LEADSMAN_TOPIC_PREFIX": topic_prefix}
    return CliRunner().invoke(cli, list(arguments), env=env)


def test_show_and_events(bootstrap, topics, topic_prefix, produce):
    one = alert("feedbeef01", cluster=EVENT["cluster"])
    at = one["evidence"][-1]["time"]
    one["evidence"][-1]["source"] |= {"topic": topics["raw.aws"], "partition": 0, "offset": 1}
    producer = AckedProducer(bootstrap)
    raw = [Outgoing(topics["raw.aws"], b"k", body, (), 0) for body in (b"before", b'{"raw": "\x1b[31m"}', b"after")]
    producer.send(raw)
    times = {"in": at, "near": at - 5 * MINUTE_US, "far": at - 60 * MINUTE_US}
    events = [{**EVENT, "id": name, "time": time} for name, time in times.items()]
    other = {**EVENT, "id": "other", "time": at, "cluster": {**EVENT["cluster"], "id": "another"}}
    codec = audit_event_codec()
    producer.send(Outgoing(topics["audit.events"], b"k", codec.encode(e)) for e in [*events, other])
    produce(one, alert("feedbeef02"), {**one, "revision": 5, "title": "grown"})

    shown = run(bootstrap, topic_prefix, "show", "feedbeef01")
    assert shown.exit_code == 0, shown.output
    assert "CRITICAL: grown" in shown.output
    assert f"{topics['raw.aws']}[0] offset 1: the original record" in shown.output
    assert '{"raw": "\\x1b[31m"}' in shown.output
    assert "before" not in shown.output.replace("(was before", "")
    as_json = json.loads(run(bootstrap, topic_prefix, "show", "feedbeef01", "-o", "json").output)
    assert (as_json["alert"]["revision"], as_json["raw"][0]["value"]) == (5, '{"raw": "\x1b[31m"}')

    found = run(bootstrap, topic_prefix, "events", "--around", "feedbeef01", "-o", "jsonl")
    assert found.exit_code == 0, found.output
    ids = [json.loads(line)["id"] for line in found.output.splitlines() if line.startswith("{")]
    assert ids == ["near", "in"]

    assert "2 alerts begin with it" in run(bootstrap, topic_prefix, "show", "feedbeef").output
    assert "none on the topic" in run(bootstrap, topic_prefix, "show", "nosuch").output
