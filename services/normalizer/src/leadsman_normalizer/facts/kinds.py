"""Which resources have facts, and where: the one table that says whose bodies are worth decoding (DETECTIONS 1.6)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Kind(NamedTuple):
    """A resource that has facts. `fact` names the field of Facts; `spec` is the path to the PodSpec."""

    kind: str
    fact: str
    spec: tuple[str, ...] = ()


WRITES = frozenset({"create", "update", "patch"})
_TEMPLATE = ("spec", "template", "spec")
_APPS = ("apps", "extensions")  # extensions/v1beta1: servers before 1.16
_RBAC = "rbac.authorization.k8s.io"

CSR = Kind("CertificateSigningRequest", "csr")

KINDS: dict[tuple[str, str], Kind] = {
    ("", "pods"): Kind("Pod", "pod", ("spec",)),
    ("", "podtemplates"): Kind("PodTemplate", "pod", ("template", "spec")),
    ("", "replicationcontrollers"): Kind("ReplicationController", "pod", _TEMPLATE),
    **{(group, "deployments"): Kind("Deployment", "pod", _TEMPLATE) for group in _APPS},
    **{(group, "replicasets"): Kind("ReplicaSet", "pod", _TEMPLATE) for group in _APPS},
    **{(group, "daemonsets"): Kind("DaemonSet", "pod", _TEMPLATE) for group in _APPS},
    ("apps", "statefulsets"): Kind("StatefulSet", "pod", _TEMPLATE),
    ("batch", "jobs"): Kind("Job", "pod", _TEMPLATE),
    # a Deployment by another name: at a known place its patches are read without an image beside what they set
    ("argoproj.io", "rollouts"): Kind("Rollout", "pod", _TEMPLATE),
    ("batch", "cronjobs"): Kind("CronJob", "pod", ("spec", "jobTemplate", "spec", "template", "spec")),
    (_RBAC, "roles"): Kind("Role", "role"),
    (_RBAC, "clusterroles"): Kind("ClusterRole", "role"),
    (_RBAC, "rolebindings"): Kind("RoleBinding", "binding"),
    (_RBAC, "clusterrolebindings"): Kind("ClusterRoleBinding", "binding"),
    ("", "services"): Kind("Service", "service"),
    ("networking.k8s.io", "ingresses"): Kind("Ingress", "ingress"),
    ("extensions", "ingresses"): Kind("Ingress", "ingress"),
    ("gateway.networking.k8s.io", "gateways"): Kind("Gateway", "ingress"),
    ("gateway.networking.k8s.io", "httproutes"): Kind("HTTPRoute", "ingress"),
    ("gateway.networking.k8s.io", "grpcroutes"): Kind("GRPCRoute", "ingress"),
    ("gateway.networking.k8s.io", "tcproutes"): Kind("TCPRoute", "ingress"),
    ("gateway.networking.k8s.io", "tlsroutes"): Kind("TLSRoute", "ingress"),
    ("gateway.networking.k8s.io", "udproutes"): Kind("UDPRoute", "ingress"),
    ("networking.istio.io", "gateways"): Kind("Gateway", "ingress"),
    ("networking.istio.io", "virtualservices"): Kind("VirtualService", "ingress"),
    ("route.openshift.io", "routes"): Kind("Route", "ingress"),
    ("", "serviceaccounts"): Kind("ServiceAccount", "service_account"),
    ("", "persistentvolumes"): Kind("PersistentVolume", "pv"),
    ("", "configmaps"): Kind("ConfigMap", "config_map"),
    ("", "namespaces"): Kind("Namespace", "namespace"),
    ("certificates.k8s.io", "certificatesigningrequests"): CSR,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): Kind("MutatingWebhookConfiguration", "webhook"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): Kind(
        "ValidatingWebhookConfiguration", "webhook"
    ),
}
EPHEMERAL = Kind("Pod", "pod", ("spec",))
TOKEN = Kind("TokenRequest", "token")
CUSTOM = Kind("", "custom")
_SUBRESOURCES = {
    ("", "pods", "ephemeralcontainers"): EPHEMERAL,
    ("", "serviceaccounts", "token"): TOKEN,
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): CSR,
}
# what has no pod spec although its group ends like a custom one, or is written too often to be searched
_OWN_GROUPS = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "extensions",
        "policy",
        "metrics.k8s.io",
    }
)


@lru_cache(maxsize=4096)
def kind_of(verb: str, group: str, resource: str, subresource: str) -> Kind | None:
    """The kind whose body this request's facts are read from; None where no body needs to be decoded."""
    if verb not in WRITES or not resource:
        return None
    if subresource:
        return _SUBRESOURCES.get((group, resource, subresource))
    found = KINDS.get((group, resource))
    if found is None and may_be_custom(group):
        return CUSTOM
    return found


def may_be_custom(group: str) -> bool:
    """Whether the group can hold CRDs: the API server's own groups have no dot or end in .k8s.io."""
    if group in _OWN_GROUPS:
        return False
    return not group.endswith(".k8s.io") or group.endswith(".x-k8s.io")
