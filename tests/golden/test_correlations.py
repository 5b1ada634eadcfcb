"""What the correlations, and the rules that feed them, make of every real record that we have.

A person has read the list and agrees with each line. Each file is a scan of its own.
"""

import io

import pytest
from corpora_files import FORMATS, files

from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.scan import Scanner
from leadsman_common.alerts import level_at_least

# single rules that are a scenario of their own, or whose alert is a scenario's first step
BESIDE = {
    "self-bound", "new-actor-on-nodes", "cluster-access-given", "cluster-admin-given", "control-plane-logging-off",
    "account-logging-off",
}  # fmt: skip
CHAIN = ["cluster-role-exec", "role-bound", "pod-exec"]


@pytest.fixture(scope="module")
def rules():
    return load_rules(())


def scanned(rules, name, data, source_format):
    scanner = Scanner(rules)
    scanner.take(read(name, io.BytesIO(data), FORMATS[source_format], Identity(), lambda _: None))
    scanner.finish()
    return list(scanner.found.alerts.values())


def test_what_the_corpora_raise_is_known(corpora, rules, golden):
    wanted = {c.name for c in rules.correlations} | BESIDE
    lines = [
        f"{name}: {a['level']} {a['rule']['name']}: {a['title']} ({', '.join(e['rule'] for e in a['evidence'])})"
        for source_format, name, data in files(corpora)
        for a in scanned(rules, name, data, source_format)
        if a["rule"]["name"] in wanted
    ]
    golden("rules/corpora-correlations.txt", "\n".join(sorted(lines)) + "\n")


def test_a_role_bound_and_used_is_one_story(corpora, rules):
    path = corpora / "kube-apiserver" / "r04-then-bind-then-exec.ndjson"
    alerts = scanned(rules, path.name, path.read_bytes(), "k8s-audit")
    (story,) = [a for a in alerts if a["rule"]["name"] == "exec-by-new-role"]
    assert story["level"] == "critical"
    assert [e["rule"] for e in story["evidence"]] == CHAIN
    assert [e["time"] for e in story["evidence"]] == sorted(e["time"] for e in story["evidence"])
    # what single rules tell beside is part of it: there is no other high alert about anything else
    told = {e["event_id"] for e in story["evidence"]}
    beside = [a for a in alerts if a is not story and level_at_least(a["level"], "medium")]
    assert {a["rule"]["name"] for a in beside} == {"cluster-role-exec"}
    assert {e["event_id"] for a in beside for e in a["evidence"]} <= told
