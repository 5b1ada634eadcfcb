"""The modifiers that hang on what was before: a newcomer to a kind of object, and what a person has acknowledged."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from world import finish

from leadsman_common.alerts import fingerprint
from leadsman_common.events import action_of
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState

RULES = """\
title: strange
name: strange
logsource: {product: kubernetes}
level: LEVEL
detection: {it: {objectRef.name: strange}, condition: it}
"""
DAY_S = 86_400
START_S = 1_700_000_000


@pytest.fixture
def detector(tmp_path):
    def make(level="medium", *more):
        (tmp_path / "strange.yml").write_text(RULES.replace("LEVEL", level))
        for n, text in enumerate(more):
            (tmp_path / f"more{n}.yml").write_text(text)
        rules = load([tmp_path])
        assert not rules.problems, [str(p) for p in rules.problems]
        return Detector(rules)

    return make


@pytest.fixture
def happening(make_event):
    serial = itertools.count()

    def make(day, actor="eve", name="strange", resource="deployments", verb="create", seconds=0, **more):
        event = make_event(verb, name=name, actor=actor, at_s=START_S + int(day * DAY_S) + seconds)
        return {
            **event,
            "id": f"{next(serial)}",
            "action": action_of(verb, resource),
            "objectRef": {**event["objectRef"], "resource": resource, "name": name},
            **more,
        }

    return make


def told(detector, state, *events):
    """Every alert of the rule, in the order in which it was told."""
    raised = []
    for event in events:
        plan = Plan()
        detector.judge(plan, event, Where())
        raised += state.settle(detector.evaluate(plan))
    return [a for a in raised if a["rule"]["name"] == "strange"]


def levels(alerts):
    return [alert["level"] for alert in alerts]


def test_a_newcomer_to_a_kind_of_object(detector, happening):
    state, made = MemoryState(), detector()
    (alert,) = told(made, state, happening(0, "bob"), happening(15, "eve"))[1:]
    assert alert["level"] == "high"
    assert alert["modifiers"] == [
        {"by": 1, "why": "the first time in two weeks that this actor changes this kind of object"}
    ]
    assert finish(made, state) == []  # nothing came late: it stays as it was told


@pytest.mark.parametrize(
    ("before", "level"),
    [
        ({"day": 10, "name": "usual"}, "medium"),
        ({"day": 10, "name": "usual", "verb": "delete"}, "medium"),
        ({"day": 0.5, "name": "usual"}, "high"),  # more than two weeks ago
        ({"day": 10, "name": "usual", "resource": "services"}, "high"),
        ({"day": 10, "name": "usual", "actor": "bob"}, "high"),
        ({"day": 10, "name": "usual", "verb": "get"}, "high"),
        ({"day": 10, "name": "usual", "dryRun": True}, "high"),
    ],
    ids=["wrote", "deleted", "long ago", "another kind", "another actor", "only read", "dry run"],
)
def test_who_has_done_it_before_is_no_newcomer(detector, happening, before, level):
    alerts = told(detector(), MemoryState(), happening(0, "bob"), happening(**before), happening(15))
    assert alerts[-1]["level"] == level


@pytest.mark.parametrize(("days", "level"), [(13.9, "medium"), (14.1, "high")])
def test_a_cluster_without_history_has_no_newcomers(detector, happening, days, level):
    alerts = told(detector(), MemoryState(), happening(0, "bob"), happening(days))
    assert alerts[-1]["level"] == level


@pytest.mark.parametrize(
    ("level", "more", "expected"),
    [
        ("low", {}, "low"),
        ("informational", {}, "informational"),
        ("critical", {}, "critical"),
        ("medium", {"outcome": {"effective": False}}, "medium"),
        ("medium", {"actor": {"class": "node"}}, "medium"),
        ("medium", {"actor": {"class": "control_plane"}}, "medium"),
        ("high", {}, "critical"),
    ],
    ids=["a sub-finding", "informational", "the highest", "an attempt", "a node", "a controller", "high"],
)
def test_what_is_not_raised(detector, happening, level, more, expected):
    event = happening(15)
    event |= {key: {**event[key], **value} for key, value in more.items()}
    assert told(detector(level), MemoryState(), happening(0, "bob"), event)[-1]["level"] == expected


def test_not_above_the_level_that_a_filter_keeps_it_at(detector, happening):
    ours = (
        "title: known\nlogsource: {product: kubernetes}\nfilter: {rules: [strange], it: {actor.name: eve, "
        "objectRef.namespace: shop}, condition: not it}\nleadsman: {level: medium}\n"
    )
    alerts = told(detector("high", ours), MemoryState(), happening(0, "bob"), happening(15))
    assert alerts[-1]["level"] == "medium"


def test_what_comes_late_is_told_again_under_the_same_id(detector, happening):
    """An earlier request of the same actor arrives within the lateness: the newcomer was none."""
    state, made = MemoryState(), detector()
    first = told(made, state, happening(0, "bob"), happening(15), happening(15, name="usual", seconds=-60))[-1]
    (again,) = finish(made, state)
    assert (first["level"], again["level"]) == ("high", "medium")
    assert again["id"] == first["id"]
    assert again["revision"] > first["revision"]
    assert again["modifiers"] == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[7::9])
def test_levels_are_a_function_of_the_set_of_events(detector, happening, order):
    history = [happening(0, "bob"), *[happening(day, "bob", name="usual") for day in range(1, 15)]]
    storm = [
        happening(15, "eve", name=name, resource=resource, seconds=s)
        for s, (name, resource) in enumerate(
            [("usual", "a"), ("strange", "a"), ("strange", "b"), ("strange", "b"), ("usual", "c")]
        )
    ]
    outcomes = []
    for arriving in (storm, [*(storm[n] for n in order), *storm[:2]]):
        state, made, final = MemoryState(), detector(), {}
        for alert in [*told(made, state, *history, *arriving), *finish(made, state)]:
            if alert["revision"] >= final.get(alert["id"], alert)["revision"]:
                final[alert["id"]] = alert
        outcomes.append({alert["id"]: (alert["level"], str(alert["modifiers"])) for alert in final.values()})
    assert outcomes[0] == outcomes[1]
    assert sorted(level for level, _ in outcomes[0].values() if level == "high") == ["high"]


# --- what a person has acknowledged -----------------------------------------------------------------------------

ENTRY = {"by": "platform team", "reason": "the nightly backup"}


def acknowledged(alert, **more):
    return json.dumps({"title": "ours", "acknowledged": [{"fingerprint": fingerprint(alert), **ENTRY, **more}]})


def test_what_is_acknowledged_and_was_raised_three_times_is_a_level_less(detector, happening):
    (one,) = told(detector(), MemoryState(), happening(0))
    made, state = detector("medium", acknowledged(one)), MemoryState()
    alerts = told(made, state, *[happening(day) for day in range(6)])
    assert levels(alerts) == ["medium", "medium", "medium", "low", "low", "low"]
    assert alerts[3]["modifiers"] == [{"by": -1, "why": "acknowledged by platform team, raised before"}]
    assert finish(made, state) == []


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ({"actor": "bob"}, {}),
        ({"resource": "services"}, {}),
        ({"day": 40}, {}),
        ({}, {"expires": "2023-11-14"}),
        ({}, {"fingerprint": "0" * 32}),
    ],
    ids=["another actor", "another object", "a month later", "expired", "not acknowledged"],
)
def test_what_is_not_just_that_is_not_lowered(detector, happening, given, more):
    (one,) = told(detector(), MemoryState(), happening(0))
    made = detector("medium", acknowledged(one, **more))
    alerts = told(made, MemoryState(), *[happening(day) for day in range(4)], happening(**{"day": 5, **given}))
    assert -1 not in [m["by"] for m in alerts[-1]["modifiers"]]


def test_the_id_hangs_on_neither(detector, happening):
    event = happening(15)
    (plain,) = told(detector(), MemoryState(), event)
    *_, raised = told(detector("medium", acknowledged(plain)), MemoryState(), happening(0, "bob"), event)
    assert raised["level"] == "high"
    assert raised["id"] == plain["id"]


def test_a_late_third_time_is_told_again(detector, happening):
    (one,) = told(detector(), MemoryState(), happening(0))
    made, state = detector("medium", acknowledged(one)), MemoryState()
    early = [happening(1, seconds=s) for s in (0, 1, 2, 3)]
    alerts = told(made, state, early[0], early[1], early[3], early[2])
    assert levels(alerts) == ["medium"] * 4
    (again,) = finish(made, state)
    assert (again["id"], again["level"]) == (alerts[2]["id"], "low")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("acknowledged: 5", "each says fingerprint, by and reason"),
        ("acknowledged: [{fingerprint: a, by: b}]", "each says fingerprint, by and reason"),
        ("acknowledged: [{fingerprint: a, by: b, reason: ''}]", "reason is a text"),
        ("acknowledged: [{fingerprint: a, by: b, reason: c, expires: soon}]", "expires is a date"),
        ("acknowledged: [{fingerprint: a, by: b, reason: c, shoe: 1}]", "each says fingerprint"),
    ],
)
def test_bad_input(tmp_path: Path, text, reason):
    (tmp_path / "ack.yml").write_text(text)
    (problem,) = load([tmp_path]).problems
    assert reason in problem.reason
