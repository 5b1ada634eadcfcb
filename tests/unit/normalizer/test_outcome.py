"""The authorisation decision, the reason taken apart, and the outcome (DETECTIONS 1.2)."""

import json

import pytest
from records import event_of, native, record

from leadsman_common.events import Flag
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.outcome import Allowed, mapped, parse_reason

REASONS = {
    'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to Group "g"': Allowed(
        "ClusterRoleBinding", "", "b", "ClusterRole", "r", "Group", "g"
    ),
    'RBAC: allowed by RoleBinding "b/ns" of Role "r" to User "u@example.com"': Allowed(
        "RoleBinding", "ns", "b", "Role", "r", "User", "u@example.com"
    ),
    'RBAC: allowed by RoleBinding "b/ns" of ClusterRole "r" to ServiceAccount "sa/web"': Allowed(
        "RoleBinding", "ns", "b", "ClusterRole", "r", "ServiceAccount", "system:serviceaccount:web:sa"
    ),
    'RBAC: allowed by ClusterRoleBinding "a \\"b\\"" of ClusterRole "r" to User "u"': Allowed(
        "ClusterRoleBinding", "", 'a "b"', "ClusterRole", "r", "User", "u"
    ),
    "EKS Access Policy: allowed by AmazonEKSClusterAdminPolicy": Allowed(),
    'user "RBAC: x" is none': Allowed(),
    "": Allowed(),
}


@pytest.mark.parametrize(("reason", "wanted"), REASONS.items())
def test_parse_reason(reason, wanted):
    assert parse_reason(reason) == wanted


@pytest.mark.parametrize(
    ("decision", "reason", "code", "authz", "effective"),
    [
        ("allow", "", 200, "allow", True),
        ("allow", "", 201, "allow", True),
        ("allow", "", 101, "allow", True),
        ("allow", "", 403, "allow", False),
        ("allow", "", 0, "allow", True),
        (None, "", 0, "none", True),
        ("forbid", "no", 0, "forbid", False),
        (None, "webhook failed", 0, "error", False),
        ("allow", "", 404, "allow", False),
        ("forbid", "no", 403, "forbid", False),
        (None, "", 401, "none", False),
        (None, "", 200, "none", True),
        (None, "webhook failed", 500, "error", False),
    ],
)
def test_native(decision, reason, code, authz, effective):
    annotations = {"authorization.k8s.io/reason": reason}
    if decision:
        annotations["authorization.k8s.io/decision"] = decision
    event = event_of(native("create", "pods", annotations=annotations, responseStatus={"code": code}))
    outcome = event["outcome"]
    assert (outcome["authz"], outcome["effective"], outcome["http"], outcome["grpc"]) == (authz, effective, code, -1)
    assert bool(event["flags"] & Flag.EFFECTIVE) is effective
    assert bool(event["flags"] & Flag.FORBIDDEN) is (authz == "forbid")
    assert bool(event["flags"] & Flag.FAILED) is (code >= 400)


@pytest.mark.parametrize(
    ("grpc", "verb", "streaming", "http"),
    [
        (0, "get", False, 200),
        (0, "create", False, 201),
        (0, "create", True, 101),
        (2, "create", True, 101),
        (2, "create", False, 500),
        (3, "create", False, 400),
        (5, "get", True, 404),
        (6, "create", False, 409),
        (7, "get", False, 403),
        (10, "update", False, 409),
        (16, "get", False, 401),
        (99, "get", False, 500),
    ],
)
def test_grpc_codes(grpc, verb, streaming, http):
    assert mapped(grpc, verb, streaming=streaming) == http


def gke(slug="unauthenticated-request-allowed", labels=None, **payload):
    entry = json.loads(record(slug, "gke").value)
    entry["labels"] = labels or {}
    entry["protoPayload"].update(payload)
    event = normalize(RawEvent(json.dumps(entry).encode(), format="gke-logentry"))
    assert isinstance(event, dict)
    return event


GKE = {
    "granted": ({"status": {}}, "unauthenticated", "allow", True),
    "granted false, refused": (
        {"authorizationInfo": [{"granted": False}], "status": {"code": 7}},
        "unauthenticated",
        "forbid",
        False,
    ),
    "granted left out": ({"authorizationInfo": [{}], "status": {"code": 7}}, "unauthenticated", "forbid", False),
    "served, nothing said of authorisation": (
        {"authorizationInfo": [], "status": {}},
        "unauthenticated",
        "allow",
        True,
    ),
    "refused, nothing said": ({"authorizationInfo": [], "status": {"code": 7}}, "unauthenticated", "forbid", False),
    "granted, then refused by admission": ({"status": {"code": 7}}, "unauthenticated", "allow", False),
    "principal missing": ({"authenticationInfo": {}, "status": {}}, "unauthenticated", "allow", True),
    "anonymous as selector": (
        {"authenticationInfo": {"authoritySelector": "system:anonymous"}, "status": {}},
        "unauthenticated",
        "allow",
        True,
    ),
    "impersonating anonymous": (
        {"authenticationInfo": {"principalEmail": "a@example.com", "authoritySelector": "system:anonymous"}},
        "human",
        "allow",
        True,
    ),
    "bad token": (
        {"authenticationInfo": {}, "authorizationInfo": [], "status": {"code": 16}},
        "failed_auth",
        "none",
        False,
    ),
    "a workforce principal": (
        {"authenticationInfo": {"principalSubject": "principal://iam.googleapis.com/x/subject/ada"}},
        "human",
        "allow",
        True,
    ),
    "the cloud's own": (
        {"authenticationInfo": {"principalEmail": "service-1@container-engine-robot.iam.gserviceaccount.com"}},
        "managed_cloud",
        "allow",
        True,
    ),
}


@pytest.mark.parametrize(("payload", "actor", "authz", "effective"), GKE.values(), ids=GKE.keys())
def test_gke(payload, actor, authz, effective):
    event = gke(**payload)
    assert (event["actor"]["class"], event["outcome"]["authz"], event["outcome"]["effective"]) == (
        actor,
        authz,
        effective,
    )
    assert event["outcome"]["grpc"] == payload.get("status", {}).get("code", 0)


def test_gkes_label_decides_over_granted():
    event = gke(labels={"authorization.k8s.io/decision": "forbid"}, status={"code": 7})
    assert event["outcome"]["authz"] == "forbid"


@pytest.mark.parametrize(
    ("response", "effective", "http"),
    [
        ({"status": "Failure"}, False, 0),
        ({"kind": "Status", "status": "Failure", "reason": "AlreadyExists"}, False, 0),
        ({"kind": "Status", "status": "Success"}, True, 201),
        ({"kind": "Pod", "status": {"reason": "Failure"}}, True, 201),
        ({"kind": "Widget", "status": "Failure"}, True, 201),
    ],
)
def test_a_failure_without_a_code(response, effective, http):
    outcome = gke("privileged-container", response=response)["outcome"]
    assert (outcome["effective"], outcome["http"], outcome["authz"]) == (effective, http, "allow")


def test_a_native_failure_without_a_code():
    event = event_of(native("create", "pods", responseStatus={"status": "Failure", "reason": "Forbidden"}))
    assert (event["outcome"]["effective"], event["outcome"]["http"]) == (False, 0)
    assert not event["flags"] & Flag.EFFECTIVE


def test_the_status_in_a_response_is_preferred():
    response = {
        "@type": "core.k8s.io/v1.Status",
        "code": 422,
        "reason": "Invalid",
        "message": "no",
        "status": "Failure",
    }
    event = gke("privileged-container", status={"code": 3}, response=response)
    assert event["responseStatus"] == {"code": 422, "status": "Failure", "reason": "Invalid", "message": "no"}
    assert (event["outcome"]["http"], event["coverage"]["body"]) == (422, "request")


def test_one_stream_is_one_event_on_gke():
    entry = json.loads(record("pod-attach", "gke").value)
    first = json.loads(json.dumps(entry))
    first["operation"] = {"id": entry["operation"]["id"], "first": True}
    first["timestamp"] = "2026-11-02T08:00:00Z"
    first["protoPayload"]["status"] = {}
    ids = [normalize(RawEvent(json.dumps(e).encode(), format="gke-logentry"))["id"] for e in (first, entry)]
    assert ids[0] == ids[1]


def test_one_request_is_one_event_and_another_is_not():
    base = native("create", "pods", ref={"subresource": "exec"}, requestURI="/x?command=id")
    ids = {event_of({**base, "stage": stage})["id"] for stage in ("ResponseStarted", "ResponseComplete", "Panic")}
    assert len(ids) == 1
    for other in (
        {"auditID": "b"},
        {"requestURI": "/x?command=ls"},
        {"requestReceivedTimestamp": "2026-11-02T09:00:00.123457Z"},
        {"user": {"username": "eve"}},
        {"verb": "get"},
    ):
        assert event_of({**base, **other})["id"] not in ids
