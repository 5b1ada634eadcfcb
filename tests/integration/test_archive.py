"""`leadsman archive` and `replay`: what was written is read again, from a folder and from both clouds' buckets."""

import json

import boto3
import pytest
from click.testing import CliRunner
from google.cloud import storage

from leadsman_cli.__main__ import cli
from leadsman_cli.stores import open_store
from leadsman_common.avro import audit_event_codec
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.raw import RawEvent
from leadsman_detector.rules import default_rules_dir
from leadsman_normalizer.normalize import normalize

pytestmark = pytest.mark.integration


def event(number, **more):
    """One audit event: every tenth is an exec without credentials, on one of two clusters."""
    anonymous = number % 10 == 0
    audit = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": f"audit-{number}",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/a/pods/p{number}/exec?command=id" if anonymous else "/api/v1/pods",
        "verb": "create" if anonymous else "list",
        "user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
        if anonymous
        else {"username": "a"},
        "sourceIPs": ["192.0.2.1"],
        "objectRef": {"resource": "pods", "namespace": "a", "name": f"p{number}", "apiVersion": "v1"}
        | ({"subresource": "exec"} if anonymous else {}),
        "responseStatus": {"code": 101 if anonymous else 200},
        "annotations": {"authorization.k8s.io/decision": "allow"},
        "requestReceivedTimestamp": "2026-11-02T09:00:00.000000Z",
        "stageTimestamp": "2026-11-02T09:00:00.000000Z",
        **more,
    }
    cluster = "quay" if number % 20 else "harbour"
    return normalize(RawEvent(json.dumps(audit).encode(), "k8s-audit", cluster, provider="none", topic="raw.k8s"))


@pytest.fixture
def put(bootstrap, topics):
    """Give what puts events on audit.events, a third on each partition."""
    producer = AckedProducer(bootstrap)

    def put(numbers):
        producer.send(
            Outgoing(topics["audit.events"], None, audit_event_codec().encode(event(n)), partition=n % 3)
            for n in numbers
        )

    return put


@pytest.fixture
def leadsman(bootstrap, topics, topic_prefix, monkeypatch):  # noqa: ARG001 - the topics are there
    """Give what runs a command: its exit code, its output and what it said beside."""
    monkeypatch.setenv("LEADSMAN_KAFKA_BOOTSTRAP", bootstrap)
    monkeypatch.setenv("LEADSMAN_TOPIC_PREFIX", topic_prefix)

    def run(*arguments):
        done = CliRunner().invoke(cli, arguments, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.return_value, done.stdout, done.stderr

    return run


def ids(out):
    """The single alerts of the anonymous requests and where each was; what correlates them is not looked at."""
    alerts = [a for a in map(json.loads, out.splitlines()) if a["rule"]["name"] == "unauthenticated-exec"]
    return {(a["id"], a["evidence"][0]["source"]["offset"]) for a in alerts}


@pytest.fixture(params=["folder", "s3", "gs"])
def place(request, tmp_path, monkeypatch):
    """Give an empty place of each kind."""
    if request.param == "folder":
        return str(tmp_path / "archive")
    if request.param == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("moto_endpoint"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="ledger-archive")
        return "s3://ledger-archive/audit"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("gcs_emulator"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "local")
    storage.Client().create_bucket("ledger-archive")
    return "gs://ledger-archive/audit"


def test_what_was_archived_is_replayed(leadsman, put, place):
    put(range(90))
    code, out, err = leadsman("replay", "-o", "jsonl")
    live = ids(out)
    assert (code, len(live)) == (0, 9)
    assert "90 records" in err

    code, _, err = leadsman("archive", place, "--file-records", "20")
    assert (code, "90 records in 6 new files" in err) == (0, True), err
    assert leadsman("archive", place)[2] == "0 records in 0 new files\n"
    put(range(90, 120))  # it goes on where it was
    assert "30 records in 3 new files" in leadsman("archive", place)[2]

    code, out, _ = leadsman("replay", "--archive", place, "-o", "jsonl")
    assert (code, ids(out)) == (0, ids(leadsman("replay", "-o", "jsonl")[1]))
    assert live < ids(out)
    assert len(open_store(place).names()) == 9


def test_clusters_and_times_are_chosen(leadsman, put):
    put(range(40))
    for pattern, count in (("harbour", 2), ("qua?", 2), ("*", 4), ("none/*", 4), ("elsewhere", 0)):
        assert len(ids(leadsman("replay", "--cluster", pattern, "-o", "jsonl")[1])) == count, pattern
    assert leadsman("replay", "--until", "1h", "-o", "jsonl")[1] == ""
    assert leadsman("replay", "--since", "1h", "-o", "jsonl")[1] != ""


def test_a_difference_of_rules_is_told(leadsman, put, tmp_path):
    put(range(40))
    (rule,) = default_rules_dir().rglob("unauthenticated-exec.yml")
    none, weaker = tmp_path / "none", tmp_path / "weaker"
    for folder in (none, weaker):
        folder.mkdir()
    other = "title: Other\nid: 0f7f61a4-3c41-4d6b-8a0d-5f7c5f7f2b11\nname: other\n"
    other += (
        "logsource: {product: kubernetes, service: audit}\ndetection: {a: {verb: nothing}, condition: a}\nlevel: low\n"
    )
    (none / "other.yml").write_text(other)
    (weaker / "rule.yml").write_text(rule.read_text())
    code, out, err = leadsman("replay", "--diff", str(none), str(weaker))
    assert (code, out.count("\n+ ") + out.startswith("+ "), "4 added, 0 removed, 0 at another level" in err) == (
        0,
        4,
        True,
    )
    assert "4 removed" in leadsman("replay", "--diff", str(weaker), str(none))[2]
    assert "0 added, 0 removed" in leadsman("replay", "--diff", str(weaker), str(weaker))[2]


def test_what_cannot_be_read_is_named(leadsman, put, bootstrap, topics, tmp_path):
    put(range(10))
    AckedProducer(bootstrap).send([Outgoing(topics["audit.events"], None, b"no event", partition=1)])
    code, out, err = leadsman("replay", "-o", "jsonl")
    assert (code, len(ids(out))) == (3, 1)
    assert f"{topics['audit.events']}/1 offset 3: avro: no single-object header" in err
    code, _, err = leadsman("archive", str(tmp_path))
    assert (code, "10 records in 3 new files" in err, "not archived" in err) == (3, True, True)
    broken = next(tmp_path.rglob("*.avro"))
    broken.write_bytes(broken.read_bytes()[:-40])
    code, _, err = leadsman("replay", "--archive", str(tmp_path))
    assert (code, "no Avro file of an archive" in err) == (3, True), err
