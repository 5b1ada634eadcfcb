"""Many requests as one alert: once an hour, counted, the same in any order, and nothing that was worse is hidden."""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from last_word import last_of

from leadsman_detector import repeats
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.repeats import MAX_COUNTED, MAX_TOLD, STAGES
from leadsman_detector.state import MemoryState

sys.path.append(str(Path(__file__).parent))
from world import Happening, finish, in_order, rules_of, told_in_disorder

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
    assert (alert["level"], alert["time"]) == ("high", events[1]["time"])
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
    assert raised <= min(len(batches), MAX_TOLD + len(STAGES))
    again, more = alerts_of(detector(), batches[-1:], state)
    assert (set(again) <= set(found), more <= 1) == (True, True)


def test_a_worse_one_after_a_storm_is_told(detector, ask):
    events = [ask(n // 2, name=f"p{n}") for n in range(MAX_TOLD + 50)]
    found, _ = alerts_of(detector(), singly([*events, ask(3000, "secrets")]))
    assert [a["level"] for a in found.values()] == ["high"]


def test_a_storm_after_a_worse_one_does_not_push_it_out(detector, ask):
    events = [ask(1 + n // 2, name=f"p{n}") for n in range(MAX_COUNTED + 50)]
    found, _ = alerts_of(detector(), singly([ask(0, "secrets"), *events]))
    ((alert,),) = [found.values()]
    assert (alert["level"], alert["evidence"][0]["action"]) == ("high", "get secrets")


def test_how_large_a_storm_became_is_told_when_it_is_over(detector, ask):
    made, state = detector(), MemoryState()
    events = [ask(n, name=f"p{n}") for n in range(MAX_TOLD + 50)]
    (first,) = alerts_of(made, singly(events), state)[0].values()
    assert f"({MAX_TOLD} requests, " in first["title"]
    (last,) = finish(made, state)
    assert f"({len(events)} requests, 2023-11-14T22:00:00Z to 2023-11-14T22:02:29Z)" in last["title"]
    assert [e["object"] for e in last["evidence"]] == [f"shop/p{n}" for n in range(50, len(events))]
    assert last["revision"] > first["revision"]
    assert finish(made, state) == []


SMALL = {"MAX_TOLD": 3, "MAX_COUNTED": 6, "_KEPT": 12, "STAGES": (4, 6)}
STORM = """\
title: stormy
name: stormy
logsource: {product: kubernetes}
level: medium
leadsman: {repeats: {group-by: [actor.name], timespan: 24h}, levels: [{when: worse, level: high}]}
detection:
    it: {objectRef.resource: a}
    worse: {objectRef.name: m}
    condition: it
"""
REQUESTS = st.lists(
    st.builds(
        Happening,
        st.integers(0, 50_000_000),  # half a day, so that the hours of a long span are met
        st.just("a"),
        st.sampled_from(["eve", "eve", "eve", "bob"]),
        st.sampled_from(["n", "n", "n", "m"]),
        serial=st.integers(0, 3),
    ),
    max_size=30,
    unique_by=lambda one: one.at_ms,
)


@pytest.fixture(scope="module")
def stormy(tmp_path_factory):
    return rules_of(tmp_path_factory.mktemp("rules"), (), STORM)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(events=REQUESTS, seed=st.integers(0, 2**32))
def test_what_is_told_of_a_storm_is_a_function_of_its_requests(stormy, events, seed):
    """In any order and batches, some twice, on workers that die: the last word, and what each revision says."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in SMALL.items():
            patch.setattr(repeats, name, number)
        chance = random.Random(seed)  # noqa: S311 - to shuffle
        told = told_in_disorder(stormy, events, chance, finish)
        state = MemoryState()
        expected = [*in_order(stormy, sorted(events), state), *finish(Detector(stormy), state)]
    assert last_of(told) == last_of(expected)
    for alerts in (told, expected):
        assert all(len(says) == 1 for says in by_revision(alerts).values())


def by_revision(alerts):
    """What was told under each id and revision, but when it was detected and where its events were read."""
    found = {}
    for alert in alerts:
        (says,) = last_of([alert]).values()
        found.setdefault((alert["id"], alert["revision"]), set()).add(json.dumps(says, sort_keys=True))
    return found


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
