"""Records in at the clouds' stand-ins, alerts out at a webhook: every service a real process, Kafka and Redis real."""

import json
import secrets
import subprocess
import sys

import pytest

from leadsman_common.avro import audit_event_codec

pytestmark = pytest.mark.e2e

ACCOUNT, REGION = "111122223333", "eu-west-1"
EKS, GKE = "harbour", "shipyard"
CI = f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/pipeline"
GUEST = f"arn:aws:sts::{ACCOUNT}:assumed-role/guest/tomas.vogel"
RELEASE = f"arn:aws:sts::{ACCOUNT}:assumed-role/release/pipeline-108"
RUNNER = "system:serviceaccount:batch:runner"
DEPLOYER = "deployer@example-shipyard.iam.gserviceaccount.com"
MIRA = "mira.okafor@example.com"
ANONYMOUS = "system:anonymous"

# what must come of records/CLOUD.ndjson, and nothing else: slug, level, actor, object, how its events were joined
EXPECTED = {
    "eks": {
        ("cluster-role-exec", "high", CI, "metrics-reader-ext", ()),
        ("exec-by-new-role", "critical", GUEST, "ledger-api-6c9f7d5b8-x2vkq", ("reason",)),
        ("dangerous-container-command", "high", GUEST, "ledger-api-6c9f7d5b8-x2vkq", ()),
        ("unauthenticated-request-allowed", "critical", ANONYMOUS, "", ()),
        ("privileged-container", "critical", RUNNER, "node-debug", ()),
        ("sensitive-volume", "critical", RUNNER, "node-debug", ()),
        ("secret-read-by-tool", "high", ANONYMOUS, "", ()),
        ("command-in-pod", "informational", GUEST, "ledger-api-6c9f7d5b8-x2vkq", ()),
        ("containers-patched", "informational", RELEASE, "checkout-16", ()),
    },
    "gke": {
        ("cluster-role-exec", "high", DEPLOYER, "support-tools", ()),
        ("exec-by-new-role", "critical", MIRA, "loader-7d4c9b6f55-pk8rw", ("binding",)),
        ("dangerous-container-command", "high", MIRA, "loader-7d4c9b6f55-pk8rw", ()),
        ("service-exposed", "medium", MIRA, "loader-debug", ()),
        ("host-network-pod", "medium", MIRA, "net-probe", ()),
        ("unauthenticated-exec", "critical", ANONYMOUS, "loader-5", ()),
        ("unauthenticated-request-allowed", "critical", ANONYMOUS, "loader-5", ()),
        ("command-in-pod", "informational", MIRA, "loader-7d4c9b6f55-pk8rw", ()),
        ("command-in-pod", "informational", ANONYMOUS, "loader-5", ()),
    },
}
CLUSTERS = {"eks": f"aws/{ACCOUNT}/{REGION}/{EKS}", "gke": "gcp/example-shipyard/europe-west4/shipyard"}
CHAIN = ["cluster-role-exec", "role-bound", "pod-exec"]


def feed(stream, cloud, lines):
    """Put records in at their cloud, and wait until all that comes of them is out at the other end."""
    before = stream.count("raw.aws") + stream.count("raw.gcp")
    if cloud == "eks":
        stream.put_cloudwatch(EKS, ACCOUNT, [line.decode() for line in lines])
    else:
        stream.publish(lines)
    stream.wait_through(raw=before + len(lines))


def found(alert):
    ref, joins = alert["objectRef"], tuple(alert["joins"])
    return alert["rule"]["name"], alert["level"], alert["actor"]["name"], ref["name"], joins


def at(stream, base):
    """The values of a topic by (topic, partition, offset)."""
    return {(m.topic(), m.partition(), m.offset()): m.value() for m in stream.read(base)}


@pytest.fixture(scope="module")
def told(stream, receiver, records):
    """told(cloud): (alerts on the topic, alerts at the receiver) of that cloud's records, fed once."""
    kept = {}

    def tell(cloud):
        if cloud not in kept:
            feed(stream, cloud, records(cloud))
            of_topic = [a for a in stream.alerts() if a["cluster"]["id"] == CLUSTERS[cloud]]
            kept[cloud] = of_topic, [a for a in receiver.bodies if a["cluster"]["id"] == CLUSTERS[cloud]]
        return kept[cloud]

    return tell


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_an_attack_becomes_alerts(told, cloud):
    on_topic, received = told(cloud)
    assert {found(alert) for alert in on_topic} == EXPECTED[cloud]
    assert {found(alert) for alert in received} == EXPECTED[cloud]
    # at least once on the topic, and one notification for each id
    assert sorted(alert["id"] for alert in received) == sorted({alert["id"] for alert in on_topic})


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_evidence_leads_to_the_records(stream, told, records, cloud):
    on_topic, _ = told(cloud)
    events, raws = at(stream, "audit.events"), at(stream, "raw.aws" if cloud == "eks" else "raw.gcp")
    for alert in on_topic:
        assert alert["evidence"]
        for item in alert["evidence"]:
            event = audit_event_codec().decode(events[item["topic"], item["partition"], item["offset"]])
            assert (event["id"], event["action"]) == (item["event_id"], item["action"])
            assert event["cluster"]["id"] == CLUSTERS[cloud]
            source = item["source"]
            assert raws[source["topic"], source["partition"], source["offset"]] in records(cloud)
            assert event["source"] == source


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_a_chain_shows_its_events_in_order(told, cloud):
    chains = [alert for alert in told(cloud)[1] if alert["rule"]["name"] == "exec-by-new-role"]
    (chain,) = chains
    rules = [item["rule"] for item in chain["evidence"]]
    # a join by reason is complete without the binding, which may arrive last: it has a partition of its own
    assert rules == CHAIN or (cloud == "eks" and rules == [CHAIN[0], CHAIN[-1]])
    assert [item["time"] for item in chain["evidence"]] == sorted(item["time"] for item in chain["evidence"])


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_a_scan_of_the_same_records_gives_the_same_ids(told, records, tmp_path, cloud):
    on_topic, _ = told(cloud)
    file = tmp_path / f"{cloud}.ndjson"
    file.write_bytes(b"\n".join(records(cloud)))
    identity = {
        "eks": ["--cluster", EKS, "--account", ACCOUNT, "--region", REGION],
        "gke": ["--cluster", GKE, "--account", "example-shipyard", "--region", "europe-west4"],
    }
    scanned = scan(file, *identity[cloud])
    assert {alert["id"] for alert in scanned} == {alert["id"] for alert in on_topic}
    assert {found(alert) for alert in scanned} == EXPECTED[cloud]


def scan(file, *options):
    command = [sys.executable, "-m", "leadsman_cli", "scan", "-o", "jsonl", *options, str(file)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_a_record_of_1_5_mb_passes(stream, receiver, records, cloud):
    name = f"large-{secrets.token_hex(4)}"
    line = large(records(cloud), cloud, name)
    assert 1_500_000 <= len(line) < 1_501_000
    feed(stream, cloud, [line])
    assert line in at(stream, "raw.aws" if cloud == "eks" else "raw.gcp").values()
    mine = [alert for alert in receiver.bodies if alert["objectRef"]["name"] == name]
    assert {alert["rule"]["name"] for alert in mine} == (
        {"privileged-container", "sensitive-volume"} if cloud == "eks" else {"host-network-pod"}
    )
    assert {alert["id"] for alert in mine} == {a["id"] for a in stream.alerts() if a["objectRef"]["name"] == name}


def large(lines, cloud, name):
    """The record that starts a pod or a deployment, under another name and with a body of 1.5 MB."""
    wanted = b"node-debug" if cloud == "eks" else b"net-probe"
    (line,) = (line for line in lines if wanted in line)
    record = json.loads(line.replace(wanted, name.encode()))
    record["auditID" if cloud == "eks" else "insertId"] = name
    body = record["requestObject"] if cloud == "eks" else record["protoPayload"]["request"]
    note = secrets.token_hex(2000)
    missing = 1_500_000 - len(json.dumps(record))
    body["metadata"]["annotations"] = {"example.com/notes": (note * (missing // len(note) + 1))[:missing]}
    return json.dumps(record).encode()


def test_a_bad_record_is_dead_lettered_and_its_neighbours_pass(stream, receiver, records):
    bad = {"eks": f"no JSON, {secrets.token_hex(8)} \u2693".encode(), "gke": b'{"protoPayload": \xff\x00' + b"x" * 50}
    names = {}
    for cloud, wanted in (("eks", b"node-debug"), ("gke", b"net-probe")):
        (line,) = (line for line in records(cloud) if wanted in line)
        names[cloud] = [f"{side}-{secrets.token_hex(4)}" for side in ("before", "after")]
        before, after = (line.replace(wanted, name.encode()) for name in names[cloud])
        feed(stream, cloud, [before, bad[cloud], after])
    # a whole Kinesis record that is no envelope never gets onto the raw topic
    envelope = secrets.token_bytes(64)
    stream.put_kinesis(envelope)

    for cloud, base in (("eks", "raw.aws"), ("gke", "raw.gcp")):
        (letter,) = (m for m in stream.read(f"{base}.dlq") if m.value() == bad[cloud])
        headers = {name: value.decode() for name, value in letter.headers()}
        assert (headers["dlq-topic"], headers["dlq-stage"]) == (stream.names[base], "normalize")
        where = headers["dlq-topic"], int(headers["dlq-partition"]), int(headers["dlq-offset"])
        assert at(stream, base)[where] == bad[cloud]
        assert headers["dlq-reason"]
        assert headers["dlq-version"]
        # and what the transport knew
        assert headers["format"] == ("eks-audit" if cloud == "eks" else "gke-logentry")
        assert headers["source-id"]
        raised = {alert["objectRef"]["name"] for alert in receiver.bodies}
        assert raised >= set(names[cloud])
    stream.until(lambda: envelope in at(stream, "raw.aws.dlq").values(), "the envelope in raw.aws.dlq")
