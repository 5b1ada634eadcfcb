"""docs/rules.md is what docs/rules.py makes of the rules, their filters, lists and cases."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from leadsman_cli.cases import load_cases
from leadsman_cli.judge_cases import judge_all
from leadsman_cli.rules import load_rules
from leadsman_detector.match import load

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("docs_rules", DOCS / "rules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def test_the_page_is_up_to_date(made):
    assert (DOCS / "rules.md").read_text(encoding="utf-8") == made, "run: make docs"


def test_every_rule_has_its_part(made):
    loaded = load_rules(())
    raising = {r.rule.name for r in loaded.rules if r.rule.alert} | {c.name for c in loaded.correlations if c.alert}
    assert set(re.findall(r"^## ([a-z-]+)$", made, re.MULTILINE)) == raising
    for title in ("Blind spots", "False positives", "Exceptions", "ATT&CK"):
        assert made.count(f"**{title}:**") == len(raising)


def test_every_rule_is_proven_on_three_clouds(made):
    rows = [line.split(" | ") for line in made.splitlines() if line.startswith("| [")]
    assert len(rows) >= 13
    found = {row[0].split("[")[1].split("]")[0] for row in rows if "-" in row[1:4]}
    # settings are each cloud's own
    found = {slug for slug in found if not slug.startswith("posture-regression-")}
    # what a cloud cannot show at all: a cut LogEntry of GKE, what the sensors of another cloud see, what GKE leaves out
    assert found == {
        "record-cut-off", "opened-then-anonymous", "signal-guardduty-actor-acts", "signal-scc-actor-acts",
        "signal-then-pod-acts", "cluster-access-given", "cluster-admin-given", "cluster-access-used",
        "aws-auth-access-used", "credential-in-two-places", "control-plane-logging-off", "account-logging-off",
        "logging-off-then-action", "account-logging-off-then-action", "cloud-pivot", "events-deleted",
        "unlimited-account-used", "admin-credential-taken", "cloud-identity-linked", "cluster-access-removed",
        "cluster-issuer-changed", "cluster-role-assigned", "cluster-security-group-opened", "command-through-cloud",
        "control-plane-endpoint-opened", "control-plane-logging-never-on", "network-policy-off",
        "linked-identity-given-power", "linked-identity-trusted", "powerful-identity-linked",
        "weak-authentication-on", "version-out-of-support", "dangerous-then-events-deleted",
        # what did not come is no case of a file: tests/unit/detector/test_silence.py
        "logging-off-and-silent", "silent-then-action",
        # what components say all day is heard in the stream: tests/unit/detector/test_versioned.py
        "version-skew", "version-support-ended",
    }  # fmt: skip


def test_the_examples_of_writing_rules_work(tmp_path):
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "writing-rules.md").read_text(), re.DOTALL | re.MULTILINE)
    cases = [b for b in blocks if b.startswith("rule:")]
    whole = [b for b in blocks if b.startswith("title:")]
    assert (len(cases), len(whole)) == (1, 6)
    shipped = DOCS.parent / "rules"
    for name in ("kubernetes/secret-read.yml", "lists/controller-accounts.yml"):  # what the correlation counts
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text((shipped / name).read_text())
    for number, block in enumerate(whole):
        (tmp_path / f"{number}.yml").write_text(block)
    rules = load([tmp_path])
    assert [str(p) for p in rules.problems] == []
    assert [len(r.filters) for r in rules.rules if r.rule.name == "host-network-pod"] == [1]
    assert [c.rules for c in rules.correlations] == [("secret-read",)]
    assert [c.level for c in rules.correlations] == ["low"]  # what the patch says
    assert [one.by for one in rules.acknowledged.values()] == ["platform team"]
    path = tmp_path / "cases.yml"
    path.write_text(cases[0])
    results = list(judge_all(rules, [load_cases(path)]))
    assert [(r.case.name, r.cloud, r.reasons) for r in results if r.status != "passed"] == []
    assert len(results) == 6
