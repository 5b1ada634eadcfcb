"""What vendors say of their own samples, where their rule is the same idea as ours: we agree, or say why not."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner

SLUGS = (
    "", "crypto-mining-image", "dangerous-container-command", "known-malicious-pod", "cluster-role-exec",
    "unauthenticated-request-allowed", "privileged-cluster-role", "pod-attach", "host-network-pod", "service-exposed",
    "privileged-container", "sensitive-volume", "unauthenticated-exec",
)  # fmt: skip
NO_LOGS = {"k8s-manifest", "gke-go-client"}
FORMATS = {"aks-record": "aks", "gke-logentry": "gke-logentry", "k8s-audit": "k8s-audit"}
# (file, line): why we decide otherwise. Lines count from 1; None is the whole file.
PANTHER = "panther-analysis"
OTHERWISE: dict[tuple[str, int | None], str] = {
    (f"{PANTHER}/aws_eks_rules/anonymous_api_access.k8s-audit.ndjson", 2): (
        "GET /version is a public path of every cluster (DETECTIONS R5)"
    ),
    (f"{PANTHER}/gcp_k8s_rules/gcp_k8s_privileged_pod_created.gke-logentry.ndjson", 3): (
        "a service account of the project is no excuse for a privileged pod"
    ),
    (f"{PANTHER}/gcp_k8s_rules/gcp_k8s_privileged_pod_created.gke-logentry.ndjson", 4): (
        "kube-system alone is no excuse: an attacker picks the namespace (DETECTIONS 1.9)"
    ),
    (f"{PANTHER}/kubernetes_rules/k8s_pod_hostpath_volume.aks-record.ndjson", 1): (
        "/mnt/data lies below a data directory: low (DETECTIONS R11)"
    ),
    (f"{PANTHER}/kubernetes_rules/k8s_privileged_pod_created.k8s-audit.ndjson", 1): (
        "a container that runs as root is not privileged (DETECTIONS R10)"
    ),
    (f"{PANTHER}/kubernetes_rules/k8s_privileged_pod_created.k8s-audit.ndjson", 2): (
        "a container that runs as root is not privileged (DETECTIONS R10)"
    ),
}


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def records(corpora, entry, line):
    """The bytes that a verdict speaks of."""
    data = (corpora / entry["file"]).read_bytes()
    if entry["file"].endswith(".yaml"):
        data = json.dumps(yaml.safe_load(data), default=str).encode()
    return data.splitlines()[line - 1] if line else data


def levels(rules, entry, data, slug):
    scanner = Scanner(rules)
    scanner.take(
        read(entry["file"], io.BytesIO(data), FORMATS.get(entry["format"], "auto"), Identity(), lambda _n: None)
    )
    return [a["level"] for a in scanner.found.above("medium") if a["rule"]["name"] == slug]


def test_verdicts_of_the_same_idea(corpora, rules):
    asked, differ = 0, {}
    for entry in json.loads((corpora / "index.json").read_bytes()):
        if entry["format"] in NO_LOGS:
            continue
        for verdict in entry["verdicts"]:
            if verdict["match"] != "exact":
                continue
            asked += 1
            fired = levels(rules, entry, records(corpora, entry, verdict["line"]), SLUGS[verdict["our_rule"]])
            if bool(fired) is not verdict["should_fire"]:
                differ[entry["file"], verdict["line"]] = (SLUGS[verdict["our_rule"]], fired, verdict.get("case"))
    assert asked > 60
    assert {key: said for key, said in differ.items() if key not in OTHERWISE} == {}
    assert set(OTHERWISE) - set(differ) == set()
