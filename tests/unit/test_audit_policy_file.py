"""deploy/audit-policy.yaml is one that every rule can work under, and that puts no secret into the log."""

from pathlib import Path

import pytest

from leadsman_cli.audit_policy import Attributes, evaluate, parse_policy
from leadsman_cli.audited import Audit
from leadsman_cli.coverage import cover
from leadsman_cli.rules import load_rules

TEXT = (Path(__file__).parents[2] / "deploy" / "audit-policy.yaml").read_text(encoding="utf-8")
POLICY, WARNINGS = parse_policy(TEXT)
# who aws-auth lets in: EKS's ConfigMap, and EKS has a policy of its own
AWS_AUTH = ("aws-auth-access-used", "aws-auth-role-mapped", "aws-auth-user-mapped")
# what leases tell, of which the API server's own alone are logged
SERVERS = ("version-support-ended",)


def test_a_server_would_take_it_without_a_word():
    assert WARNINGS == []


def test_every_rule_can_fire():
    loaded = load_rules(())
    judged = cover([r.rule for r in loaded.rules], loaded.correlations, Audit(POLICY))
    assert len(judged) > 12
    assert {c.name: c.why for c in judged if c.status != "can fire" and c.name not in {*AWS_AUTH, *SERVERS}} == {}
    assert {c.name: c.status for c in judged if c.name in SERVERS} == dict.fromkeys(SERVERS, "degraded")


def test_without_the_rule_of_writes_it_would_not_do():
    """The test above can fail: less than the file says is less than the rules need."""
    loaded = load_rules(())
    less, _ = parse_policy(TEXT.replace("level: RequestResponse", "level: Metadata"))
    judged = cover([r.rule for r in loaded.rules], loaded.correlations, Audit(less))
    assert "privileged-container" in {c.name for c in judged if c.status != "can fire"}


def asked(verb, resource, group="", sub="", **more):
    user = {"user": "u", "groups": ("system:authenticated",), "namespace": "n", "name": "x", **more}
    return Attributes(verb, api_group=group, resource=resource, subresource=sub, **user)


def test_a_cluster_that_is_made_anew_tells_it():
    """The namespace kube-system is made by the API server itself: lives.py looks for it."""
    who = {"user": "system:apiserver", "groups": ("system:authenticated", "system:masters")}
    found = evaluate(POLICY, asked("create", "namespaces", **who, namespace="", name="kube-system"))
    assert found.level == "RequestResponse"


@pytest.mark.parametrize(
    ("request_", "level"),
    [
        (asked("create", "secrets"), "Metadata"),
        (asked("update", "configmaps"), "Metadata"),
        (asked("create", "serviceaccounts", sub="token"), "Metadata"),
        (asked("create", "tokenreviews", "authentication.k8s.io"), "Metadata"),
        (asked("get", "secrets"), "Metadata"),
        (asked("get", "pods", sub="exec"), "Request"),
        (asked("create", "nodes", sub="proxy"), "Request"),
        (asked("get", "secrets", user="system:node:n", groups=("system:nodes",)), "Metadata"),
        (asked("create", "pods"), "RequestResponse"),
        (asked("patch", "deployments", "apps"), "RequestResponse"),
        (asked("create", "workflows", "argoproj.io"), "RequestResponse"),
        (asked("list", "pods"), "Metadata"),
        (asked("update", "leases", "coordination.k8s.io"), "None"),
        (asked("create", "pods", user="system:node:n", groups=("system:nodes",)), "RequestResponse"),
    ],
)
def test_levels(request_, level):
    assert evaluate(POLICY, request_).level == level
