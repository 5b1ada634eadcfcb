"""Grants and classes of one PolicyRule (DETECTIONS R4 b, R6 b)."""

import pytest

from leadsman_normalizer.facts.roles import role_facts, rule_facts

RBAC = "rbac.authorization.k8s.io"


def rule(groups, resources, verbs, **more):
    return rule_facts({"apiGroups": groups, "resources": resources, "verbs": verbs, **more}, [])


@pytest.mark.parametrize(
    ("groups", "resources", "verbs", "grants"),
    [
        ([""], ["pods/exec"], ["create"], ["exec"]),
        ([""], ["pods/exec"], ["get"], ["exec"]),
        ([""], ["pods/exec"], ["*"], ["exec"]),
        ([""], ["pods/exec"], ["list"], []),
        (["apps"], ["pods/exec"], ["create"], []),
        (["*"], ["pods/exec"], ["create"], ["exec"]),
        ([""], ["*/exec"], ["create"], ["exec"]),
        ([""], ["pods/*"], ["create"], ["exec_ineffective"]),
        ([""], ["pods"], ["create", "get"], []),
        ([""], ["pods/attach"], ["create"], ["attach"]),
        ([""], ["pods/ephemeralcontainers"], ["patch"], ["ephemeralcontainers"]),
        ([""], ["pods/ephemeralcontainers"], ["create"], []),
        ([""], ["nodes/proxy"], ["get"], ["nodes_proxy"]),
        ([""], ["pods/proxy", "pods/portforward"], ["get"], ["pods_proxy", "portforward"]),
        ([""], ["pods/*", "*/exec"], ["get"], ["exec"]),
        (
            [""],
            ["*"],
            ["*"],
            ["exec", "attach", "ephemeralcontainers", "nodes_proxy", "pods_proxy", "portforward"],
        ),
    ],
)
def test_grants(groups, resources, verbs, grants):
    assert rule(groups, resources, verbs)["grants"] == grants


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (rule(["*"], ["*"], ["*"]), ["cluster_admin"]),
        (rule([RBAC], ["clusterroles"], ["escalate"]), ["escalate"]),
        (rule([RBAC], ["roles"], ["bind"]), ["escalate"]),
        (rule([RBAC], ["clusterrolebindings"], ["create"]), ["bindings"]),
        (rule([""], ["users", "groups"], ["impersonate"]), ["impersonate"]),
        (rule(["authentication.k8s.io"], ["userextras/scopes"], ["impersonate"]), ["impersonate"]),
        (rule([""], ["secrets"], ["get"]), ["secrets"]),
        (rule(["*"], ["secrets"], ["watch"]), ["secrets"]),
        (rule([""], ["secrets"], ["get"], resourceNames=["one"]), []),
        (rule([""], ["serviceaccounts/token"], ["create"]), ["token"]),
        (rule(["apps"], ["deployments"], ["patch"]), ["workload_write"]),
        (rule([""], ["pods"], ["create"]), ["workload_write"]),
        (rule([""], ["nodes/proxy"], ["get"]), ["node"]),
        (rule([""], ["nodes"], ["patch"]), ["node"]),
        (rule(["certificates.k8s.io"], ["certificatesigningrequests/approval"], ["update"]), ["node"]),
        (rule(["certificates.k8s.io"], ["signers"], ["approve"]), ["node"]),
        (rule(["admissionregistration.k8s.io"], ["mutatingwebhookconfigurations"], ["update"]), ["admission"]),
        (rule(["certificates.k8s.io"], ["signers"], ["sign"], resourceNames=["example.com/*"]), []),
        (rule(["certificates.k8s.io"], ["signers"], ["sign"], resourceNames=["kubernetes.io/*", "a.b/c"]), ["node"]),
        (rule(["authentication.k8s.io"], ["users"], ["impersonate:user-info"]), ["impersonate"]),
        (rule([""], ["persistentvolumes"], ["create"]), ["storage"]),
        (rule(["argoproj.io"], ["*"], ["*"]), ["broad"]),
        (rule(["argoproj.io"], ["workflows"], ["*"]), ["broad"]),
        (rule_facts({"nonResourceURLs": ["*"], "verbs": ["*"]}, []), ["broad"]),
        (rule_facts({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}, []), []),
        (rule([""], ["pods", "services"], ["get", "list", "watch"]), []),
    ],
)
def test_classes(given, classes):
    assert given["classes"] == classes


def test_what_resource_names_restrict_is_told_apart():
    assert rule([""], ["pods/exec", "pods/attach"], ["create"], resourceNames=["one"])["grants"] == [
        "exec_named",
        "attach_named",
    ]
    assert rule([""], ["pods/*", "pods/exec"], ["create"], resourceNames=["one"])["grants"] == ["exec_named"]


def test_no_number_of_harmless_rules_hides_one():
    harmless = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    rules = role_facts("ClusterRole", "r", "", {"rules": [harmless] * 1500 + [everything]}, [])["rules"]
    assert len(rules) == 1000
    assert rules[0]["classes"] == ["cluster_admin"]


def test_rules_are_not_flattened():
    found = role_facts(
        "ClusterRole",
        "r",
        "",
        {
            "rules": [
                {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["list"]},
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
            ]
        },
        [],
    )
    assert [r["grants"] for r in found["rules"]] == [[], []]


@pytest.mark.parametrize(
    ("name", "built_in"),
    [("view", True), ("system:node", True), ("eks:addon", True), ("viewer", False), ("my-admin", False)],
)
def test_built_in(name, built_in):
    assert role_facts("ClusterRole", name, "", {}, [])["built_in"] is built_in


def test_aggregation_labels():
    labels = {
        "rbac.authorization.k8s.io/aggregate-to-view": "true",
        "rbac.authorization.k8s.io/aggregate-to-edit": "false",
        "app": "x",
    }
    assert role_facts("ClusterRole", "x", "", {"metadata": {"labels": labels}}, [])["aggregate_to"] == ["view"]


def test_wrong_types_are_reasons():
    why = []
    found = role_facts("Role", "r", "n", {"rules": [{"verbs": "*", "resources": [1, "pods"]}, "x"]}, why)
    assert found["rules"][0]["verbs"] == []
    assert found["rules"][0]["resources"] == ["pods"]
    assert len(why) == 3
