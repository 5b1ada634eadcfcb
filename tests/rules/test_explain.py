"""What `scan --explain` tells of a rule is what the rule decides: on every event of every case."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from leadsman_cli.judge_cases import records_of
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_cli.rules_test import read_all
from leadsman_common.alerts import LEVELS, level_rank
from leadsman_detector.explain import explain
from leadsman_detector.match import general_modifiers
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

pytestmark = pytest.mark.slow

RULES = {r.rule.name: r for r in load_rules(()).rules}
FILES = [f for f in read_all(Path(__file__).parent, load_rules(()))[0] if f.rule in RULES]


def events(file):
    for case in file.cases:
        cloud = case.on()[0]
        data = records_of(file, case, cloud).data
        for raw in read(case.name, io.BytesIO(data), "auto", Identity(), lambda _size: None):
            event = normalize(raw)
            if not isinstance(event, Dropped):
                yield case.name, event


def stays(looked):
    return looked.condition.held and not any(f.part.held for f in looked.filters if f.gives.endswith(": taken away"))


def level(looked, rule):
    """The level after the steps and the caps, without modifiers."""
    steps = [step.gives for step in looked.levels if step.part.held]
    caps = [f.gives.rpartition(" ")[2] for f in looked.filters if f.part.held]
    return min([steps[0] if steps else rule.level, *caps], key=level_rank)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.rule)
def test_what_is_told_is_what_is_decided(file):
    compiled = RULES[file.rule]
    met = 0
    for name, event in events(file):
        match = compiled.match(event)
        told = [looked for looked in explain(compiled, event) if stays(looked)]
        assert bool(told) is (match is not None), name
        if match is None:
            continue
        met += 1
        levels = [level(looked, compiled.rule) for looked in told]
        if not match.modifiers and not general_modifiers(event, max(levels, key=level_rank)):
            assert max(levels, key=level_rank) == match.level, name
        assert match.level in LEVELS
    assert met or compiled.known_paths  # what earlier events told is not known here, and may be all it is about
