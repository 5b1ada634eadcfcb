"""What an alert tells of an object beside the facts that decided."""

from leadsman_detector.context import context_of

RULE = {"groups": [""], "resource_names": [], "non_resource_urls": [], "grants": [], "classes": []}
EXEC = {**RULE, "verbs": ["create"], "resources": ["pods/exec"], "grants": ["exec"]}
READ = {**RULE, "verbs": ["get", "list"], "resources": ["pods"]}
NOTHING = dict.fromkeys(("role", "binding", "service", "exec", "cloud_access", "cloud_link", "cloud_grant"))


def context(facts, *decided):
    return list(context_of({"facts": facts and {**NOTHING, **facts}}, decided))


def test_the_policy_rule_that_decided_as_it_stands():
    role = {"rules": [READ, EXEC]}
    assert context({"role": role}, ("facts.role.rules.grants", "exec")) == [
        ("facts.role.rules", "verbs=create groups= resources=pods/exec")
    ]
    assert context({"role": role}, ("facts.role.kind", "ClusterRole")) == []


def test_what_a_service_leads_to():
    service = {
        "ports": [{"port": 80, "proto": "TCP", "target": "8080", "node": 30080}],
        "selector": {"app": "front"},
        "source_ranges": ["198.51.100.0/24"],
    }
    assert context({"service": service}) == [
        ("facts.service.ports", "80/TCP to 8080, node port 30080"),
        ("facts.service.selector", "app=front"),
        ("facts.service.source_ranges", "198.51.100.0/24"),
    ]


def test_which_streams_were_asked_for():
    opened = {"container": "app", "stdin": True, "stdout": True, "stderr": False, "tty": False}
    assert context({"exec": opened}) == [("facts.exec.container", "app"), ("facts.exec", "stdin stdout")]


def test_who_is_bound_to_what():
    subjects = [
        {"kind": "Group", "namespace": "", "name": "contractors"},
        {"kind": "ServiceAccount", "namespace": "etl", "name": "loader"},
    ]
    assert context({"binding": {"role_kind": "ClusterRole", "role_name": "metrics", "subjects": subjects}}) == [
        ("facts.binding.subjects", "Group contractors"),
        ("facts.binding.subjects", "ServiceAccount etl/loader"),
        ("facts.binding.role", "ClusterRole metrics"),
    ]


def test_who_may_enter_from_the_clouds_side():
    access = {"principal_arn": "arn:aws:iam::1:role/x", "policy": "AmazonEKSEditPolicy", "scope": "namespace"}
    assert context({"cloud_access": {**access, "groups": ["admins"], "namespaces": ["shop"]}}) == [
        ("facts.cloud_access.policy", "AmazonEKSEditPolicy"),
        ("facts.cloud_access.scope", "namespace"),
        ("facts.cloud_access.principal_arn", "arn:aws:iam::1:role/x"),
        ("facts.cloud_access.groups", "admins"),
        ("facts.cloud_access.namespaces", "shop"),
    ]


def test_which_cloud_identity_is_linked():
    assert context({"cloud_link": {"identity": "arn:aws:iam::1:role/x", "subjects": ["shop/api"]}}) == [
        ("facts.cloud_link.identity", "arn:aws:iam::1:role/x"),
        ("facts.cloud_link.subjects", "shop/api"),
    ]


def test_an_event_without_facts_has_none():
    assert context(None) == []


def test_what_a_cloud_identity_is_given_and_whose_it_is():
    grant = {"identity": "app", "via": "inline", "policy": "more", "scope": "", "principals": [], "removed": False}
    trust = {**grant, "via": "trust", "policy": "", "principals": ["*"], "removed": True}
    event = {"facts": {**NOTHING, "cloud_grant": {"grants": [grant, trust]}}}
    event["known"] = {"cloud_identity": {"service_accounts": ["system:serviceaccount:shop:web"], "clusters": ["prod"]}}
    assert list(context_of(event, ())) == [
        ("facts.cloud_grant.grants", "+more: app"),
        ("facts.cloud_grant.grants", "-trust: app"),
        ("facts.cloud_grant.grants.principals", "*"),
        ("known.cloud_identity.service_accounts", "system:serviceaccount:shop:web"),
        ("known.cloud_identity.clusters", "prod"),
    ]
