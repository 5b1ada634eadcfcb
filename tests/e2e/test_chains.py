"""Correlations through every service, Kafka and Redis: stories of the case files, told by two clouds to one stream.

The records are those that `leadsman rules test` makes of the cases, at times of today and in a cluster of their own;
what comes late comes late here, too. What sensors saw goes in beside: Falco's and GuardDuty's as from a topic of
theirs, Security Command Center's through Pub/Sub.
"""

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leadsman_cli.cases import load_cases
from leadsman_cli.judge_cases import arrivals_of
from leadsman_common.avro import audit_event_codec
from leadsman_common.raw import RawEvent

pytestmark = pytest.mark.e2e

CASES = Path(__file__).parents[1] / "rules"
CLUSTER = b"chains"
HOUR = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y-%m-%dT%H:").encode()  # the same for all of a run
# rule, the case, its cloud, the rules of its evidence in order of time
ANONYMOUS = "unauthenticated-request-allowed"
STORIES = [
    (
        "exec-by-new-role",
        "role, binding, exec by the bound user",
        "eks",
        ["cluster-role-exec", "role-bound", "pod-exec"],
    ),
    ("anonymous-then-action", "a pod, then a command", "gke", [ANONYMOUS, "unauthenticated-exec"]),
    ("anonymous-binding-used", "bound to anonymous, then used", "gke", ["anonymous-binding", ANONYMOUS]),
    (
        "cluster-access-used",
        "CloudTrail comes after the use",
        "eks",
        ["cluster-access-given", "cloud-principal-first-used"],
    ),
    ("minted-token-used", "in any order of arrival, delivered again", "eks", ["token-issued", "account-token-used"]),
    (
        "signal-then-pod-acts",
        "the pod's token reads a secret",
        "eks",
        ["grave-signal-in-pod", "sensitive-action"],
    ),
    (
        "signal-guardduty-actor-acts",
        "the binding that the finding is about",
        "eks",
        ["sensitive-action", "guardduty-names-actor"],
    ),
    (
        "signal-scc-actor-acts",
        "the binding that the finding is about",
        "gke",
        ["sensitive-action", "scc-names-actor"],
    ),
]
IDS = [rule for rule, *_ in STORIES]


def told(rule, name, cloud):
    """The files of a case in order of arrival, at this morning's times and in the cluster of this test."""
    file = load_cases(CASES / f"{rule}.yml")
    (case,) = (c for c in file.cases if c.name == name)
    for _, enveloped in arrivals_of(file, case, cloud):
        yield enveloped.data.replace(b"2026-11-02T09:", HOUR).replace(b"harbour", CLUSTER + b"-" + rule.encode())


def put(stream, data):
    """Put a file in at its cloud; the number of records in it."""
    lines = [json.loads(line) for line in data.splitlines()]
    if "protoPayload" in lines[0] or "finding" in lines[0]:  # Google's logs and Security Command Center
        stream.publish(data.splitlines())
        return len(lines)
    if "eventSource" in lines[0]:  # a file of CloudTrail
        stream.put_kinesis(gzip.compress(json.dumps({"Records": lines}).encode()))
        return len(lines)
    if sensor := "falco" if "output_fields" in lines[0] else "guardduty" if "detail" in lines[0] else "":
        place = {"format": sensor, "provider": "aws", "region": "eu-west-1"}
        raws = [RawEvent(json.dumps(line).encode(), **place) for line in lines]
        stream.produce_raw(raws)  # as ingest-kafka does with a sensor's topic
        return len(raws)
    for document in lines:
        stream.put_kinesis(gzip.compress(json.dumps(document).encode()))
    return sum(len(document["logEvents"]) for document in lines)


@pytest.fixture(scope="module")
def alerts(stream):
    """Every story told, interleaved, and the alerts of each cluster by rule."""
    waiting = [list(told(rule, name, cloud)) for rule, name, cloud, _ in STORIES]
    raw = stream.count("raw.aws") + stream.count("raw.gcp")
    while any(waiting):
        for files in waiting:
            if files:
                raw += put(stream, files.pop(0))
        stream.wait_through(raw=raw)  # the next part of each story is late
    found = {}
    for alert in stream.alerts():
        found.setdefault(alert["cluster"]["name"], {})[alert["id"]] = alert
    return found


def of(alerts, rule):
    return [a for a in alerts[f"{CLUSTER.decode()}-{rule}"].values() if a["rule"]["name"] == rule]


@pytest.mark.parametrize(("rule", "_name", "_cloud", "chain"), STORIES, ids=IDS)
def test_a_story_is_one_alert(alerts, rule, _name, _cloud, chain):
    (alert,) = of(alerts, rule)
    assert [item["rule"] for item in alert["evidence"]] == chain
    assert [item["time"] for item in alert["evidence"]] == sorted(item["time"] for item in alert["evidence"])


@pytest.mark.parametrize("rule", IDS)
def test_its_evidence_stands_on_the_topic(stream, alerts, rule):
    events = {(m.topic(), m.partition(), m.offset()): m.value() for m in stream.read("audit.events")}
    for alert in of(alerts, rule):
        for item in alert["evidence"]:
            event = audit_event_codec().decode(events[item["topic"], item["partition"], item["offset"]])
            assert (event["id"], event["action"]) == (item["event_id"], item["action"])


@pytest.mark.parametrize(("rule", "name", "cloud", "_chain"), STORIES, ids=IDS)
def test_a_scan_gives_the_same_ids(alerts, tmp_path, rule, name, cloud, _chain):
    command = [sys.executable, "-m", "leadsman_cli", "scan", "-o", "jsonl"]
    if cloud == "eks":
        command += ["--region", "eu-west-1"]
    for number, data in enumerate(told(rule, name, cloud)):
        path = tmp_path / f"{number}.ndjson"
        path.write_bytes(data)
        command.append(str(path))
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    scanned = {a["id"] for a in map(json.loads, done.stdout.splitlines()) if a["rule"]["name"] == rule}
    assert scanned == {a["id"] for a in of(alerts, rule)}


def test_a_story_and_the_alerts_of_its_events_are_one_incident(alerts):
    """The alert of the chain names those that its events raised by themselves, and they are there."""
    found = alerts[f"{CLUSTER.decode()}-exec-by-new-role"]
    (chain,) = of(alerts, "exec-by-new-role")
    assert [found[member]["rule"]["name"] for member in chain["members"]] == ["cluster-role-exec"]
    assert [item["alert"] for item in chain["evidence"]] == [chain["members"][0], "", ""]


def test_nobody_is_told_of_a_story_twice(alerts, receiver):
    ours = {a["id"] for found in alerts.values() for a in found.values() if a["cluster"]["name"].startswith("chains")}
    posted = [a["id"] for a in receiver.bodies if a["id"] in ours and a["revision"] == 0]
    assert len(posted) == len(set(posted))
    assert ours <= {a["id"] for a in receiver.bodies}
