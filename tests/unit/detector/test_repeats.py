"""Many requests as one alert: once an hour, counted, the same in any order, and nothing that was worse is hidden."""

from __future__ import annotations

import itertools

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.repeats import MAX_COUNTED, MAX_TOLD
from leadsman_detector.state import MemoryState

RULE = """
title: asked
name: asked
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad002
level: medium
logsource: {{product: kubernetes}}
leadsman: {leadsman}
detection:
    pods: {{objectRef.resource: [pods, secrets]}}
    secret: {{objectRef.resource: secrets}}
    named: {{objectRef.name: hot}}
    condition: pods
"""
HOURLY = "{repeats: {group-by: [src_endpoint.ip, verb], timespan: 1h}, levels: [{when: secret, level: high}]}"
HOUR_S = 1_699_999_200  # a full hour


@pytest.fixture
def detector(tmp_path):
    def made(leadsman=HOURLY):
        (tmp_path / "asked.yml").write_text(RULE.format(leadsman=leadsman))
        rules = load([tmp_path])
        assert rules.problems == ()
        return Detector(rules)

    return made


@pytest.fixture
def ask(make_event):
    def one(at, resource="pods", ip="203.0.113.9", name="a"):
        event = make_event("get", resource, name=name, at_s=HOUR_S + at)
        event["src_endpoint"] = {**event["src_endpoint"], "ip": ip}
        return event

    return one


def alerts_of(detector, batches, state=None):
    """The last of each id, after batches of events, and how often anything was raised."""
    state, found, raised = state or MemoryState(), {}, 0
    for batch in batches:
        plan = Plan()
        for event in batch:
            detector.judge(plan, event, Where())
        granted = state.settle(detector.evaluate(plan, 7))
        found |= {a["id"]: a for a in granted}
        raised += len(granted)
    return found, raised


def singly(events):
    return [[event] for event in events]


def test_one_alert_an_hour_and_group(detector, ask):
    events = [ask(0), ask(1800), ask(3599), ask(3600), ask(5, ip="203.0.113.10")]
    found, _ = alerts_of(detector(), singly(events))
    numbers = sorted(len(a["evidence"]) for a in found.values())
    assert numbers == [1, 1, 3]
    (many,) = [a for a in found.values() if len(a["evidence"]) == 3]
    assert many["title"].endswith(" (3 requests, 2023-11-14T22:00:00Z to 2023-11-14T22:59:59Z)")
    assert many["detected_time"] == 7


def test_one_alone_says_no_number(detector, ask):
    found, _ = alerts_of(detector(), singly([ask(0), ask(0)]))  # and delivered again
    assert [(a["title"].count("requests"), a["revision"], len(a["evidence"])) for a in found.values()] == [(0, 0, 1)]


def test_the_worst_of_them_speaks_in_any_order(detector, ask):
    events = [ask(0), ask(10, "secrets"), ask(20), ask(30, "secrets")]
    told = set()
    for order in itertools.permutations(events):
        found, _ = alerts_of(detector(), singly(order))
        told.add(str([{**a, "detected_time": 0} for a in found.values()]))
    assert len(told) == 1
    ((alert,),) = [alerts_of(detector(), singly(events))[0].values()]
    assert (alert["level"], alert["time"], alert["revision"]) == ("high", events[1]["time"], 10)
    assert [e["time"] for e in alert["evidence"]] == [e["time"] for e in events]


@pytest.mark.parametrize("size", [1, 70, 500])
def test_a_storm_is_few_deliveries_and_a_bounded_state(detector, ask, size):
    events = [ask(n // 2, name=f"p{n}") for n in range(MAX_COUNTED + 300)]
    events = [*events[::3], *events[1::3], *events[2::3]]
    batches = [events[n : n + size] for n in range(0, len(events), size)]
    state = MemoryState()
    found, raised = alerts_of(detector(), batches, state)
    (alert,) = found.values()
    assert len(alert["evidence"]) == MAX_TOLD
    assert "(1000 and more requests, " in alert["title"]
    assert alert["revision"] == 3
    assert raised <= min(len(batches), MAX_TOLD + 3)
    again, more = alerts_of(detector(), batches[-1:], state)
    assert (set(again) <= set(found), more <= 1) == (True, True)


def test_a_worse_one_after_a_storm_is_told(detector, ask):
    events = [ask(n // 2, name=f"p{n}") for n in range(MAX_TOLD + 50)]
    found, _ = alerts_of(detector(), singly([*events, ask(3000, "secrets")]))
    assert [(a["level"], a["revision"]) for a in found.values()] == [("high", 12)]


def test_a_storm_after_a_worse_one_does_not_push_it_out(detector, ask):
    events = [ask(1 + n // 2, name=f"p{n}") for n in range(MAX_COUNTED + 50)]
    found, _ = alerts_of(detector(), singly([ask(0, "secrets"), *events]))
    ((alert,),) = [found.values()]
    assert (alert["level"], alert["evidence"][0]["action"]) == ("high", "get secrets")


def test_only_where_it_says(detector, ask):
    rule = detector("{repeats: {group-by: [verb], timespan: 1d, when: named}}")
    found, _ = alerts_of(rule, singly([ask(0), ask(1), ask(2, name="hot"), ask(3, name="hot")]))
    assert sorted(len(a["evidence"]) for a in found.values()) == [1, 1, 2]


@pytest.mark.parametrize(
    ("leadsman", "reason"),
    [
        ("{repeats: {group-by: [verb]}}", "a map of group-by, timespan"),
        ("{repeats: {group-by: [verb], timespan: 1h, span: 2}}", "a map of group-by, timespan"),
        ("{repeats: {group-by: verb, timespan: 1h}}", "group-by is a list"),
        ("{repeats: {group-by: [verb], timespan: soon}}", "soon"),
        ("{repeats: {group-by: [verb], timespan: 0h}}", "greater than zero"),
        ("{repeats: {group-by: [verb], timespan: 1h}, changed: true}", "one alert for each as it is"),
        ("{repeats: {group-by: [verbs], timespan: 1h}}", "no such field: verbs"),
        ("{repeats: {group-by: [verb], timespan: 1h, when: nothing}}", "nothing"),
    ],
)
def test_what_cannot_be_is_a_problem(tmp_path, leadsman, reason):
    (tmp_path / "asked.yml").write_text(RULE.format(leadsman=leadsman))
    (problem,) = load([tmp_path]).problems
    assert reason in problem.reason
    assert problem.fatal
