"""What a user switches on: a list in a folder of rules of one's own takes the place of the shipped one."""

from __future__ import annotations

import io
import json

import pytest

from leadsman_cli.readers import Identity, read
from leadsman_cli.scan import Scanner
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir

OPENED = {
    "clusters-with-public-cluster-info": ("/api/v1/namespaces/kube-public/configmaps/cluster-info", "cluster-info"),
    "clusters-with-public-openid-discovery": ("/openid/v1/jwks", ""),
}


def anonymous(uri, name):
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "7b1cef39-13e7-4611-9163-b764ae17584a",
        "stage": "ResponseComplete",
        "requestURI": uri,
        "verb": "get",
        "user": {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
        "sourceIPs": ["203.0.113.24"],
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-11-02T09:57:18.770575Z",
        "stageTimestamp": "2026-11-02T09:57:18.780575Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    if name:
        event["objectRef"] = {"resource": "configmaps", "namespace": "kube-public", "name": name, "apiVersion": "v1"}
    return json.dumps(event).encode()


@pytest.fixture(scope="module")
def shipped():
    return load([default_rules_dir()])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The shipped rules with both lists of a user who opened the cluster `harbour`."""
    own = tmp_path_factory.mktemp("own")
    for name in OPENED:
        (own / f"{name}.yml").write_text("values:\n    - harbour  # opened on purpose\n")
    return load([default_rules_dir(), own])


def fired(rules, data, cluster):
    scanner = Scanner(rules)
    scanner.take(read("e.json", io.BytesIO(data), "auto", Identity(cluster=cluster), lambda _size: None))
    return [a["rule"]["name"] for a in scanner.found.alerts.values()]


@pytest.mark.parametrize("name", OPENED)
def test_a_cluster_that_is_named_is_left_out_and_no_other(shipped, opened, name):
    data = anonymous(*OPENED[name])
    assert fired(shipped, data, "harbour") == ["unauthenticated-request-allowed"]
    assert fired(opened, data, "harbour") == []
    assert fired(opened, data, "shipyard") == ["unauthenticated-request-allowed"]
    assert fired(opened, data, "") == ["unauthenticated-request-allowed"]


def test_nothing_else_passes_with_it(opened):
    assert fired(opened, anonymous("/api/v1/namespaces/kube-public/configmaps/x", "x"), "harbour")
    assert fired(opened, anonymous("/openid/v1/jwks/../secrets", ""), "harbour")
