"""Rule files as they may come: every problem has its line, and nothing in a file stops the others."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadsman_detector.match import load

RULE = """\
title: One
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad0{number:02}
name: {name}
level: high
logsource: {{product: kubernetes}}
detection:
    a:
        verb: get
        userAgent|contains: x
    condition: a
leadsman:
    levels:
        - when: a
          level: low
"""
GOOD = RULE.format(number=1, name="good")
# what is put in the place of what, the line of the problem, and what it says
WRONG = {
    "field": ("        verb: get", "        colour: red", 8, "no such field: colour"),
    "second field": ("        userAgent|contains: x", "        userAgent.x: y", 9, "no such field: userAgent.x"),
    "modifier": ("userAgent|contains", "userAgent|sounds", 9, "Unknown modifier"),
    "expression": ("userAgent|contains: x", "userAgent|re: '(?=x)'", 9, "invalid"),
    "condition": ("condition: a", "condition: b", 10, "b"),
    "grammar": ("condition: a", "condition: a and", 10, "condition: Expected"),
    "no condition": ("    condition: a\n", "", 6, "has no condition"),
    "level": ("level: high", "level: loud", 4, "no such level: loud"),
    "level of a step": ("level: low", "level: loud", 12, "no such level: loud"),
    "id": ("id: 5f", "id: xx", 2, "not a UUID"),
    "no title": ("title: One\n", "", 1, "title"),
    "no log source": ("logsource: {product: kubernetes}\n", "", 1, "logsource"),
    "unknown key": ("    levels:", "    colour: red\n    levels:", 12, "unknown colour"),
    "list": ("userAgent|contains: x", "userAgent|expand: '%nowhere%'", 9, "no such list: %nowhere%"),
    "a key twice": ("        verb: get", "        verb: get\n        verb: list", 9, "verb stands twice"),
    "a field twice": ("userAgent|contains: x", "userAgent|expand: y\n        userAgent: x", 10, "the same field twice"),
    "no YAML": ("condition: a", "condition: [a", 11, "not YAML"),
    "a key that is a list": ("        verb: get", "        ? [verb]\n        : get", 0, "not YAML"),
    "each": ("    levels:", "    each: facts.x.y\n    levels:", 1, "no such field: facts.x.y"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_problem_names_file_rule_line_and_reason(tmp_path, name):
    old, new, line, says = WRONG[name]
    text = RULE.format(number=2, name="bad")
    assert text.count(old) == 1
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(text.replace(old, new))
    rules = load([tmp_path])
    (problem,) = rules.problems
    assert [r.rule.name for r in rules.rules] == ["good"]
    assert problem.file == "bad.yml"
    assert says in problem.reason
    assert problem.line == line
    assert problem.rule == ("" if says == "not YAML" or "stands twice" in says else "bad")


def test_lines_in_a_file_of_several_rules(tmp_path):
    second = RULE.format(number=2, name="bad").replace("verb: get", "colour: red")
    (tmp_path / "two.yml").write_text(f"# a comment\n---\n{GOOD}---\n{second}---\n- a list\n")
    rules = load([tmp_path])
    assert [r.rule.name for r in rules.rules] == ["good"]
    assert [(p.rule, p.line) for p in rules.problems] == [("", 33), ("bad", 25)]


def test_a_name_taken_twice(tmp_path):
    (tmp_path / "a.yml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(RULE.format(number=2, name="good"))
    rules = load([tmp_path])
    assert len(rules.rules) == 1
    assert [str(p) for p in rules.problems] == ["b.yml:3: good: the name good is taken by a.yml"]


def test_anchors_and_merged_maps(tmp_path, make_event):
    text = GOOD.replace("    a:\n", "    a: &a\n").replace(
        "    condition: a", "    b: {<<: *a, auditID: y}\n    condition: b"
    )
    (tmp_path / "a.yml").write_text(text)
    rules = load([tmp_path])
    assert rules.problems == ()
    assert [len(rules.match(make_event(userAgent="x", auditID=audit_id))) for audit_id in ("y", "z")] == [1, 0]


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.just([]), st.just({}),
    st.just([None]), st.just([[1]]), st.just({"a": {"b": 1}}), st.just("%x%"), st.just("1 of"), st.just("not"),
)  # fmt: skip


def places(value, at=()):
    """Every place in a document, as keys."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*at, key))
    return found


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_in_a_file_stops_the_others(tmp_path, data):
    document = yaml.safe_load(RULE.format(number=2, name="bad"))
    if data.draw(st.booleans()):
        document["filter"] = {"rules": ["good"], **document.pop("detection"), "condition": "not a"}
    for _ in range(data.draw(st.integers(1, 2))):
        *keys, last = data.draw(st.sampled_from(places(document)))
        at = document
        for key in keys:
            at = at[key]
        at[last] = copy.deepcopy(data.draw(JUNK))
        if not places(document):
            break
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(yaml.safe_dump(document, allow_unicode=True))
    rules = load([tmp_path])
    assert rules.rules[-1].rule.name in ("good", "bad")
    assert "good" in {r.rule.name for r in rules.rules}
