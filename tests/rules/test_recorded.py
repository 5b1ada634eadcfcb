"""The recorded scenarios of a real API server, each scanned by itself: what must fire fires, the rest stays silent.

In native form, and as a CloudWatch Logs subscription delivers them.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner

SLUGS = (
    "", "crypto-mining-image", "dangerous-container-command", "known-malicious-pod", "cluster-role-exec",
    "unauthenticated-request-allowed", "privileged-cluster-role", "pod-attach", "host-network-pod", "service-exposed",
    "privileged-container", "sensitive-volume", "unauthenticated-exec",
)  # fmt: skip
# the recording calls these ambiguous, and we decide otherwise
LOUD_ON_PURPOSE = {
    "r04-neg-namespaced-role.ndjson": "a Role that grants exec is the same power in one namespace: medium"
}


@pytest.fixture(scope="module")
def scenarios(corpora):
    return json.loads((corpora / "kube-apiserver" / "scenarios.json").read_text())


@pytest.fixture(scope="module", params=["native", "cloudwatch"])
def scanned(request, corpora, scenarios, tmp_path_factory):
    """For each file the alerts, those of medium and above first asked for by the tests."""
    rules = load_rules(())
    made = tmp_path_factory.mktemp("cloudwatch")
    found = {}
    for scenario in scenarios:
        path = corpora / "kube-apiserver" / scenario["file"]
        scanner = Scanner(rules)
        for part in [path] if request.param == "native" else wrapped(path, made):
            with part.open("rb") as stream:
                scanner.take(read(part.name, stream, "auto", Identity(), lambda _size: None))
        assert not scanner.found.bad, scenario["file"]
        assert scanner.found.records, scenario["file"]
        found[scenario["file"]] = scanner.found
    return found


def wrapped(path, made):
    """The CloudWatch records of a file: those that are kept beside it, else made by the tool that made those."""
    kept = path.parent / "cloudwatch"
    parts = f"{path.stem}.*.cwl.json.gz"
    if not list(kept.glob(parts)):
        subprocess.run([sys.executable, kept / "eks_cloudwatch.py", path, made], check=True)
        kept = made
    return sorted(kept.glob(parts), key=lambda p: int(p.name.split(".")[-4]))


def fired(found, slug, level):
    return [a for a in found.above(level) if a["rule"]["name"] == slug]


def test_positives_fire(scenarios, scanned):
    wanted = [s for s in scenarios if s["should_fire"]]
    missed = [
        f"{s['file']} ({SLUGS[s['rule']]})"
        for s in wanted
        if not fired(scanned[s["file"]], SLUGS[s["rule"]], s.get("min_level", "medium"))
    ]
    assert len(wanted) >= 76
    assert missed == []


def test_everyday_files_are_silent(scenarios, scanned):
    loud = {
        s["file"]: [(a["rule"]["name"], a["level"], a["title"]) for a in scanned[s["file"]].above("medium")]
        for s in scenarios
        if s["rule"] is None and scanned[s["file"]].above("medium")
    }
    assert loud == {}


def test_what_is_below_in_everyday_files_is_known(scenarios, scanned, golden):
    lines = [
        f"{s['file']}: {a['level']} {a['rule']['name']}: {a['title']}"
        for s in scenarios
        if s["rule"] is None
        for a in scanned[s["file"]].above("info")
    ]
    golden("rules/everyday.txt", "\n".join(sorted(lines)) + "\n")


def test_negatives_of_a_rule_are_silent(scenarios, scanned):
    loud = {
        s["file"]: [a["title"] for a in fired(scanned[s["file"]], SLUGS[s["rule"]], "medium")]
        for s in scenarios
        if s["rule"] and not s["should_fire"] and fired(scanned[s["file"]], SLUGS[s["rule"]], "medium")
        if s["file"] not in LOUD_ON_PURPOSE
    }
    assert loud == {}


def test_the_recorded_story_is_one_correlated_alert(scanned):
    alerts = fired(scanned["r04-then-bind-then-exec.ndjson"], "exec-by-new-role", "critical")
    assert [[e["rule"] for e in a["evidence"]] for a in alerts] == [["cluster-role-exec", "role-bound", "pod-exec"]]
