"""GKE's methodName and resourceName, one table."""

import pytest

from leadsman_normalizer.sources.gke_names import Name, parse_name

RBAC = "rbac.authorization.k8s.io"
CASES = {
    "pod in a namespace": (
        ("io.k8s.core.v1.pods.create", "core/v1/namespaces/web/pods/api-0"),
        Name("create", "", "v1", "web", "pods", "api-0"),
    ),
    "create without a name, as older logs have it": (
        ("io.k8s.core.v1.pods.create", "core/v1/namespaces/web/pods"),
        Name("create", "", "v1", "web", "pods"),
    ),
    "exec": (
        ("io.k8s.core.v1.pods.exec.create", "core/v1/namespaces/web/pods/api-0/exec"),
        Name("create", "", "v1", "web", "pods", "api-0", "exec"),
    ),
    "exec, the name repeated": (
        ("io.k8s.core.v1.pods.exec.create", "core/v1/namespaces/web/pods/api-0/exec/api-0"),
        Name("create", "", "v1", "web", "pods", "api-0", "exec"),
    ),
    "watch by an old path": (
        ("io.k8s.core.v1.secrets.watch", "core/v1/watch/namespaces/web/secrets"),
        Name("watch", "", "v1", "web", "secrets"),
    ),
    "watch of the whole cluster by an old path": (
        ("io.k8s.core.v1.secrets.watch", "core/v1/watch/secrets"),
        Name("watch", "", "v1", "", "secrets"),
    ),
    "attach by websocket": (
        ("io.k8s.core.v1.pods.attach.get", "core/v1/namespaces/web/pods/api-0/attach"),
        Name("get", "", "v1", "web", "pods", "api-0", "attach"),
    ),
    "node": (("io.k8s.core.v1.nodes.get", "core/v1/nodes/n1"), Name("get", "", "v1", "", "nodes", "n1")),
    "node's proxy: five parts and no namespace": (
        ("io.k8s.core.v1.nodes.proxy.get", "core/v1/nodes/n1/proxy"),
        Name("get", "", "v1", "", "nodes", "n1", "proxy"),
    ),
    "node's proxy with the kubelet's path": (
        ("io.k8s.core.v1.nodes.proxy.create", "core/v1/nodes/n1/proxy/run/web/api-0/app"),
        Name("create", "", "v1", "", "nodes", "n1", "proxy", "run/web/api-0/app"),
    ),
    "pod's proxy": (
        ("io.k8s.core.v1.pods.proxy.get", "core/v1/namespaces/web/pods/api-0:8080/proxy/metrics"),
        Name("get", "", "v1", "web", "pods", "api-0:8080", "proxy", "metrics"),
    ),
    "namespace": (
        ("io.k8s.core.v1.namespaces.delete", "core/v1/namespaces/web"),
        Name("delete", "", "v1", "web", "namespaces", "web"),
    ),
    "new namespace": (
        ("io.k8s.core.v1.namespaces.create", "core/v1/namespaces/web"),
        Name("create", "", "v1", "", "namespaces", "web"),
    ),
    "new namespace without a name": (
        ("io.k8s.core.v1.namespaces.create", "core/v1/namespaces"),
        Name("create", "", "v1", "", "namespaces"),
    ),
    "namespace's subresource": (
        ("io.k8s.core.v1.namespaces.finalize.update", "core/v1/namespaces/web/finalize"),
        Name("update", "", "v1", "web", "namespaces", "web", "finalize"),
    ),
    "short group in the method, full one in the name": (
        ("io.k8s.authorization.rbac.v1.clusterroles.create", f"{RBAC}/v1/clusterroles/helper"),
        Name("create", RBAC, "v1", "", "clusterroles", "helper"),
    ),
    "short group in both": (
        ("io.k8s.authorization.rbac.v1.clusterroles.patch", "authorization.rbac/v1/clusterroles/helper"),
        Name("patch", RBAC, "v1", "", "clusterroles", "helper"),
    ),
    "group without its suffix": (
        ("io.k8s.networking.v1.ingresses.create", "networking/v1/namespaces/web/ingresses/shop"),
        Name("create", "networking.k8s.io", "v1", "web", "ingresses", "shop"),
    ),
    "approval of a certificate": (
        (
            "io.k8s.certificates.v1.certificatesigningrequests.approval.update",
            "certificates.k8s.io/v1/certificatesigningrequests/c1/approval",
        ),
        Name("update", "certificates.k8s.io", "v1", "", "certificatesigningrequests", "c1", "approval"),
    ),
    "token of a service account": (
        ("io.k8s.core.v1.serviceaccounts.token.create", "core/v1/namespaces/web/serviceaccounts/builder/token"),
        Name("create", "", "v1", "web", "serviceaccounts", "builder", "token"),
    ),
    "workload": (
        ("io.k8s.apps.v1.deployments.patch", "apps/v1/namespaces/web/deployments/api"),
        Name("patch", "apps", "v1", "web", "deployments", "api"),
    ),
    "scale": (
        ("io.k8s.apps.v1.deployments.scale.update", "apps/v1/namespaces/web/deployments/api/scale"),
        Name("update", "apps", "v1", "web", "deployments", "api", "scale"),
    ),
    "custom resource: the domain is reversed in the method alone": (
        (
            "com.coreos.database.etcd.v1beta2.etcdbackups.create",
            "etcd.database.coreos.com/v1beta2/namespaces/ops/etcdbackups/nightly",
        ),
        Name("create", "etcd.database.coreos.com", "v1beta2", "ops", "etcdbackups", "nightly"),
    ),
    "list over all namespaces": (
        ("io.k8s.core.v1.secrets.list", "core/v1/secrets"),
        Name("list", "", "v1", "", "secrets"),
    ),
    "deletecollection": (
        ("io.k8s.core.v1.pods.deletecollection", "core/v1/namespaces/web/pods"),
        Name("deletecollection", "", "v1", "web", "pods"),
    ),
    "non-resource": (("io.k8s.get", "readyz"), Name("get", path="/readyz")),
    "a public path in the place of the verb": (("io.k8s.readyz", "/readyz"), Name("get", path="/readyz")),
    "a public path in the method alone": (("io.k8s.livez", ""), Name("get", path="/livez")),
    "another word in the place of the verb": (("io.k8s.metrics", ""), Name("metrics", path="/")),
    "non-resource, discovery": (("io.k8s.get", "api/v1"), Name("get", path="/api/v1")),
    "non-resource that looks like one": (("io.k8s.get", "apis/v1/foo"), Name("get", path="/apis/v1/foo")),
    "non-resource, a scanner's": (("io.k8s.post", "HNAP1"), Name("post", path="/HNAP1")),
    "empty": (("io.k8s.get", ""), Name("get", path="/")),
    "no resource name": (("io.k8s.core.v1.pods.create", ""), Name("create", "", "v1", "", "pods")),
    "no resource name, a subresource": (
        ("io.k8s.core.v1.pods.exec.create", ""),
        Name("create", "", "v1", "", "pods", "", "exec"),
    ),
    "no resource name, a short group": (
        ("io.k8s.authorization.rbac.v1.clusterroles.create", ""),
        Name("create", RBAC, "v1", "", "clusterroles"),
    ),
    "no resource name, a custom resource": (
        ("com.coreos.database.etcd.v1beta2.etcdbackups.create", ""),
        Name("create", "etcd.database.coreos.com", "v1beta2", "", "etcdbackups"),
    ),
}


@pytest.mark.parametrize(("given", "wanted"), CASES.values(), ids=CASES.keys())
def test_parse_name(given, wanted):
    assert parse_name(*given) == wanted
