"""Two hundred clusters at one webhook, two hundred more on one stream: each under its own name, and doctor right."""

import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import pytest
from groups import at_work
from other_paths import Gcp

from leadsman_common.avro import audit_event_codec

pytestmark = pytest.mark.integration

COUNT = 200
TOKEN = "0123456789abcdef-all"


def now():
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def posted(cluster, number):
    """An EventList with an audit event of a cluster."""
    event = {
        "level": "Metadata",
        "auditID": f"{cluster}-{number}",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/n/pods",
        "verb": "create",
        "user": {"username": f"of-{cluster}"},
        "objectRef": {"resource": "pods", "namespace": "n", "name": cluster, "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": now(),
        "stageTimestamp": now(),
    }
    return json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]})


def logged(cluster, number):
    """A LogEntry of a cluster."""
    labels = {"cluster_name": cluster, "location": "europe-west4", "project_id": "example-project"}
    return {
        "insertId": f"{cluster}-{number}",
        "logName": "projects/example-project/logs/cloudaudit.googleapis.com%2Factivity",
        "operation": {"id": f"{cluster}-{number}", "first": True, "last": True, "producer": "k8s.io"},
        "resource": {"type": "k8s_cluster", "labels": labels},
        "timestamp": now(),
        "protoPayload": {
            "serviceName": "k8s.io",
            "methodName": "io.k8s.core.v1.pods.create",
            "resourceName": f"core/v1/namespaces/n/pods/{cluster}",
            "authenticationInfo": {"principalEmail": f"of-{cluster}"},
            "authorizationInfo": [{"granted": True, "permission": "io.k8s.core.v1.pods.create"}],
            "status": {},
        },
    }


def test_each_is_told_apart_and_told_right(
    bootstrap, topic_prefix, run_service, records_of, eventually, pubsub_emulator, monkeypatch, tmp_path
):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    gcp = Gcp(pubsub_emulator)
    (tmp_path / "senders").write_text(f"* token:{TOKEN}\n")
    entries = [f"    - {{name: k-{at}, tenant: t-{at % 3}, expects: {{k8s-audit: 1h}}}}" for at in range(COUNT)]
    entries += [f"    - {{name: g-{at}, provider: gcp, owner: o-{at % 5}}}" for at in range(COUNT)]
    registry = tmp_path / "clusters.yaml"
    registry.write_text("clusters:\n" + "\n".join(entries) + "\n    - {name: k-dark, expects: [k8s-audit]}\n")
    webhook = run_service(
        "leadsman_ingest_k8s", {"LEADSMAN_LISTEN_PORT": "0", "LEADSMAN_AUDIT_SENDERS": str(tmp_path / "senders")}
    )
    run_service("leadsman_ingest_gcp", gcp.env)
    for _ in range(2):
        run_service("leadsman_normalizer", {"LEADSMAN_CLUSTERS": str(registry)})
    eventually("taking requests", lambda: webhook.lines("taking requests"), 60)
    # a worker that joined in the middle might have a record told twice, which would be right
    group = f"{topic_prefix}leadsman-normalizer"
    eventually("both normalizers at work", lambda: at_work(bootstrap, group) == 2, 120)

    counts = {at: at % 3 + 1 for at in range(COUNT)}
    connection = http.client.HTTPConnection("127.0.0.1", webhook.lines("taking requests")[-1]["port"], timeout=30)
    for at, count in counts.items():
        for number in range(count):
            headers = {"Authorization": f"Bearer {TOKEN}"}
            connection.request("POST", f"/audit/k-{at}", posted(f"k-{at}", number), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
    connection.close()
    gcp.publish([json.dumps(logged(f"g-{at}", n)).encode() for at, count in counts.items() for n in range(count)])
    gcp.close()

    wanted = 2 * sum(counts.values())
    events = [audit_event_codec().decode(record.value()) for record in records_of("audit.events", wanted, 120)]
    unlike = [e["id"] for e in events if e["actor"]["name"] != f"of-{e['cluster']['name']}"]
    assert unlike == []
    assert {e["objectRef"]["name"] == e["cluster"]["name"] for e in events} == {True}
    ids = Counter(event["cluster"]["id"] for event in events)
    assert ids == {
        **{f"///k-{at}": count for at, count in counts.items()},
        **{f"gcp/example-project/europe-west4/g-{at}": count for at, count in counts.items()},
    }

    done = subprocess.run(
        [sys.executable, "-m", "leadsman_cli", "doctor", "--clusters", str(registry), "-o", "json"],
        env={**os.environ, "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap, "LEADSMAN_TOPIC_PREFIX": topic_prefix},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    found = {one["cluster"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {*ids, "///k-dark"}
    for at, count in counts.items():
        own, other = found[f"///k-{at}"], found[f"gcp/example-project/europe-west4/g-{at}"]
        assert (own["sources"]["k8s-audit"]["events"], own["tenant"], own["claimed"]) == (count, f"t-{at % 3}", True)
        assert (other["sources"]["gke-logentry"]["events"], other["owner"]) == (count, f"o-{at % 5}")
        assert [f["what"] for f in own["findings"]] == ["writes are logged without their bodies (Metadata)"]
    assert found["///k-dark"]["findings"][0]["severity"] == "broken"
