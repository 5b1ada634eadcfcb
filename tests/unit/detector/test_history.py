"""Change, not state: an object is alerted on when something dangerous is new on it, once, in any order of arrival."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState, Range

RULE = """
title: risky
name: risky
id: 5f1c5a1e-0c7a-4c3b-9a44-0d3cbe7ad001
level: medium
logsource: {product: kubernetes}
leadsman: {changed: true, anchor: owner, each: facts.pod.containers, levels: [{when: root and host, level: critical}]}
detection:
    root: {facts.pod.containers.privileged: true}
    host: {facts.pod.host_network: true}
    condition: root
"""
ALL = ["*"]
# one write of the Deployment: verb, what its containers are (name: privileged), what the request touched
QUIET, ONE, TWO = {"a": False}, {"a": True}, {"a": True, "b": True}


@pytest.fixture
def detector(tmp_path):
    (tmp_path / "risky.yml").write_text(RULE)
    rules = load([tmp_path])
    assert rules.problems == ()
    return Detector(rules)


@pytest.fixture
def write(make_event, record):
    def one(verb, containers, touched=ALL, *, at=0, owner=None, host=False, **fields):
        pod = record(
            "PodFacts",
            owners=[record("Owner", kind="Deployment", name="web", controller=True)] if owner else [],
            owner_kind="Deployment",
            owner_name="web",
            host_network=host,
            containers=[record("ContainerFacts", name=n, privileged=p) for n, p in (containers or {}).items()],
        )
        facts = {"pod": pod, "touched": touched} if containers is not None else None
        resource, name = ("pods", f"web-{at}") if owner else ("deployments", "web")
        fields = {"actor_class": "control_plane" if owner else "human", **fields}
        return make_event(
            verb, resource, group="" if owner else "apps", name=name, at_s=1_700_000_000 + at, facts=facts, **fields
        )

    return one


def arrive(detector, *batches, state=None):
    """The alerts that were raised, in order; each batch is a list of events."""
    state, raised = state or MemoryState(), []
    for batch in batches:
        plan = Plan()
        for event in batch:
            detector.judge(plan, event, Where())
        raised += state.settle(detector.evaluate(plan))
    return raised


CASES = {
    "created dangerous": ([("create", ONE)], 1),
    "nothing dangerous": ([("create", QUIET), ("update", QUIET)], 0),
    "an update of an object never seen before counts as new": ([("update", ONE)], 1),
    "a patch that sets it": ([("patch", ONE, ["pod.containers.privileged"])], 1),
    "a label patch on a dangerous object never seen before": ([("patch", ONE, ["pod.labels"])], 0),
    "a label patch after which it is dangerous, as it was not before": ([("create", QUIET), ("patch", ONE, [])], 1),
    "applied again unchanged": ([("create", ONE), ("update", ONE), ("patch", ONE, ALL), ("update", ONE)], 1),
    "made dangerous later": ([("create", QUIET), ("update", ONE)], 1),
    "a second container": ([("create", ONE), ("update", TWO)], 2),
    "one taken away": ([("create", TWO), ("update", ONE)], 1),
    "taken away and brought back": ([("create", ONE), ("update", QUIET), ("update", ONE)], 2),
    "deleted and made again": ([("create", ONE), ("delete", None), ("create", ONE)], 2),
    "a label patch first, then an apply": ([("patch", ONE, ["pod.labels"]), ("update", ONE)], 1),
}  # fmt: skip


def seen(alert):
    """All of an alert but its revision, which says how much was known."""
    return {k: v for k, v in alert.items() if k != "revision"}


@pytest.mark.parametrize(("writes", "times"), CASES.values(), ids=CASES)
def test_one_after_the_other(detector, write, writes, times):
    events = [write(*w, at=n * 10) for n, w in enumerate(writes)]
    raised = arrive(detector, *([e] for e in events))
    assert len(raised) == times
    assert len({a["id"] for a in raised}) == min(times, 1)
    revisions = [a["revision"] for a in raised]
    assert revisions == sorted(set(revisions))


@pytest.mark.parametrize(("writes", "times"), CASES.values(), ids=CASES)
def test_the_same_in_any_order_and_in_one_batch(detector, write, writes, times):  # noqa: ARG001
    events = [write(*w, at=n * 10) for n, w in enumerate(writes)]
    in_order = arrive(detector, *([e] for e in events))
    last = in_order[-1] if in_order else None
    assert list(map(seen, arrive(detector, events)[-1:])) == list(map(seen, in_order[-1:]))
    for order in itertools.permutations(events):
        raised = arrive(detector, *([e] for e in order))
        assert {a["id"] for a in raised} == {a["id"] for a in in_order}
        if last is not None:
            assert seen(max(raised, key=lambda a: a["revision"])) == seen(last)


def test_a_level_that_rises_is_new_and_one_that_falls_is_not(detector, write):
    steps = [("update", ONE, ALL, False), ("update", ONE, ALL, True), ("update", ONE, ALL, False)]
    events = [write(v, c, t, at=n * 10, host=h) for n, (v, c, t, h) in enumerate(steps)]
    raised = arrive(detector, *([e] for e in events))
    assert [a["level"] for a in raised] == ["medium", "critical"]


def test_a_child_that_shows_more_than_its_owner_is_told(detector, write):
    events = [write("create", ONE, at=0), write("create", ONE, at=1, owner=True), write("patch", TWO, at=2, owner=True)]
    raised = arrive(detector, *([e] for e in events))
    assert [len(a["evidence"]) for a in raised] == [1, 2]
    assert len({a["id"] for a in raised}) == 1


def test_what_a_person_makes_does_not_hide_behind_an_owner(detector, write):
    claimed = write("create", ONE, at=1, owner=True, actor_class="human")
    raised = arrive(detector, [write("create", ONE, at=0)], [claimed])
    assert len({a["id"] for a in raised}) == 2


def test_children_without_a_known_owner_are_one_alert(detector, write):
    raised = arrive(detector, *([write("create", ONE, at=n, owner=True)] for n in range(3)))
    assert len(raised) == 1


def test_a_redelivered_event_raises_its_alert_again(detector, write):
    state = MemoryState()
    event, later = write("create", ONE), write("update", ONE, at=10)
    first = arrive(detector, [event], [later], state=state)
    assert list(map(seen, arrive(detector, [event], state=state))) == list(map(seen, first))


def test_many_later_writes_in_one_batch_hide_nothing(detector, write):
    events = [write("create", ONE), *(write("patch", ONE, ["pod.labels"], at=n) for n in range(1, 100))]
    assert len({a["id"] for a in arrive(detector, events)}) == 1


def test_what_comes_after_many_writes_is_told(detector, write):
    events = [
        write("create", ONE),
        *(write("update", QUIET, at=n) for n in range(1, 100)),
        write("update", TWO, at=200),
    ]
    assert [a["time"] // 1_000_000 - 1_700_000_000 for a in arrive(detector, *([e] for e in events))] == [0, 200]


@pytest.mark.parametrize("at", [10, -10], ids=["later", "before them, and late"])
def test_an_owner_is_told_after_its_children(detector, write, at):
    """Whoever keeps the highest revision of an alert (DESIGN 5) keeps the person."""
    children = [write("create", QUIET | {name: True}, at=n, owner=True) for n, name in enumerate("xyz")]
    raised = arrive(detector, *([e] for e in children), [write("update", {"w": True}, at=at)])
    assert len(raised) == 4
    assert raised[-1]["actor"]["name"] == "bob"
    revisions = [alert["revision"] for alert in raised]
    assert revisions == sorted(set(revisions))


def test_a_person_who_names_an_owner_hides_nothing(detector, write):
    known = write("create", ONE)
    disguised = write("patch", ONE, ["pod.containers"], at=10, owner=True, actor_class="human")
    raised = arrive(detector, [known], [disguised])
    assert len({a["id"] for a in raised}) == 2


def test_a_create_begins_anew_whoever_ended_what_was_before(detector, write):
    raised = arrive(detector, [write("create", ONE)], [write("create", ONE, at=86_400)])
    assert len(raised) == 2
    assert len({a["id"] for a in raised}) == 1


def test_a_patch_without_an_answer_takes_nothing_away(detector, write):
    answered = {"responseObject": "{}"}
    events = [
        write("create", ONE, **answered),
        write("patch", {"a": False}, ["pod.containers.image"], at=10),
        write("update", ONE, at=20, **answered),
    ]
    assert len(arrive(detector, *([e] for e in events))) == 1


def test_versions_of_other_rules_tell_nothing_by_what_they_lack(detector, write, tmp_path):
    state = MemoryState()
    (tmp_path / "risky.yml").write_text(RULE.replace("root: {facts", "root: {verb: never, facts"))
    other = Detector(load([tmp_path]))
    assert arrive(other, [write("create", ONE)], state=state) == []
    assert arrive(detector, [write("patch", ONE, ["pod.labels"], at=10)], state=state) == []
    assert len(arrive(detector, [write("update", ONE, at=20)], state=state)) == 1


def test_one_question_a_series_and_batch(detector, write):
    plan = Plan()
    for n in range(50):
        detector.judge(plan, write("update", ONE, at=n), Where())
    assert len([r for r in plan.requests if isinstance(r, Range)]) == 2


def test_a_redelivered_event_is_the_same_member_whenever_it_is_judged(detector, write):
    plans = []
    for now_us in (1, 2):
        plan = Plan()
        detector.judge(plan, write("create", ONE), Where(), now_us)
        plans.append(plan.requests)
    assert plans[0] == plans[1]


@pytest.mark.parametrize("version", ["", "7", "-7", "9" * 5000, "\u0663", "not a number", "9" * 18])
def test_any_resource_version(detector, write, version):
    event = write("create", ONE)
    event["objectRef"]["resourceVersion"] = version
    assert len(arrive(detector, [event])) == 1


@pytest.mark.parametrize("at_us", [0, -62_135_596_800_000_000, (1 << 63) - 1])
def test_any_time(detector, write, at_us):
    event = write("create", ONE)
    event["time"] = at_us
    assert len(arrive(detector, [event])) == 1


def test_members_of_another_release_are_as_if_aged_out(detector, write):
    state, event = MemoryState(), write("create", ONE)
    plan = Plan()
    detector.judge(plan, event, Where())
    put = plan.requests[0]
    for strange in (b"", b"not json", b'{"event_id": 1}', b'{"event_id":"x","time":1,"order":0,"alerts":{"r":{}}}'):
        state.exchange_now([replace(put, member=strange)])
    assert len(arrive(detector, [event], state=state)) == 1


def test_what_was_refused_is_no_version(detector, write):
    refused = write("create", ONE, effective=False)
    raised = arrive(detector, [refused], [write("create", ONE, at=10)], [write("update", ONE, at=20)])
    assert [a["attempt"] for a in raised] == [True, False]
    assert len({a["id"] for a in raised}) == 2


def test_clusters_and_namespaces_are_apart(detector, write):
    raised = arrive(
        detector, [write("create", ONE)], [write("create", ONE, cluster="b")], [write("create", ONE, namespace="c")]
    )
    assert len({a["id"] for a in raised}) == 3


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "patch", "delete", "child"]),
        st.dictionaries(st.sampled_from("abc"), st.booleans(), min_size=1),
        st.sampled_from([ALL, ["pod.containers"], ["pod.labels"], []]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES, st.randoms(use_true_random=False))
def test_the_set_of_ids_is_a_function_of_the_set_of_events(detector, write, writes, random):
    events = []
    for n, (kind, containers, touched) in enumerate(writes):
        if kind == "child":
            events.append(write("create", containers, at=n, owner=True))
        elif kind == "delete":
            events.append(write("delete", None, at=n))
        else:
            events.append(write(kind, containers, touched if kind == "patch" else ALL, at=n))
    in_order = {a["id"] for a in arrive(detector, *([e] for e in events))}
    mixed = random.sample([*events, *events[:2]], k=len(events) + len(events[:2]))  # shuffled, with repetitions
    cut = random.randint(0, len(mixed))
    assert {a["id"] for a in arrive(detector, mixed[:cut], mixed[cut:])} == in_order
    assert {a["id"] for a in arrive(detector, *([e] for e in mixed))} == in_order
