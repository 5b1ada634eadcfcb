"""What EKS logs of a request: the audit policy of its control plane, as far as it can be seen.

AWS shows it in its best practices guide (Security, Detective controls, "Analyze your logs"):
https://docs.aws.amazon.com/eks/latest/best-practices/auditing-and-logging.html
The policy cannot be changed by a customer.
"""

from __future__ import annotations

from typing import Any

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
# groups whose requests are logged with bodies; every other one, and with it every custom resource, without
GROUPS = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "extensions",
        "metrics.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "settings.k8s.io",
        "storage.k8s.io",
    }
)
_READS = ("get", "list", "watch")
_UNLOGGED_PATHS = ("/healthz", "/swagger")


def eks_level(event: dict[str, Any]) -> str:
    """The level at which EKS logs a request: None, Metadata, Request or RequestResponse. `event` is a native one."""
    ref = event.get("objectRef")
    if ref is None:
        path = event["requestURI"].partition("?")[0]
        return "None" if path.startswith(_UNLOGGED_PATHS) or path == "/version" else "Metadata"
    verb, group, resource = event["verb"], ref.get("apiGroup", ""), ref["resource"]
    subresource = ref.get("subresource", "")
    if _is_aws_auth(ref) and verb in ("update", "patch", "delete"):
        return "RequestResponse"
    if group == "" and not subresource and resource == "events":
        return "None"
    if group == "" and verb in _READS and _is_watched_by_nodes(event, verb, resource):
        return "None"
    if (group == "" and not subresource and resource in ("secrets", "configmaps")) or (
        group == "authentication.k8s.io" and resource == "tokenreviews"
    ):
        return "Metadata"
    if group == "" and (resource, subresource) == ("serviceaccounts", "token"):
        return "Request"
    if group not in GROUPS:
        return "Metadata"
    return "Request" if verb in _READS else "RequestResponse"


def _is_aws_auth(ref: dict[str, Any]) -> bool:
    return (ref.get("apiGroup", ""), ref["resource"], ref.get("namespace"), ref.get("name")) == (
        "",
        "configmaps",
        "kube-system",
        "aws-auth",
    )


def _is_watched_by_nodes(event: dict[str, Any], verb: str, resource: str) -> bool:
    user = event.get("user") or {}
    if verb == "watch" and user.get("username") == "system:kube-proxy":
        return resource in ("endpoints", "services")
    return verb == "get" and resource == "nodes" and "system:nodes" in (user.get("groups") or ())
