"""Everyday work of a cluster, made of small templates: what the two stories' attacks are hidden in.

Shapes are those of real records (kube-apiserver's audit events, GKE's LogEntry); every name is invented. None of
these may raise an alert above informational.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Record = dict[str, Any]

NODES = ("ip-10-20-31-7.eu-west-1.compute.internal", "ip-10-20-44-19.eu-west-1.compute.internal")
GKE_NODES = ("gke-analytics-prod-pool-1-3f9a61c2-9x2k", "gke-analytics-prod-pool-1-3f9a61c2-vb7t")
APPS = ("ledger-api", "checkout", "report-worker", "kiosk", "session-cache")
GKE_APPS = ("loader", "dashboards", "scheduler", "feature-store")
CONTROLLERS = ("endpointslice-controller", "replicaset-controller", "deployment-controller", "job-controller")
PROJECT = "example-analytics-prod"
VERSION = "v1.34.1 (linux/amd64) kubernetes/93248f9"


def eks(rng: random.Random, start: datetime, span: timedelta, count: int) -> list[Record]:
    """Return `count` native audit events spread over `span`, in order of time."""
    return [_eks_one(rng, at) for at in _times(rng, start, span, count)]


def gke(rng: random.Random, start: datetime, span: timedelta, count: int) -> list[Record]:
    """Return `count` LogEntry objects, likewise."""
    return [_gke_one(rng, at) for at in _times(rng, start, span, count)]


def _times(rng: random.Random, start: datetime, span: timedelta, count: int) -> list[datetime]:
    return sorted(start + span * rng.random() for _ in range(count))


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _uid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


# --- EKS: native events ----------------------------------------------------------------------------------------


def _eks_one(rng: random.Random, at: datetime) -> Record:
    makers: tuple[Callable[[random.Random], Record], ...] = (
        _lease,
        _node_status,
        _watch,
        _slice,
        _deploy,
        _read,
        _token,
    )
    event = rng.choices(makers, weights=(40, 10, 15, 12, 3, 12, 8))[0](rng)
    done = at + timedelta(milliseconds=rng.randint(2, 40))
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": event.pop("level", "Metadata"),
        "auditID": _uid(rng),
        "stage": "ResponseComplete",
        **event,
        "requestReceivedTimestamp": _stamp(at),
        "stageTimestamp": _stamp(done),
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }


def _request(
    verb: str, uri: str, user: Record, agent: str, ip: str, ref: Record | None, code: int = 200, **more: Any
) -> Record:
    event = {"requestURI": uri, "verb": verb, "user": user, "sourceIPs": [ip], "userAgent": agent}
    if ref is not None:
        event["objectRef"] = ref
    return {**event, "responseStatus": {"metadata": {}, "code": code}, **more}


def _node(node: str) -> Record:
    groups = ["system:bootstrappers", "system:nodes", "system:authenticated"]
    return {"username": f"system:node:{node}", "groups": groups}


def _account(namespace: str, name: str) -> Record:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {"username": f"system:serviceaccount:{namespace}:{name}", "groups": groups}


def _lease(rng: random.Random) -> Record:
    node = rng.choice(NODES)
    uri = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}?timeout=10s"
    ref = {"resource": "leases", "namespace": "kube-node-lease", "name": node, "apiGroup": "coordination.k8s.io"}
    return _request("update", uri, _node(node), f"kubelet/{VERSION}", "10.20.31.7", {**ref, "apiVersion": "v1"})


def _node_status(rng: random.Random) -> Record:
    node = rng.choice(NODES)
    ref = {"resource": "nodes", "name": node, "apiVersion": "v1", "subresource": "status"}
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    return _request(
        "patch",
        f"/api/v1/nodes/{node}/status?timeout=10s",
        _node(node),
        f"kubelet/{VERSION}",
        "10.20.44.19",
        ref,
        level="RequestResponse",
        requestObject={"status": {"conditions": conditions}},
        responseObject={"kind": "Node", "apiVersion": "v1", "metadata": {"name": node}, "status": {}},
    )


def _watch(rng: random.Random) -> Record:
    resource = rng.choice(("configmaps", "services", "nodes"))
    uri = f"/api/v1/{resource}?allowWatchBookmarks=true&resourceVersion=418712&timeoutSeconds=431&watch=true"
    agent = f"kube-scheduler/{VERSION}/scheduler"
    user = {"username": "system:kube-scheduler", "groups": ["system:authenticated"]}
    return _request("watch", uri, user, agent, "10.20.0.11", {"resource": resource, "apiVersion": "v1"})


def _slice(rng: random.Random) -> Record:
    app, controller = rng.choice(APPS), rng.choice(CONTROLLERS)
    uri = f"/apis/discovery.k8s.io/v1/namespaces/payments/endpointslices/{app}-r8x2c"
    ref = {"resource": "endpointslices", "namespace": "payments", "name": f"{app}-r8x2c", "apiVersion": "v1"}
    agent = f"kube-controller-manager/{VERSION}/system:serviceaccount:kube-system:{controller}"
    return _request(
        "update", uri, _account("kube-system", controller), agent, "10.20.0.11", {**ref, "apiGroup": "discovery.k8s.io"}
    )


def _deploy(rng: random.Random) -> Record:
    app = rng.choice(APPS)
    image = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/{app}:2026.11.{rng.randint(1, 9)}"
    uri = f"/apis/apps/v1/namespaces/payments/deployments/{app}?fieldManager=kubectl-set&fieldValidation=Strict"
    ref = {"resource": "deployments", "namespace": "payments", "name": app, "apiGroup": "apps", "apiVersion": "v1"}
    template = {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": app, "image": image}]}}
    arn = "arn:aws:sts::111122223333:assumed-role/release/argo"
    return _request(
        "patch",
        uri,
        {"username": arn, "groups": ["release", "system:authenticated"], "extra": {"arn": [arn]}},
        f"kubectl/{VERSION}",
        "10.20.8.30",
        ref,
        level="RequestResponse",
        requestObject={"spec": {"template": {"spec": {"containers": [{"name": app, "image": image}]}}}},
        responseObject={
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": {"name": app, "namespace": "payments", "resourceVersion": str(rng.randint(418_000, 430_000))},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": app}}, "template": template},
        },
    )


def _read(rng: random.Random) -> Record:
    who = rng.choice(("ana.lindqvist", "joao.pereira"))
    arn = f"arn:aws:sts::111122223333:assumed-role/developer/{who}"
    resource, namespace = rng.choice(("pods", "services", "configmaps")), rng.choice(("payments", "kiosk"))
    uri = f"/api/v1/namespaces/{namespace}/{resource}?limit=500"
    ref = {"resource": resource, "namespace": namespace, "apiVersion": "v1"}
    user = {"username": arn, "groups": ["developers", "system:authenticated"], "extra": {"arn": [arn]}}
    return _request("list", uri, user, f"kubectl/{VERSION}", "198.51.100.12", ref, level="Request")


def _token(rng: random.Random) -> Record:
    node, app = rng.choice(NODES), rng.choice(APPS)
    uri = f"/api/v1/namespaces/payments/serviceaccounts/{app}/token"
    ref = {"resource": "serviceaccounts", "namespace": "payments", "name": app, "apiVersion": "v1"}
    return _request(
        "create",
        uri,
        _node(node),
        f"kubelet/{VERSION}",
        "10.20.31.7",
        {**ref, "subresource": "token"},
        201,
        level="Request",
        requestObject={"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {"audiences": []}},
    )


# --- GKE: LogEntry ---------------------------------------------------------------------------------------------


def _gke_one(rng: random.Random, at: datetime) -> Record:
    makers: tuple[Callable[[random.Random], Record], ...] = (_health, _gke_lease, _gke_node, _gke_slice, _gke_deploy)
    payload = rng.choices(makers, weights=(25, 40, 12, 18, 5))[0](rng)
    who, method, name = payload["who"], payload["method"], payload["name"]
    uid = _uid(rng)
    return {
        "insertId": uid,
        "labels": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": payload.get("reason", "")},
        "logName": f"projects/{PROJECT}/logs/cloudaudit.googleapis.com%2F{payload.get('log', 'activity')}",
        "operation": {"first": True, "id": uid, "last": True, "producer": "k8s.io"},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "authenticationInfo": {"principalEmail": who},
            "authorizationInfo": [{"granted": True, "permission": method, "resource": name}],
            "methodName": method,
            "requestMetadata": {"callerIp": payload["ip"], "callerSuppliedUserAgent": payload["agent"]},
            "resourceName": name,
            "serviceName": "k8s.io",
            "status": {},
            **payload.get("bodies", {}),
        },
        "receiveTimestamp": _stamp(at + timedelta(milliseconds=rng.randint(300, 1200))),
        "resource": {
            "labels": {"cluster_name": "analytics-prod", "location": "europe-west4", "project_id": PROJECT},
            "type": "k8s_cluster",
        },
        "severity": "NOTICE",
        "timestamp": _stamp(at),
    }


def _health(rng: random.Random) -> Record:
    reason = (
        'RBAC: allowed by ClusterRoleBinding "system:public-info-viewer" of ClusterRole '
        '"system:public-info-viewer" to Group "system:unauthenticated"'
    )
    path = rng.choice(("readyz", "livez"))
    probe = {"who": "system:anonymous", "method": "io.k8s.get", "name": path, "ip": "172.16.0.4"}
    return {**probe, "agent": "kube-probe/1.33", "reason": reason, "log": "data_access"}


def _gke_lease(rng: random.Random) -> Record:
    account = rng.choice(("cluster-autoscaler", "pdcsi-controller", "ingress-gce"))
    name = f"coordination.k8s.io/v1/namespaces/kube-system/leases/{account}"
    who = f"system:serviceaccount:kube-system:{account}"
    method = "io.k8s.coordination.v1.leases.update"
    return {"who": who, "method": method, "name": name, "ip": "172.16.0.2", "agent": f"{account}/v0.0.0"}


def _gke_node(rng: random.Random) -> Record:
    node = rng.choice(GKE_NODES)
    return {
        "who": f"system:node:{node}",
        "method": "io.k8s.core.v1.nodes.status.patch",
        "name": f"core/v1/nodes/{node}/status",
        "ip": "10.164.0.5",
        "agent": "kubelet/v1.33.4 (linux/amd64) kubernetes/d2a3b1c",
    }


def _gke_slice(rng: random.Random) -> Record:
    app = rng.choice(GKE_APPS)
    return {
        "who": "system:serviceaccount:kube-system:endpointslice-controller",
        "method": "io.k8s.discovery.v1.endpointslices.update",
        "name": f"discovery.k8s.io/v1/namespaces/etl/endpointslices/{app}-q5wzk",
        "ip": "172.16.0.2",
        "agent": "kube-controller-manager/v1.33.4 (linux/amd64) kubernetes/d2a3b1c",
    }


def _gke_deploy(rng: random.Random) -> Record:
    app = rng.choice(GKE_APPS)
    image = f"europe-west4-docker.pkg.dev/{PROJECT}/images/{app}:r{rng.randint(400, 480)}"
    spec = {"template": {"spec": {"containers": [{"name": app, "image": image}]}}}
    meta = {"name": app, "namespace": "etl", "resourceVersion": str(rng.randint(99_000_000, 99_900_000))}
    kind = {"@type": "apps.k8s.io/v1.Deployment", "apiVersion": "apps/v1", "kind": "Deployment"}
    return {
        "who": f"releases@{PROJECT}.iam.gserviceaccount.com",
        "method": "io.k8s.apps.v1.deployments.patch",
        "name": f"apps/v1/namespaces/etl/deployments/{app}",
        "ip": "10.164.2.9",
        "agent": "argocd-application-controller/v3.1.8",
        "reason": "access granted by IAM permissions.",
        "bodies": {
            "request": {"@type": "k8s.io/Patch", "spec": spec},
            "response": {**kind, "metadata": meta, "spec": spec},
        },
    }
