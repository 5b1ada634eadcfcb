"""first_seen beside the properties: what is asked of the state, what the alert says, modifiers, bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState

sys.path.append(str(Path(__file__).parent))
from world import Happening, event_of, finish

RULE = """\
title: new
name: new
logsource: {{product: kubernetes}}
level: {level}
leadsman: {{{own}}}
detection: {{it: {{objectRef.resource: a}}, condition: it}}
"""
HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def detector(tmp_path):
    def make(own, level="medium"):
        (tmp_path / "new.yml").write_text(RULE.format(own=own, level=level))
        rules = load([tmp_path])
        assert not rules.problems, [str(p) for p in rules.problems]
        return Detector(rules)

    return make


def run(detector, *events, state=None):
    """The alerts, and how many exchanges each event took."""
    state, raised, exchanges = state or MemoryState(), [], []
    for one in events:
        plan = Plan()
        detector.judge(plan, event_of(one), Where())
        asked = 0
        generator = detector.evaluate(plan)
        try:
            requests = next(generator)
            while True:
                asked += 1
                requests = generator.send(state.exchange_now(requests))
        except StopIteration as done:
            raised += done.value
        exchanges.append(asked)
    return raised + finish(detector, state), exchanges


def test_what_repeats_costs_the_state_nothing(detector):
    made = detector("first_seen: {fields: [actor.name], window: 14d, learning: 0}")
    events = [Happening(n * 1000, "a", name=f"n{n}") for n in range(50)]
    _, exchanges = run(made, *events)
    assert sum(exchanges[2:]) == 0
    _, again = run(made, *[Happening(HOUR + n * 1000, "a", name=f"n{n}") for n in range(50)])
    assert sum(again) <= 1  # the next hour is told once


def test_what_was_seen_before_stands_in_the_alert(detector):
    made = detector("first_seen: {fields: [objectRef.name, actor.name], window: 14d, learning: 1d}")
    raised, _ = run(made, Happening(0, "a", "bob"), Happening(HOUR, "a", "carol"), Happening(3 * DAY, "a", "eve"))
    (alert,) = raised
    (told,) = [m for m in alert["evidence"][0]["matched"] if m["field"].startswith("first_seen")]
    assert told["field"] == "first_seen objectRef.name, actor.name"
    assert (
        told["value"] == "n, eve: not seen in 14d before; seen: carol, bob; watched since 2023-11-14T22:13:20.000000Z"
    )


def test_nothing_is_told_while_it_learns(detector):
    made = detector("first_seen: {fields: [actor.name]}")
    events = [Happening(n * DAY, "a", f"actor{n}") for n in range(20)]
    raised, _ = run(made, *events)
    assert [a["actor"]["name"] for a in raised] == [f"actor{n}" for n in range(15, 20)] + ["actor14"]


def test_an_event_without_the_field_is_not_the_first(detector):
    assert not run(detector("first_seen: {fields: [actor.credential_id], learning: 0}"), Happening(0, "a"))[0]


FIRST = "modifiers: [{when: first_seen, by: 1, why: new here, learning: 1d}]"


@pytest.mark.parametrize(
    ("level", "effective", "expected"),
    [
        ("medium", True, "high"),
        ("low", True, "low"),
        ("informational", True, "informational"),
        ("medium", False, "medium"),
    ],
)
def test_as_a_modifier(detector, level, effective, expected):
    """Never of attempts, of what is informational or a sub-finding; not while it learns."""
    made = detector(FIRST, level)
    raised, _ = run(
        made,
        Happening(0, "a", "bob", effective=effective),
        Happening(2 * DAY, "a", "eve", effective=effective),
        Happening(2 * DAY + 1, "a", "eve", effective=effective),
    )
    assert [a["level"] for a in raised] == [level, expected, level]
    assert [m["why"] for m in raised[1]["modifiers"]] == (["new here"] if expected == "high" else [])


def test_as_a_modifier_of_a_rule_about_change(tmp_path, make_event, record):
    (tmp_path / "host.yml").write_text(
        "title: h\nname: h\nlogsource: {product: kubernetes}\nlevel: medium\n"
        f"leadsman: {{changed: true, anchor: owner, {FIRST}}}\n"
        "detection: {it: {facts.pod.host_network: true}, condition: it}\n"
    )
    made, state, levels = Detector(load([tmp_path])), MemoryState(), []
    for n, (name, actor) in enumerate([("a", "bob"), ("b", "bob"), ("c", "eve"), ("c", "eve"), ("d", "eve")]):
        pod = {"pod": record("PodFacts", host_network=True)}
        plan, at = Plan(), 1_700_000_000 + n * 172_800
        made.judge(
            plan, make_event("update" if n == 3 else "create", name=name, actor=actor, facts=pod, at_s=at), Where()
        )
        levels += [a["level"] for a in state.settle(made.evaluate(plan))]
    assert levels == ["medium", "medium", "high", "medium"]


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("first_seen: {fields: [actor.shoe]}", "no such field: actor.shoe"),
        ("first_seen: {window: soon}", "soon"),
        ("first_seen: {window: 1s}", "a minute"),
        ("first_seen: {fields: [actor.name], every: 1m, window: 1d}", "fields alone"),
        ("first_seen: {fields: [actor.name], every: 0s}", "greater than zero"),
        ("first_seen: {fields: [actor.name], again: often}", "true or false"),
        ("first_seen: {field: [actor.name]}", "says fields"),
        ("first_seen: {fields: []}", "list of fields"),
        ("first_seen: {fields: [actor.name]}, changed: true", "do not go together"),
    ],
)
def test_bad_input(tmp_path, own, reason):
    (tmp_path / "new.yml").write_text(RULE.format(own=own, level="low"))
    (problem,) = load([tmp_path]).problems
    assert reason in problem.reason


# --- what feeds a correlation -----------------------------------------------------------------------------------

FEEDING = """\
title: fed
name: fed
logsource: {{product: kubernetes}}
leadsman: {{alert: false, {own}}}
detection: {{it: {{objectRef.resource: a}}, condition: it}}
---
title: told
name: told
correlation: {{type: event_count, rules: [fed], group-by: [{by}], timespan: 1h, condition: {{gte: {least}}}}}
"""


@pytest.fixture
def feeding(tmp_path):
    def make(own, by="actor.name", least=1):
        (tmp_path / "fed.yml").write_text(FEEDING.format(own=own, by=by, least=least))
        rules = load([tmp_path])
        assert not rules.problems, [str(p) for p in rules.problems]
        return Detector(rules)

    return make


EVERY = "first_seen: {fields: [actor.name], every: 1m}"


@pytest.mark.parametrize(("minutes", "least"), [(3, 3), (2, 3)])
def test_one_event_a_minute_feeds_a_correlation(feeding, minutes, least):
    made = feeding(EVERY, least=least)
    events = [Happening(n * 60_000 + s * 1000, "a", name=f"n{n}.{s}") for n in range(minutes) for s in (1, 2, 30)]
    raised, exchanges = run(made, *events)
    assert len({alert["id"] for alert in raised}) == (minutes >= least)
    assert sum(1 for asked in exchanges if asked) == minutes  # the others cost the state nothing


def test_of_several_values_those_that_are_new_feed_it(feeding):
    made = feeding("first_seen: {fields: [actor.groups], learning: 0}", by="actor.groups")
    before = Happening(0, "a", groups=("x", "y"))
    after = Happening(2 * HOUR, "a", name="m", groups=("x", "y", "z"))
    raised, _ = run(made, before, after)
    assert sorted(alert["joins"] for alert in raised) == [["actor.groups=x"], ["actor.groups=y"], ["actor.groups=z"]]


AGAIN = "first_seen: {fields: [actor.name], window: 30d, learning: 0, again: true}"


@pytest.mark.parametrize(
    ("days", "told"),
    [([0, 31], True), ([31, 0], True), ([31], False), ([0, 29], False), ([0, 15, 31], False)],
    ids=["back", "in any order", "never seen before", "not gone for long", "seen between"],
)
def test_who_came_back(feeding, days, told):
    state = MemoryState()
    raised, _ = run(feeding(AGAIN), *[Happening(day * DAY, "a", name=f"n{day}") for day in days], state=state)
    assert bool(raised) is told
