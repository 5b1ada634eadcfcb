"""leadsman doctor over real topics: two hundred clusters, each told apart and told right."""

import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from leadsman_common.avro import audit_event_codec
from leadsman_common.clusters import load_clusters
from leadsman_common.kafka import AckedProducer, Outgoing
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize

pytestmark = pytest.mark.integration

REGISTRY = """
clusters:
%s
    - {name: never, provider: gcp, account: example-project, region: europe-west4}
    - {name: silent, expects: {k8s-audit: 1h, cloudtrail: 10m}, owner: team-a, tenant: shop}
    - {name: again, incarnation: "%s"}
"""


@pytest.fixture
def doctor(bootstrap, topic_prefix):
    """Give doctor(*arguments) -> (exit code, reports by cluster id)."""

    def run(*arguments, registry=None):
        env = {
            **os.environ,
            "LEADSMAN_KAFKA_BOOTSTRAP": bootstrap,
            "LEADSMAN_TOPIC_PREFIX": topic_prefix,
            **({"LEADSMAN_CLUSTERS": str(registry)} if registry else {}),
        }
        done = subprocess.run(
            [sys.executable, "-m", "leadsman_cli", "doctor", *arguments],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, {one["cluster"]: one for one in found}, done.stdout + done.stderr

    return run


def write_registry(path, incarnation):
    path.write_text(REGISTRY % ("\n".join(f"    - {{name: c-{at}}}" for at in range(200)), incarnation))
    return load_clusters(path)


def event(cluster, registry, audit_id="a", level="RequestResponse"):
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    value = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": audit_id,
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/n/pods",
        "verb": "create",
        "user": {"username": "u"},
        "objectRef": {"resource": "pods", "namespace": "n", "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": now,
        "stageTimestamp": now,
    }
    raw = RawEvent(json.dumps(value).encode(), format="k8s-audit", cluster=cluster, received_ms=int(time.time() * 1000))
    return normalize(raw, registry)


def test_two_hundred_clusters_each_right(bootstrap, topics, doctor, tmp_path):
    path, codec = tmp_path / "clusters.yaml", audit_event_codec()
    registry = write_registry(path, "1")
    events = [event(f"c-{at}", registry, f"{n}") for at in range(200) for n in range(at % 3 + 1)]
    events += [event("silent", registry), event("stranger", registry, level="Metadata"), event("again", registry)]
    registry = write_registry(path, "2")  # deleted and made anew
    events += [event("again", registry, f"n{n}") for n in range(2)]
    producer = AckedProducer(bootstrap)
    producer.send(Outgoing(topics["audit.events"], b"k", codec.encode(one)) for one in events)
    producer.send([Outgoing(topics["raw.k8s.dlq"], None, b"bad", [("cluster", b"c-7")])])

    code, found, text = doctor("-o", "json", registry=path)
    assert code == 1, text
    assert {f"///c-{at}" for at in range(200)} <= found.keys()
    counts = {at: found[f"///c-{at}"]["sources"]["k8s-audit"]["events"] for at in range(200)}
    assert counts == {at: at % 3 + 1 for at in range(200)}
    assert all(found[f"///c-{at}"]["findings"] == [] for at in range(200) if at != 7)
    assert [f["what"] for f in found["///c-7"]["findings"]] == ["1 records went to the dead letters"]
    never = found["gcp/example-project/europe-west4/never"]
    assert [(f["severity"], f["what"]) for f in never["findings"]] == [("broken", "nothing arrived within 1 h")]
    silent = found["///silent"]
    assert [f["what"] for f in silent["findings"]] == ["cloudtrail: expected within 10 min, silent for 1 h"]
    assert (silent["owner"], silent["tenant"]) == ("team-a", "shop")
    stranger = [f["what"] for f in found["///stranger"]["findings"]]
    assert stranger == ["stands in no entry of the registry", "writes are logged without their bodies (Metadata)"]
    assert not found["///stranger"]["claimed"]
    # the old cluster's events stay apart from the new one's of the same name
    assert (found["///again@1"]["sources"]["k8s-audit"]["events"], found["///again@2"]["name"]) == (1, "again")
    assert found["///again@2"]["sources"]["k8s-audit"]["events"] == 2

    metrics = tmp_path / "metrics"
    metrics.write_text('apiserver_audit_error_total{plugin="buffered"} 12\n')
    code, _, text = doctor("c-1", "--apiserver-metrics", str(metrics), registry=path)
    assert code == 1
    assert re.search(r"k8s-audit +2\b", text)
    assert "the API server dropped audit events since it started: 12 (buffered)" in text
