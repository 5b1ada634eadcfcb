"""Component versions out of user agents: of trusted actors, on the requests by which they say that they live."""

from __future__ import annotations

import json

import pytest

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.head import peek
from leadsman_normalizer.normalize import normalize

NODE = {"username": "system:node:ip-10-0-1-7", "groups": ["system:nodes", "system:authenticated"]}
SCHEDULER = {"username": "system:kube-scheduler", "groups": ["system:authenticated"]}
PERSON = {"username": "mallory@example.com", "groups": ["system:authenticated"]}
LEASE = {"resource": "leases", "apiGroup": "coordination.k8s.io", "namespace": "kube-system", "name": "kube-scheduler"}
NODE_STATUS = {"resource": "nodes", "name": "ip-10-0-1-7", "subresource": "status"}
POD = {"resource": "pods", "namespace": "shop", "name": "web"}

# user, verb, object, user agent -> (component, version) or None
CASES = {
    "a scheduler's lease": (
        SCHEDULER,
        "update",
        LEASE,
        "kube-scheduler/v1.34.1 (linux/amd64) kubernetes/93248f9",
        ("kube-scheduler", "v1.34.1"),
    ),
    "a node's status": (
        NODE,
        "patch",
        NODE_STATUS,
        "kubelet/v1.33.5-eks-113cf36 (linux/amd64) kubernetes/1",
        ("kubelet", "v1.33.5-eks-113cf36"),
    ),
    "a person who says so": (PERSON, "update", LEASE, "kube-scheduler/v1.34.1 (linux/amd64) kubernetes/1", None),
    "another request": (NODE, "get", POD, "kubelet/v1.33.5 (linux/amd64) kubernetes/1", None),
    "no version": (SCHEDULER, "update", LEASE, "Go-http-client", None),
    "a browser": (SCHEDULER, "update", LEASE, "Mozilla/5.0 (X11)", None),
    "text of an attacker's": (SCHEDULER, "update", LEASE, "kubelet/v1.2'; drop", None),
}


@pytest.mark.parametrize(("user", "verb", "ref", "agent", "told"), CASES.values(), ids=CASES)
def test_component(user, verb, ref, agent, told):
    record = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "1",
        "stage": "ResponseComplete",
        "requestURI": "/x",
        "verb": verb,
        "user": user,
        "sourceIPs": ["10.0.1.7"],
        "userAgent": agent,
        "objectRef": ref,
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-11-20T10:00:00.000000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    raw = RawEvent(json.dumps(record).encode())
    event = normalize(raw)
    facts = event["facts"] and event["facts"]["control_plane"]
    assert (facts and (facts["component"], facts["version"])) == told
    assert bool(event["flags"] & Flag.HAS_CONTROL_PLANE) is (told is not None)
    head = peek(raw)
    assert head.flags & head.known == event["flags"] & head.known
