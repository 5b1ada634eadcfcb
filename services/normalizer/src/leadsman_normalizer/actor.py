"""Who acts, judged the same way on every cloud (DETECTIONS 1.4).

`class` is the effective user's, with one exception: an impersonated name never lends a class that rules trust
(control_plane, node, managed_cloud) or the lack of credentials; then it is the authenticated user's.
"""

from __future__ import annotations

import re
from functools import lru_cache

from leadsman_common.events import Actor, Flag, User

ANONYMOUS = "system:anonymous"
UNAUTHENTICATED = "system:unauthenticated"
_EXTRA = "authentication.kubernetes.io/"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_CONTROL_PLANE = frozenset(
    [
        "system:apiserver",
        "system:kube-apiserver",
        "system:kube-controller-manager",
        "system:kube-scheduler",
        "system:cloud-controller-manager",
        "system:addon-manager",
        "system:kube-proxy",
        "system:aggregator",
        "system:volume-scheduler",
        "system:konnectivity-server",
    ]
)
# what kube-controller-manager runs as with --use-service-account-credentials; its tokens are bound to no pod
_CONTROLLERS = frozenset(
    [
        "attachdetach-controller",
        "bootstrap-signer",
        "certificate-controller",
        "clusterrole-aggregation-controller",
        "cronjob-controller",
        "daemon-set-controller",
        "deployment-controller",
        "disruption-controller",
        "endpoint-controller",
        "endpointslice-controller",
        "endpointslicemirroring-controller",
        "ephemeral-volume-controller",
        "expand-controller",
        "generic-garbage-collector",
        "horizontal-pod-autoscaler",
        "job-controller",
        "legacy-service-account-token-cleaner",
        "namespace-controller",
        "node-controller",
        "persistent-volume-binder",
        "pod-garbage-collector",
        "pv-protection-controller",
        "pvc-protection-controller",
        "replicaset-controller",
        "replication-controller",
        "resourcequota-controller",
        "root-ca-cert-publisher",
        "route-controller",
        "service-account-controller",
        "service-controller",
        "service-cidrs-controller",
        "statefulset-controller",
        "taint-eviction-controller",
        "token-cleaner",
        "ttl-after-finished-controller",
        "ttl-controller",
        "validatingadmissionpolicy-status-controller",
        "resource-claim-controller",
        "selinux-warning-controller",
        "storage-version-garbage-collector",
        "storage-version-migrator-controller",
        "vac-protection-controller",
    ]
)
_BOOTSTRAPPERS = frozenset({"kubelet", "kubelet-bootstrap", "kubelet-nodepool-bootstrap"})
# the clouds' own identities, each believed only on its cloud (or where the cloud is unknown)
_AZURE = frozenset({"aksService", "hcpService", "readinessChecker", "aksProblemDetector", "nodeclient"})
_GOOGLE = re.compile(
    r"system:gke-|system:gcp-|gcp:|system:kubestore-collector\Z|system:managed-certificate-controller\Z"
    r"|[^@]+@container-engine-robot\.iam\.gserviceaccount\.com\Z"
)
# roles of the service itself: real eks:* users carry these, one mapped by aws-auth carries its own
_AWS_ROLE = re.compile(r":assumed-role/(?:AWSWesley|AWSServiceRoleForAmazonEKS|AmazonEKS|eks-)")
_TRUSTED = frozenset({"control_plane", "node", "managed_cloud", "unauthenticated"})
FLAG_OF_CLASS = {
    "unauthenticated": int(Flag.UNAUTHENTICATED),
    "service_account": int(Flag.SERVICE_ACCOUNT),
    "node": int(Flag.NODE),
    "control_plane": int(Flag.CONTROL_PLANE),
    "managed_cloud": int(Flag.MANAGED_CLOUD),
    "failed_auth": int(Flag.FAILED_AUTH),
}


def actor_of(user: User, impersonated: User | None, provider: str, *, refused: bool, nobody: bool = False) -> Actor:
    """The actor of a request.

    `refused`: the answer was 401 (or gRPC 16), so that an empty user is one whose authentication failed.
    `nobody`: the source says that a missing user means no credentials (GKE leaves the principal out).
    """
    effective = user if impersonated is None else impersonated
    name = effective["username"]
    authenticated = class_of(user, provider, refused=refused, nobody=nobody)
    acts_as = authenticated
    if impersonated is not None:
        acts_as = class_of(impersonated, provider, refused=False, nobody=False)
        if acts_as in _TRUSTED or acts_as == "unknown":
            acts_as = authenticated
    namespace, account = service_account_of(name)
    node = _extra(user, "node-name")
    if not node and name.startswith("system:node:"):
        node = name.removeprefix("system:node:")
    return {
        "name": name,
        "class": acts_as,
        "authenticated": user["username"],
        "impersonating": impersonated is not None,
        "unauthenticated": impersonated is None and authenticated == "unauthenticated",
        "groups": effective["groups"],
        "namespace": namespace,
        "service_account": account,
        "pod": _extra(user, "pod-name"),
        "node": node,
        "credential_id": _extra(user, "credential-id"),
    }


def class_of(user: User, provider: str, *, refused: bool, nobody: bool) -> str:
    """The class of one user."""
    name, groups = user["username"], user["groups"]
    if name in (ANONYMOUS, UNAUTHENTICATED) or UNAUTHENTICATED in groups:
        return "unauthenticated"
    if not name:
        if refused:
            return "failed_auth"
        return "unauthenticated" if nobody else "unknown"
    if name.startswith("system:node:") or name in _BOOTSTRAPPERS:
        return "node"
    if name in _CONTROL_PLANE:
        return "control_plane"
    if name.startswith(_SERVICE_ACCOUNT):
        namespace, account = service_account_of(name)
        controller = namespace == "kube-system" and account in _CONTROLLERS and not _extra(user, "pod-name")
        return "control_plane" if controller else "service_account"
    if _managed(user, provider):
        return "managed_cloud"
    return "human"


def flags_of(actor: Actor) -> int:
    """The bits that the actor decides."""
    bits = FLAG_OF_CLASS.get(actor["class"], 0)
    if not actor["unauthenticated"]:
        bits &= ~FLAG_OF_CLASS["unauthenticated"]
    return bits | (int(Flag.IMPERSONATING) if actor["impersonating"] else 0)


@lru_cache(maxsize=8192)
def service_account_of(name: str) -> tuple[str, str]:
    """Namespace and name in `system:serviceaccount:NAMESPACE:NAME`, else two empty strings."""
    if not name.startswith(_SERVICE_ACCOUNT):
        return "", ""
    namespace, _, account = name.removeprefix(_SERVICE_ACCOUNT).partition(":")
    return namespace, account


@lru_cache(maxsize=8192)
def groups_of(name: str) -> tuple[str, ...]:
    """The groups that follow from a service account's or the anonymous name, for sources that give none."""
    namespace, account = service_account_of(name)
    if account:
        return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return (UNAUTHENTICATED,) if name == ANONYMOUS else ()


def _managed(user: User, provider: str) -> bool:
    name = user["username"]
    if name.startswith("eks:") and provider in ("aws", ""):
        arns = user["extra"].get("arn") or user["extra"].get("canonicalArn") or []
        return not arns or any(_AWS_ROLE.search(arn) for arn in arns)
    if name in _AZURE:
        return provider in ("azure", "")
    return _GOOGLE.match(name) is not None and provider in ("gcp", "")


def _extra(user: User, key: str) -> str:
    values = user["extra"].get(_EXTRA + key)
    return values[0] if values else ""
