"""Every rule file keeps the house's promises, whoever adds one."""

from __future__ import annotations

import itertools
import re
import uuid
from pathlib import Path

import pytest
import yaml

from leadsman_cli.cases import USUAL
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_common.alerts import LEVELS, level_at_least, level_rank
from leadsman_detector.form import And, Leaf, Not, Or
from leadsman_detector.match import load
from leadsman_detector.sigma_nodes import nodes_of

REPO = Path(__file__).parents[2]
RULES = REPO / "rules"
FILES = sorted(p for p in RULES.rglob("*.yml") if p.parent.name != "lists")
DOCUMENTS = {
    f"{p.relative_to(RULES)}" + (f"#{number}" if number else ""): document
    for p in FILES
    for number, document in enumerate(yaml.safe_load_all(p.read_text()))
}
FILTERS = {name: d for name, d in DOCUMENTS.items() if "filter" in d}
SINGLE = {name: d for name, d in DOCUMENTS.items() if "detection" in d}
RULE_LIKE = {name: d for name, d in DOCUMENTS.items() if name not in FILTERS}
# what a log file cannot show: tests/unit/detector/test_silence.py and test_versioned.py have their cases
SILENCE = {"log-fell-silent", "logging-off-and-silent", "silent-then-action"}
VERSIONS = {"version-skew", "version-support-ended"}
RAISING = [
    d["name"]
    for d in RULE_LIKE.values()
    if (d.get("leadsman") or {}).get("alert", True) and d["name"] not in SILENCE | VERSIONS
]
CASES = {file.rule: file for file in read_all(Path(__file__).parent, load_rules(()))[0]}
TWELVE = {
    "crypto-mining-image", "dangerous-container-command", "known-malicious-pod", "cluster-role-exec",
    "unauthenticated-request-allowed", "privileged-cluster-role", "pod-attach", "host-network-pod", "service-exposed",
    "privileged-container", "sensitive-volume", "unauthenticated-exec",
}  # fmt: skip
# what a cloud's log cannot show at all: the rule is silent there, and a case says so
CANNOT = {
    ("record-cut-off", "gke"): "a cut LogEntry cannot be read: it is a dead letter",
    ("events-deleted", "eks"): "its audit policy leaves events out",
    ("events-deleted", "gke"): "its audit policy leaves events out",
    ("dangerous-then-events-deleted", "eks"): "its audit policy leaves events out",
    ("dangerous-then-events-deleted", "gke"): "its audit policy leaves events out",
    ("unlimited-account-used", "gke"): "no entry names the caller's groups",
    ("opened-then-anonymous", "native"): "no cloud",
    ("signal-then-pod-acts", "gke"): "no entry names the pod of a token",
    ("signal-guardduty-actor-acts", "native"): "GuardDuty watches EKS alone",
    ("signal-guardduty-actor-acts", "gke"): "GuardDuty watches EKS alone",
    ("signal-scc-actor-acts", "native"): "Security Command Center watches GKE alone",
    ("signal-scc-actor-acts", "eks"): "Security Command Center watches GKE alone",
    **{
        (slug, cloud): "only EKS lets people in by a call that names the cluster and the identity"
        for slug in ("cluster-access-given", "cluster-admin-given", "cluster-access-used")
        for cloud in ("native", "gke")
    },
    ("aws-auth-access-used", "gke"): "aws-auth is EKS's, and its log has the body and the IAM identity",
    ("credential-in-two-places", "gke"): "GKE logs neither the credential nor the pod",
    ("control-plane-logging-off", "native"): "a log that is switched off by a file on the node",
    ("control-plane-logging-off", "gke"): "GKE's audit log cannot be switched off for one cluster",
    ("posture-regression-flag", "native"): "the API server's own log comes with EKS's",
    ("posture-regression-flag", "gke"): "the API server's own log comes with EKS's",
    ("version-out-of-support", "native"): "calls of a cloud, and the API server's own log",
    ("account-logging-off", "native"): "no account",
    ("account-logging-off", "eks"): "EKS's logs are each cluster's own",
    ("logging-off-then-action", "native"): "a log that is switched off by a file on the node",
    ("logging-off-then-action", "gke"): "GKE's audit log cannot be switched off for one cluster",
    ("account-logging-off-then-action", "native"): "no account",
    ("account-logging-off-then-action", "eks"): "EKS's logs are each cluster's own",
    ("cloud-pivot", "native"): "no cloud",
    ("cloud-pivot", "gke"): "calls on Google Cloud do not carry the key that was issued",
}
# rules of calls that one cloud's API has, or some
CALLS_OF = {
    "admin-credential-taken": {"aks"},
    "cloud-identity-linked": {"eks", "gke"},
    "cluster-access-removed": {"eks", "aks"},
    "cluster-issuer-changed": {"eks"},
    "cluster-role-assigned": {"aks"},
    "cluster-security-group-opened": {"eks"},
    "command-through-cloud": {"aks"},
    "control-plane-endpoint-opened": {"eks", "gke", "aks"},
    "control-plane-logging-never-on": {"eks"},
    "linked-identity-given-power": {"eks", "gke"},
    "linked-identity-trusted": {"eks", "gke"},
    "network-policy-off": {"gke"},
    "powerful-identity-linked": {"eks", "gke"},
    "weak-authentication-on": {"gke", "aks"},
    **{
        f"posture-regression-{slug}": clouds
        for slug, clouds in {
            "anonymous": {"gke"},
            "basic-auth": {"gke"},
            "client-certificate": {"gke"},
            "data-access": {"gke"},
            "endpoint": {"eks", "gke", "aks"},
            "legacy-abac": {"gke"},
            "local-accounts": {"aks"},
            "logging": {"eks", "aks"},
            "network-policy": {"gke"},
            "networks": {"eks", "gke", "aks"},
            "release-channel": {"gke", "aks"},
            "secrets-encryption": {"gke", "aks"},
            "shielded-nodes": {"gke"},
        }.items()
    },
}
CANNOT |= {
    (slug, cloud): "its API has no such call"
    for slug, clouds in CALLS_OF.items()
    for cloud in USUAL
    if cloud not in clouds
}
# what an exception may hang on (DETECTIONS 1.9), by the fields that say it
KEYS = {
    "cluster": ("cluster.id", "cluster.name"),
    "namespace": ("objectRef.namespace", "facts.role.namespace", "facts.binding.subjects.namespace"),
    "actor": ("actor.name", "actor.namespace", "actor.service_account", "actor.groups", "user.username", "user.groups"),
    "image": (
        "facts.pod.containers.image",
        "facts.pod.containers.image_host",
        "facts.pod.containers.image_repo",
        "facts.pod.containers.image_suffix",
    ),
    "object": ("objectRef.name", "facts.pod.owner_name", "facts.role.name", "facts.binding.name"),
    "owner kind": ("facts.pod.owner_kind", "facts.pod.owners.kind", "facts.pod.kind"),
}


def values(name):
    return set(yaml.safe_load((RULES / "lists" / f"{name}.yml").read_text())["values"])


def test_the_shipped_rules_load_without_a_problem():
    rules = load([RULES])
    assert [str(p) for p in rules.problems] == []
    assert {r.rule.name for r in rules.rules} | {c.name for c in rules.correlations} == {
        d["name"] for d in RULE_LIKE.values()
    }


def test_the_twelve_are_there():
    assert {d["name"] for d in RULE_LIKE.values()} >= TWELVE


@pytest.mark.parametrize("key", ["id", "name"])
def test_ids_and_slugs_are_unique(key):
    found = [d[key] for d in DOCUMENTS.values() if key in d]
    assert sorted(found) == sorted(set(found))


@pytest.mark.parametrize("name", RULE_LIKE)
def test_a_rule_says_what_it_is(name):
    rule = RULE_LIKE[name]
    assert rule["name"] == Path(name).stem
    assert str(uuid.UUID(rule["id"])) == rule["id"]
    assert rule["level"] in LEVELS
    assert len(rule["description"]) > 40
    assert rule["references"]
    assert rule["falsepositives"]


@pytest.mark.parametrize("name", RULE_LIKE)
def test_its_attack_tags_exist(name):
    tags = [tag.removeprefix("attack.") for tag in RULE_LIKE[name]["tags"] if tag.startswith("attack.")]
    techniques = {tag for tag in tags if re.fullmatch(r"t\d{4}(\.\d{3})?", tag)}
    assert techniques
    assert sorted(techniques - {value.lower() for value in values("attack-techniques")}) == []
    assert set(tags) - techniques
    assert sorted(set(tags) - techniques - values("attack-tactics")) == []


@pytest.mark.parametrize("name", SINGLE)
def test_every_level_and_modifier_can_be_met(name):
    """A `when` that names no detection, a step after one that always holds, a modifier without a reason."""
    own = SINGLE[name].get("leadsman") or {}
    for step in own.get("levels") or ():
        assert step["level"] in LEVELS
    for modifier in own.get("modifiers") or ():
        assert modifier["by"] in (-2, -1, 1, 2)
        assert len(modifier["why"]) > 5
    steps = [step["when"] for step in own.get("levels") or ()]
    assert len(steps) == len(set(steps))


def highest(slug):
    """The highest level that a rule gives."""
    (rule,) = (d for d in RULE_LIKE.values() if d["name"] == slug)
    steps = (rule.get("leadsman") or {}).get("levels") or ()
    return max([rule["level"], *(step["level"] for step in steps)], key=level_rank)


@pytest.mark.parametrize("cloud", USUAL)
@pytest.mark.parametrize("slug", RAISING)
def test_it_has_cases_of_both_kinds_on_each_cloud(slug, cloud):
    """One that fires, at medium or above where the rule goes that far, and one that does not."""
    assert slug in CASES, "no case file"
    wanted = [case.wanted(cloud) for case in CASES[slug].cases if cloud in case.on()]
    loud = "medium" if level_at_least(highest(slug), "medium") else "informational"
    quiet = ("none", "below-medium", "informational") if loud == "medium" else ("none",)
    if (slug, cloud) not in CANNOT:
        assert [level for level in wanted if level in LEVELS and level_at_least(level, loud)]
    assert [level for level in wanted if level in quiet]


@pytest.mark.parametrize("slug", CALLS_OF)
def test_a_rule_of_calls_fires_on_each_cloud_that_has_them(slug):
    assert highest(slug) != "informational" or slug == "cluster-access-removed"
    (rule,) = (d for d in RULE_LIKE.values() if d["name"] == slug)
    assert rule["leadsman"]["responsible"] in ("you", "provider")
    fires = {c for case in CASES[slug].cases for c in case.on() if case.wanted(c) != "none"}
    assert fires == CALLS_OF[slug]


@pytest.mark.parametrize("name", FILTERS)
def test_an_exception_names_two_things_at_least(name):
    """So nobody hides behind one that can be chosen: a namespace, an image's name."""
    filters = FILTERS[name]["filter"]
    assert filters["rules"]
    assert {r if isinstance(r, str) else "" for r in filters["rules"]} <= {d["name"] for d in RULE_LIKE.values()}
    detection = {key: value for key, value in filters.items() if key != "rules"}
    # a filter's condition is joined to the rule's with `and`: what it is not is excepted
    # where it only lowers the level, it is enough that people are told from the accounts of workloads
    lowers = "level" in (FILTERS[name].get("leadsman") or {})
    keys = {**KEYS, "actor": (*KEYS["actor"], "actor.class")} if lowers else KEYS
    weak = [kinds for kinds in alternatives(Not(parsed(detection)), keys) if len(kinds) < 2]
    assert weak == [], f"an event passes by {[sorted(kinds) for kinds in weak]} alone"


def parsed(detection):
    (node,) = nodes_of(detection, [detection["condition"]], lambda _clause, _path: 0)
    return node


def alternatives(node, keys=KEYS, *, turned=False):
    """The ways in which a condition (or, turned, its opposite) can hold, each as the kinds of things that it names."""
    if isinstance(node, Not):
        return alternatives(node.part, keys, turned=not turned)
    if isinstance(node, And | Or):
        each = [alternatives(part, keys, turned=turned) for part in node.parts]
        if isinstance(node, Or) is not turned:
            return {kinds for found in each for kinds in found}
        return {frozenset().union(*chosen) for chosen in itertools.product(*each)}
    if turned or not isinstance(node, Leaf) or node.op in ("exists", "null"):
        return {frozenset()}
    return {frozenset(kind for kind, fields in keys.items() if node.path in fields)}


@pytest.mark.parametrize(
    ("detection", "weakest"),
    [
        ({"a": {"objectRef.namespace": "kube-system"}, "condition": "a"}, 1),
        ({"a": {"objectRef.namespace": "x", "facts.pod.containers.image_repo": "y"}, "condition": "a"}, 2),
        ({"a": {"facts.pod.containers.image_host": "x", "facts.pod.containers.image_repo": "y"}, "condition": "a"}, 1),
        ({"a": {"objectRef.namespace": "x"}, "b": {"actor.name": "y"}, "condition": "a and b"}, 2),
        ({"a": {"objectRef.namespace": "x"}, "b": {"actor.name": "y"}, "condition": "a or b"}, 1),
        ({"a": {"objectRef.namespace": "x", "actor.name|exists": True}, "condition": "a"}, 1),
        ({"a": [{"objectRef.namespace": "x", "actor.name": "y"}, {"actor.name": "z"}], "condition": "a"}, 1),
        ({"a": {"objectRef.namespace": "x"}, "b": {"actor.name": "y"}, "condition": "not (not a or not b)"}, 2),
        ({"a": {"objectRef.namespace": "x"}, "b": {"actor.name": "y"}, "condition": "a and not b"}, 1),
    ],
)
def test_alternatives_are_told_apart(detection, weakest):
    assert min(len(kinds) for kinds in alternatives(parsed(detection))) == weakest


@pytest.mark.parametrize("path", sorted((RULES / "lists").glob("*.yml")), ids=lambda p: p.name)
def test_a_list_says_where_each_value_comes_from(path):
    lines = [line for line in path.read_text().splitlines() if line.strip().startswith("- ")]
    assert len(lines) == len(yaml.safe_load(path.read_text())["values"])
    assert [line for line in lines if "  # " not in line] == []
