"""Every rule file keeps the house's promises, whoever adds one."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
import yaml

from leadsman_common.alerts import LEVELS
from leadsman_detector.match import load

REPO = Path(__file__).parents[2]
RULES = REPO / "rules"
FILES = sorted(p for p in RULES.rglob("*.yml") if p.parent.name != "lists")
DOCUMENTS = {str(p.relative_to(RULES)): yaml.safe_load(p.read_text()) for p in FILES}
TWELVE = {
    "crypto-mining-image", "dangerous-container-command", "known-malicious-pod", "cluster-role-exec",
    "unauthenticated-request-allowed", "privileged-cluster-role", "pod-attach", "host-network-pod", "service-exposed",
    "privileged-container", "sensitive-volume", "unauthenticated-exec",
}  # fmt: skip


def test_the_shipped_rules_load_without_a_problem():
    rules = load([RULES])
    assert [str(p) for p in rules.problems] == []
    assert {r.rule.name for r in rules.rules} | {c.name for c in rules.correlations} == {
        d["name"] for d in DOCUMENTS.values()
    }


def test_the_twelve_are_there():
    assert {d["name"] for d in DOCUMENTS.values()} >= TWELVE


def test_ids_are_unique():
    ids = [d["id"] for d in DOCUMENTS.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_rule_says_what_it_is(name):
    rule = DOCUMENTS[name]
    assert rule["name"] == Path(name).stem
    assert str(uuid.UUID(rule["id"])) == rule["id"]
    assert rule["level"] in LEVELS
    assert len(rule["description"]) > 40
    assert rule["references"]
    assert rule["falsepositives"]
    assert any(re.fullmatch(r"attack\.t\d{4}(\.\d{3})?", tag) for tag in rule["tags"])


@pytest.mark.parametrize("path", sorted((RULES / "lists").glob("*.yml")), ids=lambda p: p.name)
def test_a_list_says_where_each_value_comes_from(path):
    lines = [line for line in path.read_text().splitlines() if line.strip().startswith("- ")]
    assert len(lines) == len(yaml.safe_load(path.read_text())["values"])
    assert [line for line in lines if "  # " not in line] == []
