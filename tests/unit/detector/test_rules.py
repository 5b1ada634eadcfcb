"""Sigma into the detector's own form and into closures: modifiers, conditions, errors, routing."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from leadsman_common.events import Flag
from leadsman_detector.correlate import JOINS
from leadsman_detector.match import load
from leadsman_detector.rules import READ_JOINS

HEAD = """\
title: {name}
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad0{number:02}
name: {name}
status: test
level: {level}
logsource: {{product: kubernetes, service: audit}}
"""


def write(folder: Path, name: str, detection: str, *, number: int = 1, level: str = "high", extra: str = "") -> None:
    text = HEAD.format(name=name, number=number, level=level) + dedent(extra)
    text += "detection:\n" + indent(dedent(detection), "    ")
    (folder / f"{name}.yml").write_text(text)


# each case: detection, fields of the event, and whether it fires
CASES = {
    "equals": ("a: {verb: get}\ncondition: a", {"verb": "get"}, True),
    "equals folds case": ("a: {userAgent: KUBECTL}\ncondition: a", {"userAgent": "kubectl"}, True),
    "cased does not": ("a: {userAgent|cased: KUBECTL}\ncondition: a", {"userAgent": "kubectl"}, False),
    "list is any": ("a: {userAgent: [x, y]}\ncondition: a", {"userAgent": "y"}, True),
    "map is all": ("a: {userAgent: x, auditID: y}\ncondition: a", {"userAgent": "x"}, False),
    "contains": ("a: {userAgent|contains: ube}\ncondition: a", {"userAgent": "kubectl"}, True),
    "contains all": ("a: {userAgent|contains|all: [ku, zz]}\ncondition: a", {"userAgent": "kubectl"}, False),
    "startswith": ("a: {userAgent|startswith: kube}\ncondition: a", {"userAgent": "kubectl"}, True),
    "endswith": ("a: {userAgent|endswith: kube}\ncondition: a", {"userAgent": "kubectl"}, False),
    "wildcard": ("a: {userAgent: 'k*c?l'}\ncondition: a", {"userAgent": "kubectl"}, True),
    "escaped wildcard": ("a: {userAgent: 'k\\*'}\ncondition: a", {"userAgent": "kubectl"}, False),
    "regex": ("a: {userAgent|re: '^k.*l$'}\ncondition: a", {"userAgent": "kubectl"}, True),
    "regex case": ("a: {userAgent|re: '^K'}\ncondition: a", {"userAgent": "kubectl"}, False),
    "regex flag i": ("a: {userAgent|re|i: '^K'}\ncondition: a", {"userAgent": "kubectl"}, True),
    "cidr": ("a: {src_endpoint.ip|cidr: 10.0.0.0/8}\ncondition: a", {"src_endpoint": {"ip": "10.1.2.3"}}, True),
    "cidr of no address": ("a: {src_endpoint.ip|cidr: 10.0.0.0/8}\ncondition: a", {"src_endpoint": {"ip": "x"}}, False),
    "exists": ("a: {userAgent|exists: true}\ncondition: a", {"userAgent": "k"}, True),
    "exists false": ("a: {userAgent|exists: false}\ncondition: a", {"userAgent": ""}, True),
    "null": ("a: {userAgent: null}\ncondition: a", {"userAgent": ""}, True),
    "number": ("a: {responseStatus.code: 101}\ncondition: a", {"responseStatus": {"code": 101}}, True),
    "number compared": ("a: {responseStatus.code|gte: 400}\ncondition: a", {"responseStatus": {"code": 403}}, True),
    "number as text": ("a: {responseStatus.code: '403'}\ncondition: a", {"responseStatus": {"code": 403}}, True),
    "bool": ("a: {dryRun: true}\ncondition: a", {"dryRun": True}, True),
    "bool false is absent": ("a: {dryRun: false}\ncondition: a", {"dryRun": False}, True),
    "not": ("a: {verb: get}\nb: {userAgent: x}\ncondition: a and not b", {"userAgent": "y"}, True),
    "1 of": ("a1: {verb: zz}\na2: {userAgent: x}\ncondition: 1 of a*", {"userAgent": "x"}, True),
    "all of": ("a1: {verb: zz}\na2: {userAgent: x}\ncondition: all of a*", {"userAgent": "x"}, False),
    "keywords": ("k: [needle]\ncondition: k", {"userAgent": "a Needle b"}, True),
    "dotted key of a map": (
        "a: {annotations.authorization.k8s.io/decision: allow}\ncondition: a",
        {"annotations": {"authorization.k8s.io/decision": "allow"}},
        True,
    ),
    "list in a map": (
        "a: {user.extra.authentication.kubernetes.io/pod-name: p}\ncondition: a",
        {"user": {"extra": {"authentication.kubernetes.io/pod-name": ["p"]}}},
        True,
    ),
    "inside a body": (
        "a: {requestObject.spec.containers.name: evil}\ncondition: a",
        {"requestObject": '{"spec":{"containers":[{"name":"good"},{"name":"evil"}]}}'},
        True,
    ),
    "body that is no JSON": ("a: {requestObject.spec: x}\ncondition: a", {"requestObject": "{"}, False),
}


@pytest.mark.parametrize(("detection", "fields", "fires"), CASES.values(), ids=CASES)
def test_detection(tmp_path, make_event, detection, fields, fires):
    write(tmp_path, "one", detection)
    rules = load([tmp_path])
    assert not rules.problems
    event = make_event()
    for name, value in fields.items():
        event[name] = {**event[name], **value} if isinstance(event[name], dict) else value
    assert bool(rules.match(event, rules.rules)) is fires


def test_each_speaks_of_one_element(tmp_path, make_event, record):
    detection = """\
        a:
            facts.pod.containers.privileged: true
            facts.pod.containers.name: web
        condition: a
        """
    write(tmp_path, "flat", detection)
    write(tmp_path, "each", detection, number=2, extra="leadsman: {each: facts.pod.containers}\n")
    containers = [
        record("ContainerFacts", name="web"),
        record("ContainerFacts", name="sidecar", privileged=True),
    ]
    event = make_event("create", facts={"pod": record("PodFacts", containers=containers)})
    assert [m.rule.name for m in load([tmp_path]).match(event)] == ["flat"]


def test_levels_first_step_that_holds(tmp_path, make_event):
    extra = """\
        leadsman:
            levels:
                - {when: x, level: critical}
                - {when: not x and y, level: low}
        """
    write(
        tmp_path,
        "stepped",
        "a: {verb: get}\nx: {userAgent: x}\ny: {auditID: y}\ncondition: a",
        extra=extra,
    )
    rules = load([tmp_path])
    levels = [rules.match(make_event(**f))[0].level for f in ({"userAgent": "x", "auditID": "y"}, {"auditID": "y"}, {})]
    assert levels == ["critical", "low", "high"]


BAD = {
    "unknown field": ("a: {objectRef.colour: red}\ncondition: a", "", "no such field: objectRef.colour"),
    "look-ahead": ("a: {verb|re: '(?=x)'}\ncondition: a", "", "invalid"),
    "back-reference": ("a: {verb|re: '(a)\\1'}\ncondition: a", "", "invalid"),
    "no such detection": ("a: {verb: get}\ncondition: b", "", "b"),
    "unknown attribute": ("a: {verb: get}\ncondition: a", "leadsman: {colour: red}\n", "colour"),
    "no such list": ("a: {verb|expand: '%nowhere%'}\ncondition: a", "", "%nowhere%"),
    "no such level": ("a: {verb: get}\ncondition: a", "leadsman: {levels: [{when: a, level: loud}]}\n", "loud"),
    "not a network": ("a: {src_endpoint.ip|cidr: 10.0.0}\ncondition: a", "", "10.0.0"),
}


@pytest.mark.parametrize(("detection", "extra", "says"), BAD.values(), ids=BAD)
def test_one_bad_rule_is_a_problem_and_the_rest_stand(tmp_path, make_event, detection, extra, says):
    write(tmp_path, "bad", detection, extra=extra)
    write(tmp_path, "good", "a: {verb: get}\ncondition: a", number=2)
    rules = load([tmp_path])
    assert [m.rule.name for m in rules.match(make_event())] == ["good"]
    (problem,) = rules.problems
    assert (problem.file, problem.rule) == ("bad.yml", "bad")
    assert says in problem.reason


def test_broken_yaml_names_file_and_line(tmp_path):
    (tmp_path / "broken.yml").write_text("title: x\n  level: [\n")
    (problem,) = load([tmp_path]).problems
    assert str(problem).startswith("broken.yml:2: ")


def test_lists_take_the_place_of_their_name(tmp_path, make_event):
    (tmp_path / "agents.yml").write_text("values: [one, two]\n")
    write(tmp_path, "listed", "a: {userAgent|expand: '%agents%'}\ncondition: a")
    rules = load([tmp_path])
    assert [bool(rules.match(make_event(userAgent=a))) for a in ("one", "two", "three")] == [True, True, False]


def test_routing_never_hides_a_match(make_event, record):
    """Whatever routing leaves out could not have matched: every event is judged by all rules and by the routed ones."""
    rules = load([Path(__file__).parents[3] / "rules"])
    role = record("RoleFacts", kind="ClusterRole", rules=[record("PolicyRuleFacts", grants=["exec"])])
    events = [
        make_event(),
        make_event("create", "clusterroles", group="rbac.authorization.k8s.io", facts={"role": role}),
        make_event("create", sub="exec", facts={"exec": record("ExecFacts", kind="exec", interactive=True)}),
        make_event("create", facts={"pod": record("PodFacts", host_network=True)}),
        make_event("create", effective=False, facts={"pod": record("PodFacts", host_network=True)}),
    ]
    asked = [one for one in rules.rules if one.rule.silence is None]  # the others hold for what is missed
    fired = [sorted(m.rule.name for m in rules.match(e, asked)) for e in events]
    assert fired == [sorted(m.rule.name for m in rules.match(e)) for e in events]
    alerting = {r.rule.name for r in rules.rules if r.rule.alert}  # the rest counts who is seen where
    assert [bool(alerting & set(f)) for f in fired] == [False, True, True, True, True]


def test_most_actions_have_no_candidates():
    rules = load([Path(__file__).parents[3] / "rules"])
    quiet = ("get pods", "get configmaps", "watch nodes", "update leases.coordination.k8s.io", "get /")
    assert [len(rules.candidates(a, Flag.EFFECTIVE | Flag.NODE)) for a in quiet] == [0, 0, 0, 0, 0]
    # what tells a node's version, the most of everyday noise
    versioned = ("update leases.coordination.k8s.io", "patch nodes/status", "create events")
    assert [len(rules.candidates(a, Flag.EFFECTIVE | Flag.NODE | Flag.HAS_CONTROL_PLANE)) for a in versioned] == [0] * 3
    assert rules.candidates("get /", Flag.EFFECTIVE | Flag.UNAUTHENTICATED)


def correlation(folder, text, own="", name="many"):
    (folder / f"{name}.yml").write_text(
        f"title: Many\nname: {name}\nleadsman: {{{own}}}\n"
        f"correlation: {{rules: [one, two], group-by: [actor.name], timespan: 5m, {text}}}\n"
    )


# what stands in a correlation, what Leadsman's own part says -> what is said of it
WRONG = {
    "a key that Sigma has not": ("type: event_count, condition: {gte: 2}, window: 5m", "", "unknown window"),
    "a type that Sigma has not": ("type: sequence", "", "sequence"),
    "no threshold": ("type: event_count", "", "without condition"),
    "a count of nothing": ("type: value_count, condition: {gte: 2}", "", "field"),
    "a field no event has": ("type: value_count, condition: {gte: 2, field: actor.x}", "", "no such field: actor.x"),
    "a threshold of none": ("type: event_count, condition: {gte: 0}", "", "threshold"),
    "a condition on a rule that is not there": ("type: temporal, condition: one and three", "", "three"),
    "an order that leaves out": ("type: temporal_ordered, condition: one and not two", "", "not"),
    "an alias for one rule alone": ("type: temporal, aliases: {who: {one: actor.name}}", "", "no field for two"),
    "an anchor elsewhere": ("type: temporal", "anchor: three", "none of the rules"),
    "an incident of no time": ("type: temporal", "incident: soon", "soon"),
    "an unknown key of ours": ("type: temporal", "windowing: true", "unknown windowing"),
    "a level that comes and goes": ("type: temporal", "levels: [{level: high, when: not one}]", "goes down"),
    "another join": ("type: temporal", "join: magic", "role-use"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "own", "reason"), WRONG.values(), ids=WRONG)
def test_a_correlation_that_cannot_be_evaluated_is_a_problem(tmp_path, text, own, reason):
    write(tmp_path, "one", "a: {verb: get}\ncondition: a")
    write(tmp_path, "two", "a: {verb: list}\ncondition: a", number=2)
    correlation(tmp_path, text, own)
    (problem,) = load([tmp_path]).problems
    assert reason in problem.reason
    assert problem.line


def test_correlations_of_correlations_that_lead_back_are_problems(tmp_path):
    write(tmp_path, "one", "a: {verb: get}\ncondition: a")
    correlation(tmp_path, "type: temporal", name="two")
    correlation(tmp_path, "type: temporal", name="fine", own="alert: false")
    (tmp_path / "fine.yml").write_text((tmp_path / "fine.yml").read_text().replace("[one, two]", "[one]"))
    problems = load([tmp_path]).problems
    assert len([p for p in problems if "leads back" in p.reason]) == 1
    assert all(p.line for p in problems)


# generate of the correlation, leadsman.alert of the rule, in one file -> whether the rule alerts
GENERATE = {
    "not said, in its file": ("", "", True, False),
    "not said, in another file": ("", "", False, True),
    "not said, in its file, where the rule says so": ("", "alert: true", True, True),
    "false": ("generate: false", "", False, False),
    "false, where the rule says so": ("generate: false", "alert: true", False, True),
    "true": ("generate: true", "", True, True),
}  # fmt: skip


@pytest.mark.parametrize(("generate", "own", "one_file", "expected"), GENERATE.values(), ids=GENERATE)
def test_generate(tmp_path, generate, own, one_file, expected):
    rule = (
        f"title: One\nname: one\nlogsource: {{product: kubernetes}}\nleadsman: {{{own}}}\n"
        "detection: {a: {verb: get}, condition: a}\n"
    )
    both = (
        "title: Both\nname: both\ncorrelation: {type: event_count, rules: [one], group-by: [actor.name], "
        f"timespan: 5m, condition: {{gte: 2}}, {generate}}}\n"
    )
    if one_file:
        (tmp_path / "both.yml").write_text(f"{rule}---\n{both}")
    else:
        (tmp_path / "one.yml").write_text(rule)
        (tmp_path / "both.yml").write_text(both)
    rules = load([tmp_path])
    assert not rules.problems
    assert [r.rule.alert for r in rules.rules] == [expected]
    assert rules.fed == {"one"}


def test_every_join_that_loads_is_evaluated():
    assert set(READ_JOINS) == set(JOINS)


def test_modifiers_are_read(tmp_path):
    extra = """\
        leadsman:
            modifiers:
                - {when: x, by: 1, why: asked by name}
                - {when: not x, by: -1, why: not asked}
        """
    write(tmp_path, "m", "a: {verb: get}\nx: {known.pod.privileged: true}\ncondition: a", extra=extra)
    rules = load([tmp_path])
    (rule,) = rules.rules
    event = {"known": {"pod": {"privileged": True}}}
    assert [(m.by, m.why, c.holds(event)) for c, m in rule.modifiers] == [
        (1, "asked by name", True),
        (-1, "not asked", False),
    ]
    assert rule.known_paths == ("known.pod.privileged",)
    assert not rules.problems


@pytest.mark.parametrize(
    "step",
    ["{when: a, by: two, why: x}", "{when: a, by: 0, why: x}", "{when: a, by: 1}", "{by: 1, why: x}"],
)
def test_a_bad_modifier_is_a_problem(tmp_path, step):
    write(tmp_path, "m", "a: {verb: get}\ncondition: a", extra=f"leadsman: {{modifiers: [{step}]}}\n")
    rules = load([tmp_path])
    assert (len(rules.rules), len(rules.problems)) == (0, 1)


@pytest.mark.parametrize(
    ("known", "fires"),
    [(None, False), ({}, False), ({"pod": {}}, False), ({"pod": {"age_s": 5}}, True), ({"pod": {"age_s": 60}}, False)],
)
def test_what_earlier_events_told(tmp_path, make_event, known, fires):
    write(tmp_path, "young", "a: {verb: get, known.pod.age_s|lt: 60}\ncondition: a")
    write(tmp_path, "wrong", "a: {known.pod.colour: red}\ncondition: a", number=2)
    rules = load([tmp_path])
    assert [p.reason for p in rules.problems] == ["no such field: known.pod.colour"]
    assert [c.rule.name for c in rules.candidates("get pods", 0)] == ["young"]  # routing cannot tell
    assert bool(rules.match({**make_event(), "known": known})) is fires


@pytest.mark.parametrize(
    ("detection", "says"),
    [
        ("a: {responseStatus.code: ALLOW}\ncondition: a", "responseStatus.code is a number, never 'ALLOW'"),
        ("a: {verb: get}\nb: {dryRun: maybe}\ncondition: a and not b", "dryRun is true or false, never 'maybe'"),
        ("a: {responseStatus.code: ['403', 401]}\nb: {dryRun: 'true'}\ncondition: a and b", ""),
        ("a: {annotations.code: ALLOW}\nb: {requestObject.x: 1}\ncondition: a and b", ""),
    ],
)
def test_a_value_that_no_event_has_is_named_and_keeps_nothing_out(tmp_path, detection, says):
    write(tmp_path, "odd", detection)
    rules = load([tmp_path])
    assert len(rules.rules) == 1
    assert [(p.reason, p.fatal) for p in rules.problems] == ([(says, False)] if says else [])


def test_an_id_is_taken_once(tmp_path):
    write(tmp_path, "one", "a: {verb: get}\ncondition: a")
    write(tmp_path, "two", "a: {verb: list}\ncondition: a")
    rules = load([tmp_path])
    assert [r.rule.name for r in rules.rules] == ["one"]
    assert "taken by one.yml" in str(rules.problems[0])


def test_role_use_joins_three_rules(tmp_path):
    write(tmp_path, "one", "a: {verb: get}\ncondition: a")
    (tmp_path / "c.yml").write_text(
        "title: c\nname: c\nid: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad099\nlevel: high\n"
        "correlation: {type: temporal_ordered, rules: [one, two], group-by: [cluster.id], timespan: 1h}\n"
        "leadsman: {join: role-use}\n"
    )
    rules = load([tmp_path])
    assert rules.correlations == ()
    assert "three rules" in str(rules.problems[0])


@pytest.mark.parametrize("depth", [10, 400, 700, 990])
def test_a_body_nested_deeper_than_any_is_no_error(tmp_path, make_event, depth):
    write(tmp_path, "body", "a: {requestObject.spec.x: 1}\ncondition: a")
    body = '{"spec":' + "[" * depth + '{"x": 1}' + "]" * depth + "}"
    assert len(load([tmp_path]).match(make_event(requestObject=body))) in (0, 1)
