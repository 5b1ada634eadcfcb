"""SigmaHQ's Kubernetes audit rules, as they are, where SIGMA_RULES names a checkout of SigmaHQ/sigma or a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from leadsman_cli.rules import rules as command
from leadsman_detector.match import load

AUDIT = Path("rules", "application", "kubernetes", "audit")


@pytest.fixture(scope="module")
def folder():
    given = os.environ.get("SIGMA_RULES")
    if not given:
        pytest.skip("shared corpora absent: SIGMA_RULES names no folder of SigmaHQ's rules")
    path = Path(given)
    assert path.is_dir(), f"SIGMA_RULES: no such folder: {path}"
    return path / AUDIT if (path / AUDIT).is_dir() else path


@pytest.fixture(scope="module")
def documents(folder):
    found = {p.name: yaml.safe_load(p.read_text()) for p in sorted(folder.rglob("*.yml"))}
    return {name: d for name, d in found.items() if d.get("logsource", {}).get("product") == "kubernetes"}


def test_each_is_loaded_or_named_with_its_line(folder, documents):
    rules = load([folder])
    loaded = {r.rule.id for r in rules.rules}
    named = {p.file for p in rules.problems if p.fatal and p.line and p.reason}
    assert {name for name, d in documents.items() if d["id"] not in loaded} == named
    assert len(loaded) >= len(documents) / 2


def test_what_keeps_one_out_is_a_field_that_no_event_has(folder):
    assert [p for p in load([folder]).problems if p.fatal and not p.reason.startswith("no such field: ")] == []


def test_the_command_names_them(folder):
    done = CliRunner().invoke(command, ["list", "--problems", "-r", str(folder)], standalone_mode=False)
    problems = load([folder]).problems
    assert [str(p) in done.output for p in problems] == [True] * len(problems)


def test_every_loaded_one_matches_an_event_that_is_as_it_says(folder, documents):
    """Built from its selection: a field set to the first value that is asked for."""
    rules = load([folder])
    misfit = {p.file for p in rules.problems}
    for name, document in documents.items():
        selection = document["detection"].get("selection")
        if name in misfit or not selection:
            continue
        event = {"verb": "", "objectRef": {}, "responseStatus": {}, "action": "", "flags": 0}
        for path, value in selection.items():
            head, _, last = path.partition(".")
            one = value[0] if isinstance(value, list) else value
            event[head] = {**event[head], last: one} if last else one
        (rule,) = [r for r in rules.rules if r.rule.id == document["id"]]
        assert rule.condition.holds(event), name
        assert not rule.condition.holds({**event, "verb": "x", "responseStatus": {"code": 200}}), name
