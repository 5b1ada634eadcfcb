"""What an alert tells of an object beside the facts that decided."""

from leadsman_detector.context import context_of

RULE = {"groups": [""], "resource_names": [], "non_resource_urls": [], "grants": [], "classes": []}
EXEC = {**RULE, "verbs": ["create"], "resources": ["pods/exec"], "grants": ["exec"]}
READ = {**RULE, "verbs": ["get", "list"], "resources": ["pods"]}
NOTHING = {"role": None, "service": None, "exec": None}


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


def test_an_event_without_facts_has_none():
    assert context(None) == []
