"""Roles and ClusterRoles, judged as the server evaluates them: inside one PolicyRule, never across (R4 b, R6 b).

kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go: a rule names a resource by `*`, by `res/sub` or by `*/sub`;
`pods/*` matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from leadsman_common.events import PolicyRuleFacts, RoleFacts
from leadsman_normalizer.facts.values import Tree, mapping, mappings, texts

RBAC = "rbac.authorization.k8s.io"
AGGREGATE_TO = "rbac.authorization.k8s.io/aggregate-to-"
_BUILT_IN = frozenset({"cluster-admin", "admin", "edit", "view"})
_BUILT_IN_PREFIXES = ("system:", "eks:", "aks:", "gke:", "gce:", "gcp:")
_BUILT_IN_GROUPS = frozenset({"", "apps", "autoscaling", "batch", "extensions", "policy"})
_WORKLOADS = {
    "": ("pods", "replicationcontrollers", "podtemplates"),
    "apps": ("deployments", "daemonsets", "statefulsets", "replicasets"),
    "batch": ("jobs", "cronjobs"),
}
_WRITE = ("create", "update", "patch")
MAX_RULES = 1000


def role_facts(kind: str, name: str, namespace: str, body: Tree, why: list[str]) -> RoleFacts:
    """A role's facts; a fragment of a patch gives the rules it holds."""
    labels = mapping(mapping(body, "metadata", why), "labels", why)
    return {
        "kind": kind,
        "name": name,
        "namespace": namespace,
        "rules": _kept([rule_facts(rule, why) for rule in mappings(body, "rules", why)]),
        "aggregate_to": sorted(
            key.removeprefix(AGGREGATE_TO)
            for key, value in labels.items()
            if key.startswith(AGGREGATE_TO) and value == "true"
        ),
        "built_in": name in _BUILT_IN or name.startswith(_BUILT_IN_PREFIXES),
    }


def _kept(rules: list[PolicyRuleFacts]) -> list[PolicyRuleFacts]:
    """Of more rules than travel, those that grant something come first: no number of harmless ones hides one."""
    if len(rules) > MAX_RULES:
        rules = sorted(rules, key=lambda rule: not (rule["grants"] or rule["classes"]))
    return rules[:MAX_RULES]


def rule_facts(rule: Tree, why: list[str]) -> PolicyRuleFacts:
    """One PolicyRule with what it grants."""
    facts: PolicyRuleFacts = {
        "groups": texts(rule, "apiGroups", why),
        "resources": texts(rule, "resources", why),
        "resource_names": texts(rule, "resourceNames", why),
        "verbs": texts(rule, "verbs", why),
        "non_resource_urls": texts(rule, "nonResourceURLs", why),
        "grants": [],
        "classes": [],
    }
    facts["grants"] = grants(facts)
    facts["classes"] = classes(facts)
    return facts


def allows(rule: PolicyRuleFacts, verbs: Iterable[str], group: str, resource: str) -> bool:
    """Whether the rule allows any of `verbs` on a resource (`pods/exec` for a subresource) of `group`."""
    held = rule["verbs"]
    if "*" not in held and not any(verb in held for verb in verbs):
        return False
    if group not in rule["groups"] and "*" not in rule["groups"]:
        return False
    named = rule["resources"]
    _, slash, sub = resource.partition("/")
    return "*" in named or resource in named or (slash != "" and f"*/{sub}" in named)


def grants(rule: PolicyRuleFacts) -> list[str]:
    """Ways into a pod that the rule opens (R4 b); with `_named` behind it where resourceNames restrict the rule."""
    found = []
    named = "_named" if rule["resource_names"] else ""
    for grant, verbs, resource in (
        ("exec", ("create", "get"), "pods/exec"),
        ("attach", ("create", "get"), "pods/attach"),
        ("ephemeralcontainers", ("update", "patch"), "pods/ephemeralcontainers"),
        ("nodes_proxy", ("get", "create"), "nodes/proxy"),
        ("pods_proxy", ("get", "create"), "pods/proxy"),
        ("portforward", ("get", "create"), "pods/portforward"),
    ):
        if allows(rule, verbs, "", resource):
            found.append(grant + named)
    if "pods/*" in rule["resources"] and not {"exec", "exec_named"} & set(found):
        found.append("exec_ineffective")
    return found


def classes(rule: PolicyRuleFacts) -> list[str]:
    """The classes of power that the rule gives (the table of R6 b)."""
    verbs, groups, resources = rule["verbs"], rule["groups"], rule["resources"]
    if "*" in groups and "*" in resources and "*" in verbs:
        return ["cluster_admin"]
    found = [name for name, holds in _CLASSES if holds(rule)]
    urls_alone = "*" in rule["non_resource_urls"] and "*" in verbs and not resources
    own_groups = bool(resources) and not any(g in _BUILT_IN_GROUPS or g.endswith(".k8s.io") or g == "*" for g in groups)
    if urls_alone or (own_groups and ("*" in verbs or "*" in resources)):
        found.append("broad")
    return found


def _impersonates(rule: PolicyRuleFacts) -> bool:
    # impersonate:user-info and the like: constrained impersonation (KEP-5284)
    held = [v for v in rule["verbs"] if v in ("impersonate", "*") or v.startswith("impersonate:")]
    if not held:
        return False
    core = any(allows(rule, held, "", r) for r in ("users", "groups", "serviceaccounts"))
    auth = "authentication.k8s.io" in rule["groups"] or "*" in rule["groups"]
    named = ("uids", "users", "groups", "serviceaccounts", "nodes", "*")
    extras = any(r in named or r.startswith(("userextras/", "*/")) for r in rule["resources"])
    return core or (auth and extras)


def _admission(rule: PolicyRuleFacts) -> bool:
    return any(
        allows(rule, _WRITE, "admissionregistration.k8s.io", resource)
        for resource in (
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "mutatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicybindings",
        )
    )


def _node(rule: PolicyRuleFacts) -> bool:
    proxy = bool(rule["verbs"]) and any(allows(rule, (verb,), "", "nodes/proxy") for verb in rule["verbs"])
    nodes = any(allows(rule, ("patch", "update"), "", r) for r in ("nodes", "nodes/status"))
    approval = allows(rule, ("update", "patch"), "certificates.k8s.io", "certificatesigningrequests/approval")
    return proxy or nodes or approval or _signs(rule)


def _signs(rule: PolicyRuleFacts) -> bool:
    """Whether it approves or signs for the cluster's own signers: those of an operator make nobody a node."""
    names = rule["resource_names"]
    own = bool(names) and not any(n == "*" or n.startswith("kubernetes.io/") for n in names)
    return not own and allows(rule, ("approve", "sign"), "certificates.k8s.io", "signers")


_CLASSES = (
    ("escalate", lambda r: any(allows(r, ("escalate", "bind"), RBAC, k) for k in ("roles", "clusterroles"))),
    ("bindings", lambda r: any(allows(r, _WRITE, RBAC, k) for k in ("rolebindings", "clusterrolebindings"))),
    ("impersonate", _impersonates),
    ("secrets", lambda r: not r["resource_names"] and allows(r, ("get", "list", "watch"), "", "secrets")),
    ("token", lambda r: allows(r, ("create",), "", "serviceaccounts/token")),
    ("workload_write", lambda r: any(allows(r, _WRITE, g, k) for g, kinds in _WORKLOADS.items() for k in kinds)),
    ("node", _node),
    ("admission", _admission),
    ("storage", lambda r: allows(r, ("create",), "", "persistentvolumes")),
)
