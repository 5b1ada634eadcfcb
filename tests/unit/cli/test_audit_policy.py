"""The audit policy is evaluated as the API server evaluates it (k8s.io/apiserver pkg/audit/policy/checker.go)."""

import pytest

from leadsman_cli.audit_policy import Attributes, BadPolicy, evaluate, parse_policy, policy_of

TIM = {"user": "tim@k8s.io", "groups": ("humans",)}
REQUESTS = {
    "a pod": Attributes("get", **TIM, resource="pods", namespace="default", name="busybox"),
    "its log": Attributes("get", **TIM, resource="pods", subresource="log", namespace="default", name="busybox"),
    "a cluster role": Attributes(
        "get", **TIM, api_group="rbac.authorization.k8s.io", resource="clusterroles", name="edit"
    ),
    "its status": Attributes(
        "update", **TIM, api_group="rbac.authorization.k8s.io", resource="clusterroles", subresource="status"
    ),
    "logs": Attributes("get", **TIM, path="/logs/kubelet.log"),
    "nobody": Attributes("get", user=None, resource="pods", namespace="default", name="busybox"),
}
RBAC = "rbac.authorization.k8s.io"
# level, and the rule alone in its policy
MATCHES = {
    "no condition": ({}, ["a pod", "its log", "a cluster role", "its status", "logs", "nobody"]),
    "empty lists": (
        {"users": [], "verbs": None, "resources": []},
        ["a pod", "its log", "a cluster role", "its status", "logs", "nobody"],
    ),
    "a verb": ({"verbs": ["update"]}, ["its status"]),
    "* is no verb": ({"verbs": ["*"]}, []),
    "a user": ({"users": ["tim@k8s.io"]}, ["a pod", "its log", "a cluster role", "its status", "logs"]),
    "another user": ({"users": ["tom@k8s.io"]}, []),
    "a user and a group are both needed": ({"users": ["tim@k8s.io"], "userGroups": ["robots"]}, []),
    "any of the groups": (
        {"userGroups": ["robots", "humans"]},
        ["a pod", "its log", "a cluster role", "its status", "logs"],
    ),
    "a resource without its subresources": ({"resources": [{"group": "", "resources": ["pods"]}]}, ["a pod", "nobody"]),
    "the core group is the default": ({"resources": [{"resources": ["pods"]}]}, ["a pod", "nobody"]),
    "a resource of another group": ({"resources": [{"group": "apps", "resources": ["pods"]}]}, []),
    "a subresource": ({"resources": [{"resources": ["pods/log"]}]}, ["its log"]),
    "* is all of a group": ({"resources": [{"resources": ["*"]}]}, ["a pod", "its log", "nobody"]),
    "a group alone is all of it": ({"resources": [{"group": RBAC}]}, ["a cluster role", "its status"]),
    "*/log is the subresource of any": ({"resources": [{"resources": ["*/log"]}]}, ["its log"]),
    "pods/* is every subresource, and pods": (
        {"resources": [{"resources": ["pods/*"]}]},
        ["a pod", "its log", "nobody"],
    ),
    "pods* is nothing": ({"resources": [{"resources": ["pods*"]}]}, []),
    "* is any group": ({"resources": [{"group": "*", "resources": ["*/status"]}]}, ["its status"]),
    "a name": (
        {"resources": [{"group": RBAC, "resources": ["clusterroles"], "resourceNames": ["edit"]}]},
        ["a cluster role"],
    ),
    "another name": ({"resources": [{"group": RBAC, "resources": ["clusterroles"], "resourceNames": ["view"]}]}, []),
    "a namespace": ({"namespaces": ["default"]}, ["a pod", "its log", "nobody"]),
    "the empty namespace is what has none": ({"namespaces": [""]}, ["a cluster role", "its status"]),
    "a namespace and a resource": ({"namespaces": ["kube-system"], "resources": [{"resources": ["pods"]}]}, []),
    "a path": ({"nonResourceURLs": ["/logs/kubelet.log"]}, ["logs"]),
    "the start of a path": ({"nonResourceURLs": ["/logs*"]}, ["logs"]),
    "a path does not stand for what is below": ({"nonResourceURLs": ["/logs"]}, []),
    "* is every path": ({"nonResourceURLs": ["*"]}, ["logs"]),
}
REFUSED = {
    "another kind": ({"kind": "Event"}, "kind is not Policy"),
    "another version": ({"apiVersion": "audit.k8s.io/v2"}, "apiVersion"),
    "no rules": ({"rules": []}, "without rules"),
    "no level": ({"rules": [{}]}, "level"),
    "no such level": ({"rules": [{"level": "Body"}]}, r"rules\[0\].level is one of"),
    "no such stage": ({"omitStages": ["Received"]}, "no such stage: Received"),
    "no such stage in a rule": ({"rules": [{"level": "None", "omitStages": ["X"]}]}, r"rules\[0\].omitStages"),
    "paths and resources": (
        {"rules": [{"level": "None", "nonResourceURLs": ["/x"], "namespaces": ["a"]}]},
        "together with nonResourceURLs",
    ),
    "a * inside a path": ({"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "not its last character"),
    "a path without a slash": ({"rules": [{"level": "None", "nonResourceURLs": ["healthz"]}]}, "begin with /"),
    "a group with its version": ({"rules": [{"level": "None", "resources": [{"group": "apps/v1"}]}]}, "no API group"),
    "names without resources": (
        {"rules": [{"level": "None", "resources": [{"resourceNames": ["a"]}]}]},
        "resourceNames without resources",
    ),
    "a wrong type": ({"rules": [{"level": "None", "verbs": "get"}]}, "verbs"),
}  # fmt: skip


def document(**fields):
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}], **fields}


@pytest.mark.parametrize(("rule", "wanted"), MATCHES.values(), ids=MATCHES)
def test_which_requests_a_rule_matches(rule, wanted):
    policy, warnings = policy_of(document(rules=[{"level": "Request", **rule}]))
    assert [name for name, asked in REQUESTS.items() if evaluate(policy, asked).level == "Request"] == wanted
    assert warnings == []


def test_the_first_rule_that_matches_decides():
    policy, _ = policy_of(
        document(
            rules=[
                {"level": "Request", "resources": [{"resources": ["pods/log"]}]},
                {"level": "RequestResponse", "verbs": ["get"], "resources": [{"resources": ["*"]}]},
                {"level": "Metadata"},
            ]
        )
    )
    found = {name: evaluate(policy, asked) for name, asked in REQUESTS.items()}
    assert (found["its log"].level, found["its log"].rule) == ("Request", 1)
    assert (found["a pod"].level, found["a pod"].rule) == ("RequestResponse", 2)
    assert (found["logs"].level, found["logs"].rule) == ("Metadata", 3)


def test_no_rule_is_the_level_none():
    policy, _ = policy_of(document(omitStages=["Panic"], rules=[{"level": "Request", "verbs": ["create"]}]))
    config = evaluate(policy, REQUESTS["a pod"])
    assert (config.level, config.omit_stages, config.rule) == ("None", {"Panic"}, 0)


def test_stages_are_omitted_by_policy_and_by_rule_together():
    policy, _ = policy_of(
        document(omitStages=["RequestReceived"], rules=[{"level": "Request", "omitStages": ["ResponseStarted"]}])
    )
    assert evaluate(policy, REQUESTS["a pod"]).omit_stages == {"RequestReceived", "ResponseStarted"}


@pytest.mark.parametrize(
    ("of_policy", "of_rule", "wanted"), [(True, None, True), (True, False, False), (False, True, True)]
)
def test_a_rule_overrides_the_policy_on_managed_fields(of_policy, of_rule, wanted):
    policy, _ = policy_of(
        document(omitManagedFields=of_policy, rules=[{"level": "Request", "omitManagedFields": of_rule}])
    )
    assert evaluate(policy, REQUESTS["a pod"]).omit_managed_fields is wanted


@pytest.mark.parametrize(("fields", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_the_server_refuses_is_refused(fields, reason):
    with pytest.raises(BadPolicy, match=reason):
        policy_of(document(**fields))


def test_a_field_that_the_server_ignores_is_told():
    _, warnings = policy_of(document(rules=[{"level": "None", "verb": ["get"], "resources": [{"names": ["a"]}]}]))
    assert warnings == [
        "rules[0].verb: no such field, the API server ignores it",
        "rules[0].resources[0].names: no such field, the API server ignores it",
    ]


def test_yaml_that_is_none_is_refused():
    with pytest.raises(BadPolicy):
        parse_policy("rules: [")
