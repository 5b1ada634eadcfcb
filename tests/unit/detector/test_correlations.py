"""Correlations beside the properties: values, levels, evidence, attempts, aliases, absence, what is kept of a group."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.plan import Plan
from leadsman_detector.state import CLOCK, Claim, MemoryState, Put, Timer

sys.path.append(str(Path(__file__).parent))
from world import EPOCH_MS, Happening, event_of, finish, in_order, rules_of

HEAD = "title: {name}\nname: {name}\nlevel: medium\nleadsman: {{{own}}}\ncorrelation: {{timespan: {span}, {text}}}\n"


def document(text, own="", name="found", span="5m"):
    return HEAD.format(text=text, own=own, name=name, span=span)


def spread(kind, count, step_ms=1000, **more):
    return [Happening(n * step_ms, kind, name=f"n{n}", **more) for n in range(count)]


def test_many_of_one_incident_are_one_alert_that_grows(tmp_path):
    rules = rules_of(
        tmp_path, "a", document("type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 5}")
    )
    raised = in_order(rules, spread("a", 200))
    assert len({a["id"] for a in raised}) == 1
    assert 1 < len(raised) < 5  # as it goes on, not with every event
    assert [a["revision"] for a in raised] == sorted({a["revision"] for a in raised})
    assert [a["time"] for a in raised] == sorted({a["time"] for a in raised})
    assert raised[0]["joins"] == ["actor.name=eve"]
    assert [e["offset"] for e in raised[0]["evidence"]] == [0, 1, 2, 3, 4]


def test_evidence_is_bounded_and_its_count_told(tmp_path):
    rules = rules_of(
        tmp_path, "a", document("type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 50}")
    )
    last = in_order(rules, spread("a", 60))[-1]
    assert len(last["evidence"]) == 20
    assert "(50 events, 20 shown)" in last["title"]


def test_levels_by_count_and_by_rule(tmp_path):
    own = "levels: [{level: high, count: 4}, {level: critical, when: a and b}]"
    text = "type: value_count, rules: [a, b], group-by: [actor.name], condition: {gte: 2, field: objectRef.name}"
    rules = rules_of(tmp_path, "ab", document(text, own))
    assert [a["level"] for a in in_order(rules, spread("a", 2))] == ["medium"]
    told = in_order(rules, spread("a", 9))
    assert [a["level"] for a in told] == ["medium", "high"]
    assert told[0]["revision"] < told[1]["revision"]
    assert in_order(rules, [*spread("a", 2), Happening(5000, "b")])[-1]["level"] == "critical"


@pytest.mark.parametrize(
    ("own", "expected"), [("", 0), ("attempts: true", 1), ("attempts: [a]", 1)], ids=["not said", "all", "of the rule"]
)
def test_attempts_count_where_asked(tmp_path, own, expected):
    text = "type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 3}"
    raised = in_order(rules_of(tmp_path, "a", document(text, own)), spread("a", 3, effective=False))
    assert len(raised) == expected
    assert all(a["attempt"] for a in raised)


def test_attempts_count_where_the_rule_speaks_of_the_outcome(tmp_path):
    rules_of(tmp_path, "a")
    text = (tmp_path / "a.yml").read_text().replace("objectRef.resource: a", "objectRef.resource: a, outcome.http: 403")
    (tmp_path / "b.yml").write_text(text.replace("name: a", "name: b").replace("title: a", "title: b"))
    more = document("type: event_count, rules: [b], group-by: [actor.name], condition: {gte: 3}")
    assert len(in_order(rules_of(tmp_path, "a", more), spread("a", 3, effective=False))) == 1


def test_aliases_tie_different_fields(tmp_path):
    """Somebody of whom a is the object does b."""
    text = "type: temporal_ordered, rules: [a, b], group-by: [who], aliases: {who: {a: objectRef.name, b: actor.name}}"
    rules = rules_of(tmp_path, "ab", document(text))
    first = Happening(0, "a", "eve", "mallory")
    assert len(in_order(rules, [first, Happening(1000, "b", "mallory")])) == 1
    assert not in_order(rules, [first, Happening(1000, "b", "eve")])


def test_scopes(tmp_path):
    text = "type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 2}"
    events = [Happening(0, "a", cluster=0), Happening(1000, "a", cluster=1)]
    for own, expected in (("", 0), ("scope: account", 1), ("scope: all", 1)):
        assert len(in_order(rules_of(tmp_path, "a", document(text, own)), events)) == expected


@pytest.mark.parametrize(
    ("kind", "condition", "expected"),
    [
        ("value_sum", "{gte: 60}", 1),
        ("value_sum", "{gt: 60}", 0),
        ("value_avg", "{gte: 20}", 1),
        ("value_avg", "{gt: 20}", 0),
        ("value_median", "{eq: 10}", 1),
        ("value_percentile", "{gte: 40, percentile: 95}", 1),
        ("value_percentile", "{lt: 40, percentile: 60}", 1),
        ("value_percentile", "{gte: 40, percentile: 60}", 0),
    ],
)
def test_values_that_are_measured(tmp_path, kind, condition, expected):
    """Of 10, 10 and 40."""
    field = condition.replace("}", ", field: outcome.http}")
    text = f"type: {kind}, rules: [a], group-by: [actor.name], condition: {field}"
    detector, state, raised = Detector(rules_of(tmp_path, "a", document(text))), MemoryState(), []
    for n, http in enumerate((10, 10, 40)):
        event, plan = {**event_of(Happening(n * 1000, "a"))}, Plan()
        event["outcome"] = {**event["outcome"], "http": http}
        detector.judge(plan, event, Where())
        raised += state.settle(detector.evaluate(plan))
    assert len(raised + finish(detector, state)) == expected


ABSENCE = document(
    "type: temporal_ordered, rules: [a, b], group-by: [cluster.id]",
    "absence: {after: a, rules: [b], within: 4m}",
)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([Happening(0, "a")], 1),
        ([Happening(0, "a"), Happening(240_000, "b")], 0),
        ([Happening(0, "a"), Happening(240_001, "b")], 1),
        ([Happening(240_000, "b"), Happening(0, "a")], 0),
        ([Happening(-1, "b"), Happening(0, "a")], 1),
        ([Happening(0, "a"), Happening(1000, "b", cluster=1)], 1),
        ([Happening(0, "a"), *spread("b", 600), *spread("b", 600, 400)], 0),
    ],
    ids=["silence", "at its end", "after it", "late", "before only", "elsewhere", "many"],
)
def test_absence(tmp_path, events, expected):
    detector, state = Detector(rules_of(tmp_path, "ab", ABSENCE)), MemoryState()
    assert not in_order(detector.rules, events, state)
    assert state.timed() == [(event_of(events[0])["cluster"]["id"], CLOCK)] * bool(state.timed())
    assert len(finish(detector, state)) == expected


def test_what_is_kept_is_what_the_condition_needs(tmp_path):
    texts = {
        "count": "type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 20}",
        "value": "type: value_count, rules: [a], group-by: [actor.name], condition: {gte: 20, field: objectRef.name}",
        "order": "type: temporal_ordered, rules: [a, b], group-by: [actor.name]",
    }
    most = {"count": 42, "value": 21, "order": 32}
    for name, text in texts.items():
        detector, plan = Detector(rules_of(tmp_path, "ab", document(text, name=name))), Plan()
        detector.judge(plan, event_of(Happening(0, "a")), Where())
        caps = [r.cap for r in plan.requests if isinstance(r, Put)]
        assert caps
        assert all(cap <= most[name] for cap in caps)


def test_a_member_is_small(tmp_path):
    text = "type: event_count, rules: [a], group-by: [actor.name], condition: {gte: 20}"
    detector, plan = Detector(rules_of(tmp_path, "a", document(text))), Plan()
    event = {**event_of(Happening(0, "a", name="x" * 5000)), "id": "0" * 32, "userAgent": "y" * 5000}
    detector.judge(plan, event, Where("audit.events", 1, 2))
    (put,) = [r for r in plan.requests if isinstance(r, Put)]
    assert len(put.member) < 1500


def test_a_changed_correlation_keeps_nothing_of_its_old_shape(tmp_path):
    names = set()
    for text in ("condition: {gte: 2}", "condition: {gte: 3}"):
        more = document(f"type: event_count, rules: [a], group-by: [actor.name], {text}")
        detector, plan = Detector(rules_of(tmp_path, "a", more)), Plan()
        detector.judge(plan, event_of(Happening(0, "a")), Where())
        names |= {r.series for r in plan.requests if isinstance(r, Put)}
    assert len(names) == 2


def test_timers_of_another_release_do_nothing(tmp_path):
    text = "type: event_count, rules: [a], group-by: [actor.name], condition: {lt: 2}"
    detector, plan = Detector(rules_of(tmp_path, "a", document(text))), Plan()
    detector.judge(plan, event_of(Happening(0, "a")), Where())
    (timer,) = [r for r in plan.requests if isinstance(r, Timer)]
    assert timer.due_ms == (EPOCH_MS // 300_000 + 1) * 300_000 + 600_000
    for what in (b"", b"\xff", timer.what[:-4] + b"zzzz", timer.what.replace(b"found", b"other")):
        plan = Plan()
        detector.due(plan, what)
        assert plan.empty


def test_a_twin_that_takes_the_place_of_one_whose_worker_died_loses_no_alert(tmp_path):
    """Of two events of one time a series keeps one, and the window with that one is the better one."""
    rules = rules_of(
        tmp_path, "ab", document("type: temporal, rules: [a, b], group-by: [actor.name]", "incident: 30s", span="10s")
    )
    detector, state = Detector(rules), MemoryState()

    def handled(batch, dies_with=None):
        """The alerts of a batch; none where its worker dies after the exchange that asks for one of that type."""
        plan = Plan()
        for one in batch:
            detector.judge(plan, event_of(one), Where())
        generator, replies = detector.evaluate(plan), None
        try:
            while True:
                asked = generator.send(replies)
                replies = state.exchange_now(asked)
                if any(isinstance(request, dies_with or ()) for request in asked):
                    return []
        except StopIteration as done:
            return done.value

    one, twin, end = Happening(-10_000, "a", serial=1), Happening(-10_000, "a"), Happening(0, "b")
    assert handled([one, end], Claim) == []
    assert handled([twin], Put) == []
    assert handled([one, end]) + handled([twin])
