"""docs/coming-from.md is what docs/coming-from.py makes of its data, and the data speak of rules that there are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
DOCS = REPO / "docs"
SETS = {one["name"]: one for one in yaml.safe_load((DOCS / "coming-from.yml").read_text())}
ROWS = [pytest.param(rule, id=f"{name}: {rule['theirs']}") for name, one in SETS.items() for rule in one["rules"]]
RULES = {
    path.stem: yaml.safe_load(path.read_text())
    for folder in ("kubernetes", "cloud", "correlations")
    for path in (REPO / "rules" / folder).glob("*.yml")
}


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("docs_coming_from", DOCS / "coming-from.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "coming-from.md").read_text(encoding="utf-8") == module.page(), "run: make docs"


@pytest.mark.parametrize(
    ("name", "rules"), [("Falco", 48), ("Elastic", 108), ("Panther", 58), ("Datadog", 16)], ids=str
)
def test_no_rule_of_a_source_is_left_out(name, rules):
    (one,) = (found for called, found in SETS.items() if called.startswith(name))
    theirs = [rule["theirs"] for rule in one["rules"]]
    assert len(theirs) == len(set(theirs)) == rules
    assert one["source"].startswith("https://")
    assert one["date"]


@pytest.mark.parametrize("rule", ROWS)
def test_a_row_names_rules_that_raise_and_have_cases_or_says_why_not(rule):
    assert rule.keys() <= {"theirs", "ours", "why", "inventory"}
    ours = rule.get("ours", [])
    assert ours or len(rule["why"]) > 20
    for slug in ours:
        assert (RULES[slug].get("leadsman") or {}).get("alert", True), f"{slug} raises nothing"
        assert (REPO / "tests" / "rules" / f"{slug}.yml").is_file(), f"{slug} has no cases"
    if rule.get("inventory"):
        assert {RULES[slug]["level"] for slug in ours} <= {"informational"}
