"""A cluster that was deleted and made anew under its old name starts fresh: nothing of the old one is known of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState
from leadsman_normalizer.sightings import Known

sys.path.append(str(Path(__file__).parent))
from world import finish

HOUR = 3600
START = 1_700_000_000
RULES = """
title: risky
name: risky
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001
level: medium
logsource: {product: kubernetes}
leadsman: {changed: true, anchor: owner, each: facts.pod.containers}
detection: {root: {facts.pod.containers.privileged: true}, condition: root}
---
title: somebody new
name: newcomer
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad002
level: low
logsource: {product: kubernetes}
leadsman: {first_seen: {fields: [actor.name], window: 30d, learning: 0}}
detection: {read: {verb: get}, condition: read}
"""


@pytest.fixture
def judged(tmp_path, make_event, record):
    """Give judged(*what): (rule, what is behind the cluster's plain id) of the alerts, in order of time."""
    for number, text in enumerate(RULES.split("---")):
        (tmp_path / f"{number}.yml").write_text(text)
    rules = load([tmp_path])
    assert not rules.problems

    def event(what, at_h):
        at_s = START + at_h * HOUR
        source = record("Source", format="k8s-audit", received_ms=at_s * 1000)
        if what == "kube-system":
            made = make_event("create", "namespaces", namespace="", name="kube-system", at_s=at_s, source=source)
            made["outcome"]["http"] = 201
            return made
        if what == "get":
            return make_event("get", at_s=at_s, actor="eve", source=source)
        pod = record(
            "PodFacts",
            owner_kind="Deployment",
            owner_name="web",
            containers=[record("ContainerFacts", name="a", privileged=True)],
        )
        facts = {"pod": pod, "touched": ["*"]}
        return make_event(what, "deployments", group="apps", name="web", at_s=at_s, facts=facts, source=source)

    def run(*happened):
        known, state, alerts = Known(), MemoryState(), []
        detector = Detector(rules, baseline_ms=24 * HOUR * 1000)
        for one in happened:
            made = event(*one)
            known.place(made)
            plan = Plan()
            detector.judge(plan, made, Where())
            alerts += state.settle(detector.evaluate(plan))
        alerts += finish(detector, state)
        found = {a["id"]: (a["time"], a["rule"]["name"], a["cluster"]["id"].partition("@")[2]) for a in alerts}
        return [(name, which) for _, name, which in sorted(found.values())]

    return run


NEW = "20231118T141320Z"  # 88 hours later


def test_what_was_known_of_the_old_one_is_not_of_the_new(judged):
    once = [("create", 1), ("update", 30), ("update", 89)]
    assert judged(*once) == [("risky", "")]
    assert judged(*once[:2], ("kube-system", 88), ("create", 89)) == [("risky", ""), ("risky", NEW)]


def test_who_was_seen_in_the_old_one_is_new_in_the_new(judged):
    seen = [("get", 1), ("get", 40), ("get", 89)]
    assert judged(*seen) == [("newcomer", "")]
    assert judged(*seen[:2], ("kube-system", 88), ("get", 89)) == [("newcomer", ""), ("newcomer", NEW)]


def test_its_first_hours_are_its_own(judged):
    """What is applied again in them stands in a report of its own, though the old one's hours are long over."""
    applied = [("get", 1), ("update", 60)]
    assert judged(*applied) == [("newcomer", ""), ("risky", "")]
    assert judged(*applied, ("kube-system", 88), ("update", 89))[2:] == [("baseline", NEW)]
