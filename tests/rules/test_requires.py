"""What a rule says it requires is what it looks at, and what the normalizer reads: neither more nor less."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leadsman_cli.rules import load_rules
from leadsman_detector.form import And, Leaf, Not, Or
from leadsman_normalizer.facts.kinds import KINDS, kind_of, may_be_custom

RULES = {r.rule.name: r.rule for r in load_rules(()).rules}
STREAMED = {"exec", "attach", "portforward", "proxy"}  # facts.exec is read from the URL, at any level


def leaves(node) -> Iterator[Leaf]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not():  # what takes events away is not what the rule looks for
            return
        case Leaf():
            yield node


def facts_of(rule) -> set[str]:
    return {leaf.path.split(".")[1] for leaf in leaves(rule.condition) if leaf.path.startswith("facts.")}


def plural(group, resource) -> str:
    return f"{resource}.{group}" if group else resource


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_requires(name):
    assert any(r.kind == "sight" for r in RULES[name].requires)


@pytest.mark.parametrize("name", RULES)
def test_every_object_that_the_rule_looks_at_is_required(name):
    rule = RULES[name]
    wanted = {
        plural(group, resource): may_be_custom(group)
        for (group, resource), kind in KINDS.items()
        if kind.fact in facts_of(rule) and group != "extensions"
    }
    asked = {what for r in rule.requires if r.kind == "sight" for what in r.resources}
    told = {what for r in rule.requires for what in r.resources}  # a custom resource may be a matter of detail
    assert [what for what, custom in wanted.items() if what not in (told if custom else asked)] == []


@pytest.mark.parametrize("name", RULES)
def test_a_body_is_required_only_where_one_is_read(name):
    for requirement in RULES[name].requires:
        for what in requirement.resources if requirement.level != "Metadata" else ():
            resource, _, subresource = what.partition("/")
            resource, _, group = resource.partition(".")
            for verb in requirement.verbs:
                assert kind_of(verb, group, resource, subresource), f"{verb} {what}"


@pytest.mark.parametrize("name", [n for n, rule in RULES.items() if "exec" in facts_of(rule)])
def test_a_rule_about_streams_requires_both_of_their_verbs(name):
    streams = [r for r in RULES[name].requires if {w.partition("/")[2] for w in r.resources} & STREAMED]
    assert streams
    assert all({"create", "get"} <= set(r.verbs) for r in streams if r.kind == "sight")
