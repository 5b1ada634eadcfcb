"""Which records that nobody here wrote a rule was seen to fire on: tests/golden/rules/proofs.json, for docs/rules.md.

`captured` are records as a cluster wrote them, `re-enveloped` such records in another cloud's envelope, `vendor` are
samples of a vendor's own tests.
"""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner

SLUGS = (
    "", "crypto-mining-image", "dangerous-container-command", "known-malicious-pod", "cluster-role-exec",
    "unauthenticated-request-allowed", "privileged-cluster-role", "pod-attach", "host-network-pod", "service-exposed",
    "privileged-container", "sensitive-volume", "unauthenticated-exec",
)  # fmt: skip
FORMATS = {"aks-record": "aks", "gke-logentry": "gke-logentry", "k8s-audit": "k8s-audit"}
BRIDGE = "sysdiglabs/stackdriver-webhook-bridge"


def fires(slug, name, data, form="auto"):
    scanner = Scanner(load_rules(()))
    scanner.take(read(name, io.BytesIO(data), form, Identity(), lambda _size: None))
    return any(a["rule"]["name"] == slug for a in scanner.found.above("medium"))


def recorded(corpora):
    """The recordings of a real API server, as they are and in CloudWatch's envelope."""
    folder = corpora / "kube-apiserver"
    for scenario in json.loads((folder / "scenarios.json").read_text()):
        if scenario["should_fire"]:
            slug, name = SLUGS[scenario["rule"]], scenario["file"]
            if fires(slug, name, (folder / name).read_bytes()):
                yield slug, "native", "captured"
            for part in sorted((folder / "cloudwatch").glob(name.removesuffix(".ndjson") + ".*.gz")):
                if fires(slug, part.name, part.read_bytes()):
                    yield slug, "eks", "re-enveloped"


def sampled(corpora):
    """Records that other projects publish with what must fire on them. The bridge's are entries of a real cluster."""
    for entry in json.loads((corpora / "index.json").read_bytes()):
        if entry["format"] not in FORMATS or (entry["source_repo"] == BRIDGE and entry["format"] != "gke-logentry"):
            continue
        for verdict in entry["verdicts"]:
            if not verdict["should_fire"] or not verdict["our_rule"]:
                continue
            data = (corpora / entry["file"]).read_bytes()
            if verdict["line"]:
                data = data.splitlines()[verdict["line"] - 1]
            slug = SLUGS[verdict["our_rule"]]
            if fires(slug, entry["file"], data, FORMATS[entry["format"]]):
                yield slug, entry["platform"], "captured" if entry["source_repo"] == BRIDGE else "vendor"


@pytest.mark.parametrize("name", ["rules/proofs.json"])
def test_what_real_records_prove(corpora, golden, name):
    counted = Counter([*recorded(corpora), *sampled(corpora)])
    found: dict[str, dict[str, list[str]]] = {}
    for slug, cloud, proof in sorted(counted):
        found.setdefault(slug, {}).setdefault(cloud, []).append(proof)
    golden(name, json.dumps(found, indent=1) + "\n")
    assert {slug for slug, clouds in found.items() if "captured" in clouds.get("native", ())} == set(SLUGS[1:])
