"""A setting that was secure and is not any more: once each, over any time, in whatever order events come."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from disorder import in_disorder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState, Put
from leadsman_detector.state_topic import outlives_a_day
from leadsman_detector.statements import MAX_RECENT

RULE = """
title: Open
name: open
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad002
level: high
logsource: {product: kubernetes}
leadsman: {regression: {secure: shut and not open, by: [objectRef.namespace]}}
detection:
    open: {objectRef.name: open}
    shut: {objectRef.name: shut}
    condition: open
"""
DAY = 86_400
SHUT, OPEN = "shut", "open"


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "open.yml").write_text(RULE)
    found = load([folder])
    assert not found.problems
    return found


@pytest.fixture(scope="module")
def said():
    """Give the event that says `what` of a setting."""
    from schema_records import defaults

    def make(what, at_s, setting="a", *, effective=True, dry_run=False):
        return defaults(
            "AuditEvent",
            action="update services",
            id=f"{what}.{at_s}.{setting}",
            time=(1_700_000_000 + at_s) * 1_000_000,
            verb="update",
            dryRun=dry_run,
            objectRef=defaults("ObjectRef", resource="services", namespace=setting, name=what),
            cluster=defaults("Cluster", id="aws/111122223333/eu-west-1/prod"),
            actor=defaults("Actor", name="eve"),
            outcome=defaults("Outcome", effective=effective, authz="allow"),
        )

    return make


def run(rules, batches, state=None):
    """Every alert of batches, each on a worker of its own that remembers nothing."""
    state, raised = state or MemoryState(), []
    for batch in batches:
        detector, plan = Detector(rules), Plan()
        for event in batch:
            detector.judge(plan, event, Where("audit.events", 0, 0))
        raised += state.settle(detector.evaluate(plan))
    return raised


def told(alerts):
    """By id the last form: when it was secure and when not any more."""
    kept = {}
    for alert in alerts:
        if alert["revision"] >= kept.get(alert["id"], alert)["revision"]:
            kept[alert["id"]] = alert
    return {key: tuple(e["event_id"] for e in alert["evidence"]) for key, alert in kept.items()}


def regressions_of(events):
    """What happened, by the events alone: the first of each run of secure ones, and what ended it."""
    found = []
    for setting in sorted({e["objectRef"]["namespace"] for e in events}):
        mine = sorted(
            {e["id"]: e for e in events if e["objectRef"]["namespace"] == setting}.values(),
            key=lambda e: (e["time"], e["id"]),
        )
        first = [e for b, e in pairwise([None, *mine]) if b is None or b["objectRef"]["name"] != e["objectRef"]["name"]]
        found += [(a["id"], b["id"]) for a, b in pairwise(first) if a["objectRef"]["name"] == SHUT]
    return sorted(found)


@pytest.mark.parametrize(
    ("story", "found"),
    [
        ([], 0),
        ([(OPEN, 0)], 0),
        ([(SHUT, 0)], 0),
        ([(SHUT, 0), (OPEN, 1)], 1),
        ([(SHUT, 0), (OPEN, 900 * DAY)], 1),
        ([(OPEN, 0), (SHUT, 1)], 0),
        ([(OPEN, 0), (SHUT, 1), (OPEN, 2)], 1),
        ([(SHUT, 0), (SHUT, 1), (OPEN, 2), (OPEN, 3)], 1),
        ([(SHUT, 0), (OPEN, 1), (SHUT, 2), (OPEN, 3), (SHUT, 4)], 2),
        ([(SHUT, 0, "a"), (OPEN, 1, "b")], 0),
        ([(SHUT, 0, "a"), (SHUT, 1, "b"), (OPEN, 2, "b"), (OPEN, 3, "a")], 2),
    ],
)
def test_what_counts(rules, said, story, found):
    events = [said(*one) for one in story]
    alerts = run(rules, [[e] for e in events])
    assert len(alerts) == len(told(alerts)) == found
    assert sorted(told(alerts).values()) == regressions_of(events)


def test_what_took_no_effect_says_nothing(rules, said):
    for more in ({"effective": False}, {"dry_run": True}):
        assert run(rules, [[said(SHUT, 0)], [said(OPEN, 1, **more)]]) == []
        assert run(rules, [[said(SHUT, 0, **more)], [said(OPEN, 1)]]) == []


def test_the_alert_says_since_when_it_was_secure(rules, said):
    (alert,) = run(rules, [[said(SHUT, 0)], [said(OPEN, DAY)]])
    assert alert["level"] == "high"
    assert alert["title"] == "Open: eve on a/open (a), secure since 2023-11-14T22:13:20Z"
    assert alert["time"] == (1_700_000_000 + DAY) * 1_000_000
    assert not alert["attempt"]


def test_one_that_comes_late_makes_it_earlier_under_the_same_id(rules, said):
    state = MemoryState()
    (first,) = run(rules, [[said(SHUT, 0)], [said(OPEN, 9)]], state)
    (again,) = run(rules, [[said(OPEN, 5)]], state)
    assert again["id"] == first["id"]
    assert again["revision"] > first["revision"]
    assert run(rules, [[said(OPEN, 7)], [said(SHUT, 0)]], state) == []
    more = run(rules, [[said(SHUT, 6)]], state)
    assert len(told([first, again, *more])) == 2


_stories = st.lists(
    st.tuples(st.sampled_from((SHUT, OPEN)), st.integers(0, 12), st.sampled_from(("a", "a", "b"))), max_size=14
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(_stories, st.randoms(use_true_random=False))
@example([(SHUT, 0, "a"), (SHUT, 1, "a"), (OPEN, 2, "a"), (OPEN, 3, "a"), (SHUT, 4, "a")], random.Random(1))  # noqa: S311
def test_exactly_those_that_happened_in_any_order(rules, said, story, chance):
    events = [said(*one) for one in story]
    alerts = run(rules, in_disorder(events, chance, twice=0.3, largest=4))
    found = told(alerts)
    assert sorted(found.values()) == regressions_of(events)
    in_order = run(rules, [[e] for e in sorted(events, key=lambda e: (e["time"], e["id"]))])
    assert found == told(in_order)


class Forgetful(MemoryState):
    """A state from which all is gone but what outlives a day, as after `rebuild` from the topic."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def exchange_now(self, requests):
        self.kept += [r for r in requests if isinstance(r, Put) and outlives_a_day(r)]
        return super().exchange_now(requests)

    def after_a_day(self):
        other = Forgetful()
        other.exchange_now(self.kept)
        return other


@pytest.mark.parametrize("repeats", [1, 5, 3 * MAX_RECENT])
def test_what_changed_outlives_the_day_and_repeats_do_not(rules, said, repeats):
    state, alerts, events = Forgetful(), [], []
    for n, what in enumerate((SHUT, OPEN, SHUT, OPEN)):
        batch = [said(what, n * 40 * DAY + 60 * m) for m in range(repeats)]
        events += batch
        alerts += run(rules, [[e] for e in batch], state)
        state = state.after_a_day()
    assert sorted(told(alerts).values()) == regressions_of(events)
    assert len(alerts) == 2
    assert len({put.name for put in state.kept if put.group.startswith("regression.")}) == 4


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{}", "a map of secure"),
        ("{secure: shut, over: 1d}", "a map of secure"),
        ("{secure: shut, by: objectRef.name}", "by is a list of fields"),
        ("{secure: shut, by: [verb], secure-by: [verb, action]}", "as many fields"),
        ("{secure: nothing}", "nothing"),
        ("{secure: shut, by: [no.such]}", "no.such"),
        ("{secure: shut}, changed: true", "does not go with changed"),
        ("{secure: shut}, alert: false", "feeds no correlation"),
    ],
)
def test_a_rule_that_cannot_be_used_says_why(tmp_path, given, reason):
    (tmp_path / "open.yml").write_text(RULE.replace("{secure: shut and not open, by: [objectRef.namespace]}", given))
    (problem,) = load([tmp_path]).problems
    assert reason in str(problem)


def test_it_feeds_no_correlation(tmp_path):
    (tmp_path / "open.yml").write_text(RULE)
    (tmp_path / "often.yml").write_text(
        "title: often\nname: often\nid: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad003\nlevel: high\n"
        "correlation: {type: event_count, rules: [open], group-by: [cluster.id], timespan: 1h, condition: {gte: 2}}\n"
    )
    (problem,) = load([tmp_path]).problems
    assert "a rule of regression feeds no correlation: open" in str(problem)
