"""Bindings, services, ingresses, accounts, tokens, persistent volumes."""

import pytest
from records import event_of, facts_of, native

from leadsman_common.events import Flag
from leadsman_normalizer.facts.services import service_facts

RBAC = "rbac.authorization.k8s.io"


def binding(*subjects, user=None):
    body = {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}, "subjects": list(subjects)}
    more = {"user": user} if user else {}
    return facts_of("create", "clusterrolebindings", body, group=RBAC, **more)["binding"]


@pytest.mark.parametrize(
    ("subject", "user", "own"),
    [
        ({"kind": "User", "name": "ada@example.com"}, None, True),
        ({"kind": "User", "name": "bob@example.com"}, None, False),
        ({"kind": "Group", "name": "deployers"}, None, True),
        ({"kind": "User", "name": "deployers"}, None, False),
        ({"kind": "Group", "name": "system:authenticated"}, None, False),
        (
            {"kind": "ServiceAccount", "name": "ci", "namespace": "web"},
            {"username": "system:serviceaccount:web:ci"},
            True,
        ),
        (
            {"kind": "ServiceAccount", "name": "ci", "namespace": "ops"},
            {"username": "system:serviceaccount:web:ci"},
            False,
        ),
    ],
)
def test_a_binding_to_oneself(subject, user, own):
    found = binding(subject, user=user)
    assert found["self"] is own
    assert (found["kind"], found["role_kind"], found["role_name"]) == (
        "ClusterRoleBinding",
        "ClusterRole",
        "cluster-admin",
    )


@pytest.mark.parametrize("name", ["system:anonymous", "system:unauthenticated", "system:authenticated"])
def test_a_binding_to_everybody(name):
    assert binding({"kind": "Group", "name": name})["anonymous"]
    assert not binding({"kind": "Group", "name": name + "x"})["anonymous"]


def service(spec, annotations=None, **ref):
    body = {"kind": "Service", "metadata": {"annotations": annotations or {}}, "spec": spec}
    return facts_of("create", "services", body, ref=ref)["service"]


@pytest.mark.parametrize(
    ("annotations", "internal"),
    [
        ({"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"}, True),
        ({"service.beta.kubernetes.io/aws-load-balancer-scheme": "internet-facing"}, False),
        ({"service.beta.kubernetes.io/aws-load-balancer-internal": "true"}, True),
        ({"networking.gke.io/load-balancer-type": "Internal"}, True),
        ({"cloud.google.com/load-balancer-type": "Internal"}, True),
        ({"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}, True),
        ({"service.beta.kubernetes.io/azure-load-balancer-internal": "false"}, False),
        ({}, False),
    ],
)
def test_internal_load_balancers(annotations, internal):
    assert service({"type": "LoadBalancer"}, annotations)["internal"] is internal


@pytest.mark.parametrize(
    ("name", "namespace", "selector", "port", "targets"),
    [
        ("kubernetes-dashboard", "tools", {}, 443, ["kubernetes-dashboard"]),
        ("front", "web", {"app": "redis"}, 80, ["redis"]),
        ("front", "web", {}, 6379, ["redis"]),
        ("front", "web", {}, 10250, ["kubelet"]),
        ("argocd-server", "web", {}, 80, ["argocd"]),
        ("front", "kube-system", {}, 80, ["kube-system"]),
        ("array", "web", {"app": "tray"}, 80, []),
        ("front", "web", {}, 80, []),
    ],
)
def test_sensitive_targets(name, namespace, selector, port, targets):
    spec = {"ports": [{"port": port, "targetPort": "http"}], "selector": selector}
    assert service(spec, name=name, namespace=namespace)["sensitive_targets"] == targets


def test_a_services_fields():
    found = service(
        {
            "type": "NodePort",
            "externalIPs": ["198.51.100.7"],
            "loadBalancerSourceRanges": ["0.0.0.0/0"],
            "loadBalancerClass": "c",
            "externalName": "e.example.com",
            "ports": [{"port": 80, "targetPort": 9090, "nodePort": 30080}, {"port": "x"}],
        }
    )
    assert (found["type"], found["external_ips"], found["source_ranges"]) == (
        "NodePort",
        ["198.51.100.7"],
        ["0.0.0.0/0"],
    )
    assert found["ports"][0] == {"port": 80, "target": "9090", "node": 30080, "proto": "TCP"}
    assert found["sensitive_targets"] == ["prometheus"]
    assert (found["lb_class"], found["external_name"]) == ("c", "e.example.com")


AWS_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
AWS_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
AZURE_INTERNAL = "service.beta.kubernetes.io/azure-load-balancer-internal"
LB = {"type": "LoadBalancer"}
EXPOSURE = {
    "cluster ip": ({"type": "ClusterIP"}, {}, []),
    "node port": ({"type": "NodePort"}, {}, ["node_port"]),
    "load balancer": (LB, {}, ["load_balancer"]),
    "external addresses": ({"type": "ClusterIP", "externalIPs": ["198.51.100.7"]}, {}, ["external_ips"]),
    "some may come": ({**LB, "loadBalancerSourceRanges": ["198.51.100.0/24"]}, {}, ["load_balancer_ranges"]),
    "all may come": ({**LB, "loadBalancerSourceRanges": ["10.0.0.0/8", "0.0.0.0/0"]}, {}, ["load_balancer"]),
    "all by halves": ({**LB, "loadBalancerSourceRanges": ["0.0.0.0/1", "128.0.0.0/1"]}, {}, ["load_balancer"]),
    "all of the new internet": ({**LB, "loadBalancerSourceRanges": ["2000::/3"]}, {}, ["load_balancer"]),
    "no range": ({**LB, "loadBalancerSourceRanges": ["anywhere"]}, {}, ["load_balancer"]),
    "ranges as an annotation": (
        LB,
        {"service.beta.kubernetes.io/load-balancer-source-ranges": "198.51.100.0/24, 203.0.113.0/24"},
        ["load_balancer_ranges"],
    ),
    "internal": (LB, {AWS_SCHEME: "internal"}, ["load_balancer_internal"]),
    "one says internal, one does not": (
        LB,
        {AWS_SCHEME: "internet-facing", AWS_INTERNAL: "true"},
        ["load_balancer"],
    ),
    "a value that the controller does not know": (LB, {AZURE_INTERNAL: "TRUE"}, ["load_balancer"]),
}


@pytest.mark.parametrize(("spec", "annotations", "wanted"), EXPOSURE.values(), ids=EXPOSURE.keys())
def test_how_far_a_service_is_open(spec, annotations, wanted):
    assert service(spec, annotations)["exposure"] == wanted


@pytest.mark.parametrize(("cloud", "wanted"), [("aws", "load_balancer"), ("azure", "load_balancer_internal")])
def test_the_annotation_of_another_cloud_hides_nothing(cloud, wanted):
    body = {"metadata": {"annotations": {AZURE_INTERNAL: "true"}}, "spec": LB}
    assert service_facts("front", "web", body, cloud, [])["exposure"] == [wanted]


LIFTED = {
    "ranges removed": ({"spec": {"loadBalancerSourceRanges": None}}, ["load_balancer"]),
    "ranges emptied": ({"spec": {"loadBalancerSourceRanges": []}}, ["load_balancer"]),
    "ranges widened": ({"spec": {"loadBalancerSourceRanges": ["0.0.0.0/0"]}}, ["load_balancer"]),
    "ranges narrowed": ({"spec": {"loadBalancerSourceRanges": ["198.51.100.7/32"]}}, []),
    "internal no more": ({"metadata": {"annotations": {AWS_SCHEME: None}}}, ["load_balancer"]),
    "facing the internet": ({"metadata": {"annotations": {AWS_SCHEME: "internet-facing"}}}, ["load_balancer"]),
    "made internal": ({"metadata": {"annotations": {AWS_SCHEME: "internal"}}}, []),
    "another annotation": ({"metadata": {"annotations": {"a": "b"}}}, []),
}


@pytest.mark.parametrize(("fragment", "wanted"), LIFTED.values(), ids=LIFTED.keys())
def test_a_patch_that_lifts_a_limit_opens(fragment, wanted):
    found = event_of(native("patch", "services", requestObject=fragment))["facts"]
    assert (found["service"]["exposure"] if found else []) == wanted
    assert not wanted or "service.exposure" in found["touched"]


def test_a_custom_resource_named_service_is_none():
    event = event_of(
        native("create", "services", group="serving.knative.dev", requestObject={"spec": {"type": "NodePort"}})
    )
    assert event["facts"] is None


INGRESSES = {
    "Ingress": (
        "ingresses",
        "networking.k8s.io",
        {"spec": {"ingressClassName": "nginx", "rules": [{"host": "a.example"}], "tls": [{"hosts": ["b.example"]}]}},
        (["a.example", "b.example"], True, "nginx"),
    ),
    "Ingress without TLS": (
        "ingresses",
        "extensions",
        {
            "metadata": {"annotations": {"kubernetes.io/ingress.class": "gce"}},
            "spec": {"rules": [{"host": "a.example"}]},
        },
        (["a.example"], False, "gce"),
    ),
    "Gateway": (
        "gateways",
        "gateway.networking.k8s.io",
        {"spec": {"gatewayClassName": "g", "listeners": [{"hostname": "a.example", "protocol": "HTTPS"}]}},
        (["a.example"], True, "g"),
    ),
    "HTTPRoute": (
        "httproutes",
        "gateway.networking.k8s.io",
        {"spec": {"hostnames": ["a.example"]}},
        (["a.example"], False, ""),
    ),
    "Istio Gateway": (
        "gateways",
        "networking.istio.io",
        {"spec": {"servers": [{"hosts": ["*"], "tls": {"mode": "SIMPLE"}}]}},
        (["*"], True, "istio"),
    ),
    "VirtualService": (
        "virtualservices",
        "networking.istio.io",
        {"spec": {"hosts": ["a.example"], "gateways": ["web/public", "mesh"]}},
        (["a.example"], False, ""),
    ),
    "VirtualService of the sidecars alone": (
        "virtualservices",
        "networking.istio.io",
        {"spec": {"hosts": ["a.example"]}},
        (["a.example"], False, "mesh"),
    ),
    "Route": (
        "routes",
        "route.openshift.io",
        {"spec": {"host": "a.example", "tls": {"termination": "edge"}}},
        (["a.example"], True, ""),
    ),
}


@pytest.mark.parametrize(("resource", "group", "body", "wanted"), INGRESSES.values(), ids=INGRESSES.keys())
def test_ingresses(resource, group, body, wanted):
    found = facts_of("create", resource, body, group=group)["ingress"]
    assert (found["hosts"], found["tls"], found["class"]) == wanted


BEHIND = {
    "an old Ingress": (
        "ingresses",
        "extensions",
        {"rules": [{"http": {"paths": [{"backend": {"serviceName": "redis", "servicePort": 80}}]}}]},
        ["redis"],
    ),
    "an Ingress": (
        "ingresses",
        "networking.k8s.io",
        {"rules": [{"http": {"paths": [{"backend": {"service": {"name": "front", "port": {"number": 9200}}}}]}}]},
        ["elasticsearch"],
    ),
    "an Ingress without rules": (
        "ingresses",
        "networking.k8s.io",
        {"defaultBackend": {"service": {"name": "kubernetes-dashboard", "port": {"name": "https"}}}},
        ["kubernetes-dashboard"],
    ),
    "an HTTPRoute": (
        "httproutes",
        "gateway.networking.k8s.io",
        {"rules": [{"backendRefs": [{"name": "argocd-server", "port": 80}]}]},
        ["argocd"],
    ),
    "a VirtualService": (
        "virtualservices",
        "networking.istio.io",
        {"gateways": ["g"], "http": [{"route": [{"destination": {"host": "vault.ops.svc.cluster.local"}}]}]},
        ["vault"],
    ),
    "a Route": ("routes", "route.openshift.io", {"to": {"kind": "Service", "name": "jenkins"}}, ["jenkins"]),
    "nothing": ("routes", "route.openshift.io", {"to": {"kind": "Service", "name": "front"}}, []),
}


@pytest.mark.parametrize(("resource", "group", "spec", "wanted"), BEHIND.values(), ids=BEHIND.keys())
def test_what_stands_behind_a_route(resource, group, spec, wanted):
    assert facts_of("create", resource, {"spec": spec}, group=group)["ingress"]["sensitive_targets"] == wanted


def test_numbers_hide_nothing():
    many = [{"kind": "User", "name": f"u{n}"} for n in range(1500)]
    found = binding(*many, {"kind": "User", "name": "ada@example.com"}, {"kind": "User", "name": "system:anonymous"})
    assert (len(found["subjects"]), found["self"], found["anonymous"]) == (1000, True, True)
    ports = [{"port": 20000 + n} for n in range(1500)]
    assert service({"type": "NodePort", "ports": [*ports, {"port": 6379}]})["sensitive_targets"] == ["redis"]


def test_a_bindings_members():
    found = binding(
        {"kind": "User", "name": "ada"},
        {"kind": "Group", "name": "system:masters"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "web"},
    )
    assert found["members"] == ["User ada", "Group system:masters", "ServiceAccount web/ci"]


def test_a_token_request_and_never_the_token():
    event = event_of(
        native(
            "create",
            "serviceaccounts",
            ref={"name": "builder", "subresource": "token"},
            requestObject={"kind": "TokenRequest", "spec": {"audiences": ["a"], "expirationSeconds": 3600}},
            responseObject={"kind": "TokenRequest", "status": {"token": "token-canary"}},
            annotations={"authentication.kubernetes.io/issued-credential-id": "JTI=1"},
        )
    )
    assert event["facts"]["token"] == {
        "service_account": "system:serviceaccount:web:builder",
        "audiences": ["a"],
        "expiration_seconds": 3600,
        "issued_credential_id": "JTI=1",
    }
    assert "canary" not in repr(event)
    assert event["flags"] & Flag.HAS_TOKEN


def test_a_service_accounts_cloud_identities():
    annotations = {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/app",
        "iam.gke.io/gcp-service-account": "app@example.iam.gserviceaccount.com",
        "azure.workload.identity/client-id": "c1",
    }
    found = facts_of("create", "serviceaccounts", {"metadata": {"annotations": annotations}})["service_account"]
    assert list(found.values()) == list(annotations.values())


@pytest.mark.parametrize("source", ["hostPath", "local"])
def test_a_persistent_volume_on_the_host(source):
    body = {
        "metadata": {"name": "pv1"},
        "spec": {"capacity": {}, source: {"path": "/var/lib/kubelet/"}, "claimRef": {"namespace": "web", "name": "c"}},
    }
    volume = facts_of("create", "persistentvolumes", body)["pv"]["volume"]
    assert (volume["type"], volume["host_path"], volume["tier"], volume["claim"]) == (
        source,
        "/var/lib/kubelet",
        "high",
        "web/c",
    )
