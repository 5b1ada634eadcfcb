"""A cluster's first hours: what stood there before is one report; what is new in them alerts as ever."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState

sys.path.append(str(Path(__file__).parent))
from world import finish

HOUR = 3600
DAY_MS = 24 * HOUR * 1000
RULE = """
title: risky
name: risky
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001
level: medium
logsource: {product: kubernetes}
leadsman: {changed: true, anchor: owner, each: facts.pod.containers}
detection: {root: {facts.pod.containers.privileged: true}, condition: root}
"""
ALL = ("*",)
QUIET, ONE, TWO = (("a", False),), (("a", True),), (("a", True), ("b", True))
FIRST = ("other", "create", QUIET, ALL, 0)  # since when the cluster is watched


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "risky.yml").write_text(RULE)
    found = load([folder])
    assert not found.problems
    return found


@pytest.fixture
def event(make_event, record):
    """Give a write of a Deployment, or of a Pod of it: name, verb, containers, what the request touched, when (s)."""

    def make(name, verb, containers, touched, at_s):
        child = name.endswith("-pod")
        pod = record(
            "PodFacts",
            owners=[record("Owner", kind="Deployment", name=name[:-4], controller=True)] if child else [],
            owner_kind="Deployment",
            owner_name=name.removesuffix("-pod"),
            containers=[record("ContainerFacts", name=n, privileged=p) for n, p in containers or ()],
        )
        return make_event(
            verb,
            "pods" if child else "deployments",
            group="" if child else "apps",
            name=f"{name}-{at_s}" if child else name,
            at_s=1_700_000_000 + at_s,
            facts={"pod": pod, "touched": list(touched)} if containers is not None else None,
            actor_class="control_plane" if child else "human",
        )

    return make


def run(rules, events, chance=None, baseline_ms=DAY_MS):
    """The alerts of events, in the order given and one by one, or with `chance` in batches and on two workers."""
    state, raised = MemoryState(), []
    workers = [Detector(rules, baseline_ms=baseline_ms) for _ in range(2)]
    left = list(events)
    while left:
        size = chance.randint(1, 4) if chance else 1
        plan, detector = Plan(), chance.choice(workers) if chance else workers[0]
        for one in left[:size]:
            detector.judge(plan, one, Where())
        raised += state.settle(detector.evaluate(plan))
        if chance and chance.random() < 0.2:
            left.append(chance.choice(left[:size]))  # delivered again
        left = left[size:]
    return raised + finish(workers[0], state)


# writes after the first, the objects that alert, and those that the report tells of
CASES = {
    "an update of what nobody knows stood there": ([("web", "update", ONE, ALL, HOUR)], 0, 1),
    "applied again it still did": ([("web", "update", ONE, ALL, HOUR), ("web", "update", ONE, ALL, 2 * HOUR)], 0, 1),
    "and also after the day": ([("web", "update", ONE, ALL, HOUR), ("web", "update", ONE, ALL, 40 * HOUR)], 0, 1),
    "a label patch of it": ([("web", "update", ONE, ALL, HOUR), ("web", "patch", ONE, (), 2 * HOUR)], 0, 1),
    "a patch that sets it anew": ([("web", "update", ONE, ALL, HOUR), ("web", "patch", ONE, ALL, 2 * HOUR)], 1, 1),
    "one container more is new": ([("web", "update", ONE, ALL, HOUR), ("web", "update", TWO, ALL, 2 * HOUR)], 1, 1),
    "a patch that shows it and did not set it": ([("web", "patch", ONE, ("pod.labels",), HOUR)], 0, 1),
    "then an apply of it": ([("web", "patch", ONE, (), HOUR), ("web", "update", ONE, ALL, 2 * HOUR)], 0, 1),
    "a create is new": ([("web", "create", ONE, ALL, HOUR)], 1, 0),
    "a patch that sets it is new": ([("web", "patch", ONE, ("pod.containers.privileged",), HOUR)], 1, 0),
    "an update of a known object is new": (
        [("web", "create", QUIET, ALL, HOUR), ("web", "update", ONE, ALL, 2 * HOUR)],
        1,
        0,
    ),
    "an update of what did not have it is new": (
        [("web", "update", QUIET, ALL, HOUR), ("web", "update", ONE, ALL, 2 * HOUR)],
        1,
        0,
    ),
    "gone and back is new": (
        [("web", "update", o, ALL, n * HOUR) for n, o in enumerate((ONE, QUIET, ONE), start=1)],
        1,
        1,
    ),
    "deleted and made again is new": (
        [("web", v, o, ALL, n) for v, o, n in (("update", ONE, 60), ("delete", None, 7200), ("create", ONE, 9000))],
        1,
        1,
    ),
    "a day later an update is new": ([("web", "update", ONE, ALL, 24 * HOUR)], 1, 0),
    "pods of what nobody knows": ([("web-pod", "create", ONE, ALL, n * HOUR) for n in (1, 9)], 0, 1),
    "a pod of what stood there": ([("web", "update", ONE, ALL, HOUR), ("web-pod", "create", ONE, ALL, 2 * HOUR)], 0, 1),
    "a pod of what is new": ([("web", "create", ONE, ALL, HOUR), ("web-pod", "create", ONE, ALL, 2 * HOUR)], 1, 0),
    "a pod that shows more than its owner": (
        [("web", "create", QUIET, ALL, HOUR), ("web-pod", "create", ONE, ALL, 2 * HOUR)],
        1,
        0,
    ),
    "a pod a day later": ([("web-pod", "create", ONE, ALL, 25 * HOUR)], 1, 0),
    "two of them are one report": ([("web", "update", ONE, ALL, HOUR), ("db", "update", TWO, ALL, 2 * HOUR)], 0, 2),
    "nothing dangerous, no report": ([("web", "update", QUIET, ALL, HOUR)], 0, 0),
}  # fmt: skip


def late(events, chance):
    """Events that come late by ten minutes at most."""
    return sorted(events, key=lambda e: (e["time"] + chance.randint(0, 600_000_000), chance.random()))


@pytest.mark.parametrize(("writes", "alerts", "told"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("seed", range(3))
def test_what_alerts_and_what_is_told(rules, event, writes, alerts, told, seed):
    chance = random.Random(seed)  # noqa: S311 - to shuffle
    # hours that are minutes come in any order
    for scale in (1, 60 * 24):
        events = [event(*w[:4], w[4] // scale) for w in [FIRST, *writes]]
        raised = {a["id"]: a for a in run(rules, late(events, chance), chance, DAY_MS // scale)}
        reports = [a for a in raised.values() if a["rule"]["name"] == "baseline"]
        assert len(raised) - len(reports) == alerts
        assert [len(r["evidence"]) for r in reports] == ([told] if told else [])
        assert {r["level"] for r in reports} <= {"informational"}


def test_without_a_baseline_all_of_it_alerts(rules, event):
    events = [event(*w) for w in [FIRST, ("web", "update", ONE, ALL, HOUR)]]
    (alert,) = run(rules, events, baseline_ms=0)
    assert alert["rule"]["name"] == "risky"


def test_what_the_report_says(rules, event):
    events = [event(*FIRST), event("web", "update", ONE, ALL, HOUR), event("db-pod", "create", TWO, ALL, 2 * HOUR)]
    (report,) = run(rules, events)
    assert report["title"] == "What stood in the cluster before it was watched: 2 medium"
    assert [e["rule"] for e in report["evidence"]] == ["risky", "risky"]
    assert {e["event_id"] for e in report["evidence"]} == {e["id"] for e in events[1:]}
    assert report["cluster"] == events[0]["cluster"]
    assert report["revision"] == 2


def test_an_imported_picture_is_not_the_beginning(rules, event):
    """What was there before the cluster was watched is known by it, and its hours still begin with the first event."""
    state = MemoryState()
    picture = Detector(rules, baseline_ms=DAY_MS, watching=False)
    plan = Plan()
    picture.judge(plan, event("web", "create", ONE, ALL, -90 * 24 * HOUR), Where())
    state.settle(picture.evaluate(plan))
    detector, raised = Detector(rules, baseline_ms=DAY_MS), []
    for one in (("web", "update", TWO, ALL, HOUR), ("db", "update", ONE, ALL, 2 * HOUR)):
        plan = Plan()
        detector.judge(plan, event(*one), Where())
        raised += state.settle(detector.evaluate(plan))
    assert [a["objectRef"]["name"] for a in raised] == ["web"]  # known, and now more; nothing is known of db
    (report,) = finish(detector, state)
    assert [e["object"].split("/")[-1] for e in report["evidence"]] == ["db"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    writes=st.lists(
        st.tuples(
            st.sampled_from(["web", "web", "web-pod", "db"]),
            st.sampled_from(["create", "update", "update", "patch", "delete"]),
            st.sampled_from([QUIET, ONE, TWO]),
            st.sampled_from([ALL, (), ("pod.containers.privileged",)]),
            # of a baseline of an hour
            st.sampled_from([0, 60, 3000, 3300, 3599, 3600, 3601, 3900, 4199, 4200, 5000]),
        ),
        max_size=7,
        unique_by=lambda w: (w[0], w[1], w[4]),
    ),
    chance=st.integers(0, 2**32).map(random.Random),
)
# what its owner shows stood there as long as the beginning was not sure, and did not when it was
@example([("web", "update", ONE, (), 3600), ("web-pod", "create", ONE, ALL, 0)], random.Random(0))  # noqa: S311
def test_the_ids_are_a_function_of_the_set_of_events(rules, event, writes, chance):
    events = [event(*(w if w[1] != "delete" else (*w[:2], None, *w[3:]))) for w in writes]
    hour_ms = HOUR * 1000
    expected = {a["id"] for a in run(rules, sorted(events, key=lambda e: (e["time"], e["id"])), baseline_ms=hour_ms)}
    assert {a["id"] for a in run(rules, late(events, chance), chance, hour_ms)} == expected
