"""Each line of docs/unauthenticated.md: what it says of a record is what the normalizer makes of it, on each cloud."""

import json
from pathlib import Path

import pytest

from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize

PAGE = Path(__file__).parents[3] / "docs" / "unauthenticated.md"
ANONYMOUS = {"username": "system:anonymous", "groups": ["system:unauthenticated"]}
ADMIN = {"username": "ada@example.com", "groups": ["system:masters", "system:authenticated"]}
REASON = 'RBAC: allowed by ClusterRoleBinding "open" of ClusterRole "view" to Group "system:unauthenticated"'
PUBLIC = (
    'RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole "system:public-info-viewer" '
    'to Group "system:unauthenticated"'
)
SECRETS = {"resource": "secrets", "namespace": "web", "apiVersion": "v1"}
EXEC = {"resource": "pods", "namespace": "web", "name": "x", "apiVersion": "v1", "subresource": "exec"}


def native(user, code, decision="", reason="", **more):
    annotations = {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason} if decision else {}
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "a-1",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/web/secrets",
        "verb": "list",
        "user": user,
        "sourceIPs": ["203.0.113.7"],
        "objectRef": SECRETS,
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": "2026-11-23T10:00:00.000000Z",
        "annotations": annotations,
        **more,
    }


def gke(who, grpc, decision="", granted=None, **more):
    payload = {
        "serviceName": "k8s.io",
        "methodName": more.pop("method", "io.k8s.core.v1.secrets.list"),
        "resourceName": more.pop("name", "core/v1/namespaces/web/secrets"),
        "authorizationInfo": [{"permission": "x", **({"granted": True} if granted else {})}],
        "requestMetadata": {"callerIp": "203.0.113.7"},
        "status": {"code": grpc} if grpc else {},
    }
    if granted is None:
        del payload["authorizationInfo"]
    if who is not None:
        payload["authenticationInfo"] = {"principalEmail": who} if isinstance(who, str) else who
    return {
        "insertId": "i-1",
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Fdata_access",
        "timestamp": "2026-11-23T10:00:00Z",
        "labels": {"authorization.k8s.io/decision": decision} if decision else {},
        "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "harbour"}},
        "protoPayload": payload,
    }


FORBIDDEN = native(ANONYMOUS, 403, "forbid")
ALLOWED = native(ANONYMOUS, 200, "allow", REASON)
PROBE = {"requestURI": "/readyz", "verb": "get", "objectRef": None}
REFUSED = {"reason": "Unauthorized", "status": "Failure"}
SHELL = {"requestURI": "/api/v1/namespaces/web/pods/x/exec?command=sh", "verb": "create", "objectRef": EXEC}
SHELL_GKE = {"method": "io.k8s.core.v1.pods.exec.create", "name": "core/v1/namespaces/web/pods/x/exec", "granted": True}
RECORDS = {
    "no-credentials-refused": [FORBIDDEN, gke("system:anonymous", 7, "forbid", granted=False)],
    "no-credentials-refused-bare": [FORBIDDEN, gke("system:anonymous", 7, granted=False)],
    "no-credentials-allowed": [ALLOWED, gke("system:anonymous", 0, "allow", granted=True)],
    "principal-missing": [ALLOWED, gke(None, 0, granted=True), gke({}, 0, "allow", granted=True)],
    "selector-only": [ALLOWED, gke({"authoritySelector": "system:anonymous"}, 0, granted=True)],
    "health-probe": [
        native(ANONYMOUS, 200, "allow", PUBLIC, **PROBE),
        gke("system:anonymous", 0, "allow", granted=True, method="io.k8s.get", name="readyz"),
    ],
    "allowed-not-found": [native(ANONYMOUS, 404, "allow", REASON), gke("system:anonymous", 5, "allow", granted=True)],
    "exec-opened": [
        native(ANONYMOUS, 101, "allow", REASON, **SHELL),
        gke("system:anonymous", 2, "allow", **SHELL_GKE),
        gke("system:anonymous", 0, **SHELL_GKE),
    ],
    "bad-token": [
        native({}, 401, responseStatus={"code": 401, **REFUSED, "message": "Authentication failed, attempted: bearer"}),
        gke(None, 16),
        gke({}, 16),
    ],
    "anonymous-off": [
        native({}, 401, responseStatus={"code": 401, **REFUSED, "message": "no credentials provided"}),
        gke(None, 16),
    ],
    "impersonating": [
        native(ADMIN, 200, "allow", impersonatedUser=ANONYMOUS),
        gke({"principalEmail": "ada@example.com", "authoritySelector": "system:anonymous"}, 0, "allow", granted=True),
    ],
    "odd-name": [
        native({"username": "system:unauthenticated"}, 200, "allow"),
        gke("system:unauthenticated", 0, "allow", granted=True),
    ],
    "aws-anonymous": [
        {
            "eventSource": "eks.amazonaws.com",
            "eventName": "ListClusters",
            "eventTime": "2026-11-23T10:00:00Z",
            "userIdentity": {"type": "AWSAccount", "accountId": "ANONYMOUS_PRINCIPAL"},
        }
    ],
}


def cases():
    """The lines of the page's table: name -> what Leadsman says."""
    page = PAGE.read_text(encoding="utf-8").partition("<!-- cases: read by the test -->")[2]
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    return {row[0].partition(":")[0].strip(): dict(pair.split("=") for pair in row[-1].split()) for row in rows}


def said(event):
    outcome = event["outcome"]
    return {
        "class": event["actor"]["class"],
        "unauthenticated": str(event["actor"]["unauthenticated"]).lower(),
        "authz": outcome["authz"],
        "http": str(outcome["http"]),
        "effective": str(outcome["effective"]).lower(),
    }


def wrapped(record):
    """A native event as AKS carries it."""
    return {"category": "kube-audit", "operationName": "x", "properties": {"log": json.dumps(record)}}


def test_the_page_and_the_records_name_the_same_cases():
    assert cases().keys() == RECORDS.keys()


@pytest.mark.parametrize("name", RECORDS)
def test_a_case_is_as_the_page_says(name):
    wanted = cases()[name]
    for record in RECORDS[name]:
        forms = [record, wrapped(record)] if "auditID" in record else [record]
        for form in forms:
            event = normalize(RawEvent(value=json.dumps(form).encode()))
            assert said(event) == wanted, form
            if record.get("kind") == "Event":
                eks = normalize(RawEvent(value=json.dumps(record).encode(), format="eks-audit", provider="aws"))
                assert said(eks) == wanted
