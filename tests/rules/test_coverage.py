"""`leadsman coverage` is right: what it says under a policy is held against what a real API server logged under it.

The recordings of tests/fixtures/coverage are made by tests/real/test_coverage.py, one for each attack and policy.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from leadsman_cli.audit_policy import parse_policy
from leadsman_cli.audited import NOBODY, SOMEBODY, Audit, request, seen
from leadsman_cli.coverage import cover
from leadsman_cli.named_policies import named_policy
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import level_at_least

FIXTURES = Path(__file__).parents[1] / "fixtures" / "coverage"
ATTACKS = yaml.safe_load((FIXTURES / "attacks.yml").read_text())["attacks"]
POLICIES = sorted(p.name for p in FIXTURES.iterdir() if p.is_dir())
JUDGED = sorted({a["rule"] for a in ATTACKS})

# what is said of each policy: a change here is a change of what we promise
SAID = {
    "full": dict.fromkeys(JUDGED, "can fire"),
    "eks": {rule: "degraded" if rule == "service-exposed" else "can fire" for rule in JUDGED},
    "metadata": {
        "cluster-role-exec": "blind",
        "crypto-mining-image": "blind",
        "dangerous-container-command": "degraded",
        "exec-by-new-role": "blind",
        "host-network-pod": "degraded",
        "known-malicious-pod": "blind",
        "pod-attach": "can fire",
        "privileged-cluster-role": "blind",
        "privileged-container": "degraded",
        "sensitive-volume": "degraded",
        "service-exposed": "blind",
        "unauthenticated-exec": "can fire",
        "unauthenticated-request-allowed": "can fire",
    },
    "writes": {
        "cluster-role-exec": "blind",
        "crypto-mining-image": "degraded",
        "dangerous-container-command": "degraded",
        "exec-by-new-role": "blind",
        "host-network-pod": "degraded",
        "known-malicious-pod": "degraded",
        "pod-attach": "blind",
        "privileged-cluster-role": "blind",
        "privileged-container": "degraded",
        "sensitive-volume": "degraded",
        "service-exposed": "degraded",
        "unauthenticated-exec": "blind",
        "unauthenticated-request-allowed": "blind",
    },
    "patchy": {
        **dict.fromkeys(JUDGED, "degraded"),
        "service-exposed": "blind",
    },
}


@cache
def audit(policy):
    return Audit(parse_policy((FIXTURES / policy / "policy.yaml").read_text())[0])


@cache
def covered(policy):
    rules = load_rules(())
    return {c.name: c for c in cover([r.rule for r in rules.rules], rules.correlations, audit(policy))}


@cache
def fired(policy, rule, name):
    """The highest level that the attack's own rule fires at in its recording; "" for none."""
    scanner = Scanner(load_rules(()))
    path = FIXTURES / policy / f"{rule}--{name}.ndjson"
    with path.open("rb") as stream:
        scanner.take(read(path.name, stream, "auto", Identity(), lambda _size: None))
    assert not scanner.found.bad
    levels = [a["level"] for a in scanner.found.alerts.values() if a["rule"]["name"] == rule]
    return max(levels, key=lambda level: sum(level_at_least(level, other) for other in levels), default="")


@pytest.mark.parametrize("policy", POLICIES)
def test_each_rule_is_judged_as_promised(policy):
    assert {rule: covered(policy)[rule].status for rule in JUDGED} == SAID[policy]


def test_every_policy_and_the_twelve_are_recorded():
    assert set(SAID) == set(POLICIES)
    assert len(JUDGED) == 13
    files = {f"{a['rule']}--{a['name']}.ndjson" for a in ATTACKS}
    for policy in POLICIES:
        assert {p.name for p in (FIXTURES / policy).glob("*.ndjson")} == files


def test_eks_was_recorded_under_the_policy_that_ships():
    assert audit("eks").policy == named_policy("eks").audit.policy


@pytest.mark.parametrize("rule", JUDGED)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_said_of_a_rule_is_seen(policy, rule):
    """Able fires at each attack as under the full policy, degraded at some, blind at none."""
    status = covered(policy)[rule].status
    names = [a["name"] for a in ATTACKS if a["rule"] == rule]
    levels = {name: fired(policy, rule, name) for name in names}
    full = {name: fired("full", rule, name) for name in names}
    if status == "can fire":
        assert levels == full
        assert all(levels.values())
        assert any(level_at_least(level, "medium") for level in levels.values())
    elif status == "degraded":
        assert any(levels.values())
    else:
        assert not any(levels.values()), levels


@pytest.mark.parametrize(
    "attack", [a for a in ATTACKS if a["rule"] != "exec-by-new-role"], ids=lambda a: f"{a['rule']}--{a['name']}"
)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_said_of_a_request_is_seen(policy, attack):
    """An attack fires where, and only where, its own request is logged as one of the rule's sights needs it."""
    rule, verb, what = attack["rule"], attack["verb"], attack["resource"]
    sights = [
        r
        for r in next(x.rule for x in load_rules(()).rules if x.rule.name == rule).requires
        if r.kind in ({"sight", "fallback"} if attack.get("audited") else {"sight"})
        and verb in r.verbs
        and what in (*r.resources, *r.paths)
    ]
    assert sights, "the attack is none of what the rule says it requires"
    base = NOBODY if attack.get("user") == "anonymous" else SOMEBODY
    base = replace(base, namespace=attack.get("namespace", rule), name="web")
    said = any(not seen(audit(policy), request(base, verb, what), r.level).lacking for r in sights)
    assert bool(fired(policy, rule, attack["name"])) == said
