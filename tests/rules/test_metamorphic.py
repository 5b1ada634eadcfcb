"""Mutants of each attack, recorded from a real API server (tests/real/test_metamorphic.py): every one fires."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import mutants
import pytest
import recordings

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[1] / "fixtures" / "metamorphic"


@pytest.fixture(scope="module")
def listed():
    return json.loads((HERE / "mutants.json").read_text())


@pytest.fixture(scope="module")
def events():
    return [json.loads(line) for line in recordings.lines_of(HERE / "recorded.ndjson.gz")]


def fired(events):
    return recordings.scanned(json.dumps(e).encode() for e in events)


def answerless(events):
    """The same, as a policy of level Request logs it: a patch is its own fragment."""
    return [{**{k: v for k, v in e.items() if k != "responseObject"}, "level": "Request"} for e in events]


def last_steps(events, listed):
    """What a log that starts late holds of them: nothing is known of the object before."""
    wanted = {audit for m in listed for audit in m["audits"]}
    return [e for e in events if e["auditID"] in wanted]


def test_every_rule_has_many_of_many_kinds(listed):
    by_rule = Counter(m["rule"] for m in listed)
    assert len(by_rule) == 9
    assert min(by_rule.values()) >= 60
    assert len({m["kind"] for m in listed}) >= 13
    assert len({m["way"] for m in listed if m["kind"] != "kubectl"}) == 12


def test_every_mutant_fires(events, listed):
    assert mutants.unfired(fired(events), listed) == []


def test_every_mutant_fires_where_nothing_is_known_of_the_object(events, listed):
    assert mutants.unfired(fired(last_steps(events, listed)), listed) == []


def test_every_mutant_fires_without_answers(events, listed):
    assert mutants.unfired(fired(answerless(events)), listed) == []


def test_the_harmless_first_steps_are_silent(events, listed):
    attacks = {audit for m in listed for audit in m["audits"]}
    harmless = [e for e in events if e["auditID"] not in attacks]
    assert len(harmless) > 300
    assert [a["title"] for a in fired(harmless).above("low")] == []
