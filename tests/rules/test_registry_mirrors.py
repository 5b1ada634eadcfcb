"""A filter of a known agent holds behind the mirrors of clusters.yaml, and behind nothing that looks like one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.readers import Identity, read
from leadsman_cli.scan import Scanner
from leadsman_common.clusters import NO_CLUSTERS, load_clusters
from leadsman_detector.match import load

RULES = Path(__file__).parents[2] / "rules"
ONE_RULE = [RULES / "kubernetes" / "host-network-pod.yml", RULES / "lists"]
FILTER = """
title: Calico's agent uses the node's network
id: 5e0b8bd7-0a35-4d5b-9a6d-2d1f0c9b7f01
description: The agent of a network plugin sets up the node's network.
logsource: {product: kubernetes, service: audit}
filter:
    rules: [host-network-pod]
    place: {objectRef.namespace: calico-system}
    image:
        facts.pod.containers.image_host: [docker.io, quay.io]
        facts.pod.containers.image_repo: [calico/node, calico/cni]
    condition: not (place and image)
leadsman:
    every: facts.pod.containers
"""
CLUSTERS = """
clusters:
    - name: prod
      registry_mirrors:
          - {mirror: "registry.example.com:5000/hub", upstream: docker.io}
          - {mirror: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/docker-hub, upstream: docker.io}
"""


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "calico.yml").write_text(FILTER)
    loaded = load([*ONE_RULE, tmp_path / "filters"])
    assert [str(p) for p in loaded.problems] == []
    return loaded


@pytest.fixture
def clusters(tmp_path):
    path = tmp_path / "clusters.yaml"
    path.write_text(CLUSTERS)
    return path


def record(*images, namespace="calico-system"):
    body = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "calico-node-x7k2p", "namespace": namespace},
        "spec": {"hostNetwork": True, "containers": [{"name": f"c{n}", "image": i} for n, i in enumerate(images)]},
    }
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Request",
        "auditID": "a",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/{namespace}/pods",
        "verb": "create",
        "user": {"username": "alice"},
        "objectRef": {"resource": "pods", "namespace": namespace, "name": "calico-node-x7k2p", "apiVersion": "v1"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "stageTimestamp": "2026-11-23T10:00:00.000000Z",
        "requestObject": body,
    }
    return json.dumps(event).encode() + b"\n"


def level(rules, clusters, data, cluster="prod"):
    scanner = Scanner(rules, clusters)
    scanner.take(read("record", io.BytesIO(data), "auto", Identity(cluster=cluster), lambda _size: None))
    assert not scanner.found.bad
    return next((a["level"] for a in scanner.found.alerts.values()), "none")


@pytest.mark.parametrize(
    ("images", "namespace", "cluster", "wanted"),
    [
        (["docker.io/calico/node:v3.30.0"], "calico-system", "prod", "none"),
        (["calico/node"], "calico-system", "prod", "none"),
        (["mirror.gcr.io/calico/node"], "calico-system", "prod", "none"),
        (["registry.example.com:5000/hub/calico/node:v3.30.0"], "calico-system", "prod", "none"),
        (["111122223333.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/calico/node"], "calico-system", "prod", "none"),
        (["registry.example.com:5000/hub/calico/node", "quay.io/calico/cni"], "calico-system", "prod", "none"),
        (["registry.example.com:5000/hub/calico/node"], "calico-system", "other", "medium"),
        (["registry.example.com:5000/hub/calico/node"], "shop", "prod", "medium"),
        (["999988887777.dkr.ecr.eu-west-1.amazonaws.com/docker-hub/calico/node"], "calico-system", "prod", "medium"),
        (["111122223333.dkr.ecr.us-east-1.amazonaws.com/docker-hub/calico/node"], "calico-system", "prod", "medium"),
        (["111122223333.dkr.ecr.eu-west-1.amazonaws.com/calico/node"], "calico-system", "prod", "medium"),
        (["registry.example.com:5000/hubs/calico/node"], "calico-system", "prod", "medium"),
        (["registry.example.com/hub/calico/node"], "calico-system", "prod", "medium"),
        (["evil.example/registry.example.com:5000/hub/calico/node"], "calico-system", "prod", "medium"),
        (["registry.example.com:5000/hub/calico/node", "evil.example/x"], "calico-system", "prod", "medium"),
    ],
    ids=[
        "upstream", "upstream by its short name", "Google's cache of Docker Hub", "mirror",
        "pull-through of our own account",
        "all containers", "a cluster without the mirror", "another namespace", "a foreign account",
        "another region of the account", "the account without the prefix", "not by whole segments", "without the port",
        "the mirror's name as a path", "one container from elsewhere",
    ],
)  # fmt: skip
def test_a_filter_holds_behind_a_mirror(rules, clusters, images, namespace, cluster, wanted):
    assert level(rules, load_clusters(clusters), record(*images, namespace=namespace), cluster) == wanted


def test_without_the_registry_the_mirror_is_a_registry_as_any_other(rules):
    assert level(rules, NO_CLUSTERS, record("registry.example.com:5000/hub/calico/node")) == "medium"


def test_the_command_line_reads_the_registry(tmp_path, clusters, capsys, rules):
    assert rules
    log = tmp_path / "audit.log"
    log.write_bytes(record("registry.example.com:5000/hub/calico/node"))
    folders = [word for folder in (*ONE_RULE, tmp_path / "filters") for word in ("-r", str(folder))]
    scan = ["scan", "-o", "jsonl", "--cluster", "prod", *folders, str(log)]
    assert main(scan) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main([*scan, "--clusters", str(clusters)]) == 0
    assert capsys.readouterr().out == ""


def test_the_command_line_says_what_is_wrong_with_the_registry(tmp_path, capsys):
    log, bad = tmp_path / "audit.log", tmp_path / "clusters.yaml"
    log.write_bytes(record("nginx"))
    bad.write_text("clusters: [{account: 111122223333}]")
    assert main(["scan", "--clusters", str(bad), str(log)]) == 1
    assert "clusters.yaml: clusters, number 1: account: must be text" in capsys.readouterr().err
