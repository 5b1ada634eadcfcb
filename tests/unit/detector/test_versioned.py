"""Rules with `versions`: skew and support, of what components say of themselves; once, in the stream."""

from __future__ import annotations

import itertools

import pytest

from leadsman_common.events import Flag
from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.state import MemoryState

HOUR, DAY = 3600, 86_400
T0 = 1_795_824_000 + 12 * HOUR  # 2026-11-28 at noon


@pytest.fixture(scope="module")
def rules():
    folder = default_rules_dir()
    slugs = ("kubernetes/version-skew", "kubernetes/version-support-ended", "lists/kubernetes-versions")
    found = load([folder / f"{slug}.yml" for slug in slugs])
    assert not found.problems
    return found


@pytest.fixture
def says(make_event, record):
    """Give what makes the request by which a component says that it lives."""

    def make(component, version, at=0, who="", provider="aws"):
        facts = {"control_plane": record("ControlPlaneFacts", component=component, version=version)}
        resource, group = ("nodes", "") if component == "kubelet" else ("leases", "coordination.k8s.io")
        event = make_event(
            "update", resource, group=group, name=who or component, actor=who or component, at_s=T0 + at, facts=facts
        )
        event["flags"] |= int(Flag.HAS_CONTROL_PLANE)
        event["cluster"]["provider"] = provider
        return event

    return make


@pytest.fixture
def called(make_event, record):
    """Give what makes a call that upgrades the control plane."""

    def make(version, at=0):
        event = make_event(at_s=T0 + at, facts={"control_plane": record("ControlPlaneFacts", version=version)})
        event["action"], event["verb"], event["objectRef"] = "eks:UpdateClusterVersion", "", record("ObjectRef")
        event["flags"] |= int(Flag.HAS_CONTROL_PLANE | Flag.CLOUD_CALL)
        event["cloud"] = record("Cloud", operation="UpdateClusterVersion")
        return event

    return make


def told(rules, events, *, detector=None, state=None):
    """(rule, what is wrong, id) of each alert of these rules, as they come."""
    detector, state = detector or Detector(rules, posture=True), state or MemoryState()
    raised = []
    for offset, event in enumerate(events):
        plan = detector.new_plan()
        detector.judge(plan, event, Where("audit.events", 0, offset))
        raised += state.settle(detector.evaluate(plan))
    slugs = ("version-skew", "version-support-ended")
    found = [alert for alert in raised if alert["rule"]["name"] in slugs]
    return [(a["rule"]["name"], said_by(a), a["id"]) for a in found]


def said_by(alert):
    (text,) = (m["value"] for m in alert["evidence"][0]["matched"] if m["field"] == "facts.control_plane.message")
    return text


SERVER = ("kube-apiserver", "v1.35.1")


@pytest.mark.parametrize(
    ("component", "version", "wrong"),
    [
        ("kubelet", "v1.35.0-eks-1", ""),
        ("kubelet", "v1.32.9", ""),
        ("kubelet", "v1.31.9", "kubelet v1.31.9 is too old for the API server (v1.35.1)"),
        ("kubelet", "v1.36.0", "kubelet v1.36.0 is newer than the API server (v1.35.1)"),
        ("kube-scheduler", "v1.34.0", ""),
        ("kube-scheduler", "v1.33.0", "kube-scheduler v1.33.0 is too old for the API server (v1.35.1)"),
        ("kube-scheduler", "v1.36.0", "kube-scheduler v1.36.0 is newer than the API server (v1.35.1)"),
        ("kubectl", "v1.20.0", ""),
        ("aws-node", "v1.20.0", ""),
    ],
)  # fmt: skip
def test_which_versions_go_together(component, version, wrong, rules, says):
    found = told(rules, [says(*SERVER), says(component, version, 60)])
    assert [text for _, text, _ in found] == ([wrong] if wrong else [])


def test_no_api_server_is_known(rules, says):
    assert told(rules, [says("kubelet", "v1.20.0")]) == []


@pytest.mark.parametrize("version", ["1.35", "v1.35.1-eks-2"])
def test_an_api_server_that_calls_tell_of(version, rules, says, called):
    assert len(told(rules, [called(version), says("kubelet", "v1.31.9", DAY)])) == 1
    later = [called(version), called("1.34", HOUR), says("kubelet", "v1.31.9", DAY)]
    assert told(rules, later) == []


def test_once_for_all_nodes_all_day_and_again_when_it_was_gone(rules, says):
    """By node and hour, on a new worker each hour; gone for two days, it is told anew."""
    state, found = MemoryState(), []
    for hour in range(30):
        events = [says(*SERVER, hour * HOUR)]
        events += [says("kubelet", "v1.31.9", hour * HOUR + 60 * n, f"system:node:{n}") for n in range(1, 4)]
        found += told(rules, events, state=state)
    assert len(found) == 1
    healed = [e for h in range(30, 78, 6) for e in (says(*SERVER, h * HOUR), says("kubelet", "v1.35.0", h * HOUR + 60))]
    assert told(rules, healed, state=state) == []
    broken = told(rules, [says(*SERVER, 80 * HOUR), says("kubelet", "v1.31.9", 80 * HOUR + 60)], state=state)
    assert len(broken) == 1
    assert broken[0][2] != found[0][2]


def test_an_upgrade_under_way_is_no_skew(rules, says):
    """Nodes follow within the hour, and one of several API servers is still old."""
    events = [says("kube-apiserver", "v1.34.2"), says("kube-apiserver", "v1.35.1", 60)]
    events += [
        says("kubelet", "v1.35.1", 600),
        says("kube-apiserver", "v1.34.2", 900),
        says("kubelet", "v1.31.0", 1200),
    ]
    assert told(rules, events) == []
    assert len(told(rules, [*events, says(*SERVER, 4 * HOUR), says("kubelet", "v1.31.0", 4 * HOUR)])) == 1


def test_in_every_order_it_is_the_same_alert(rules, says):
    events = [
        says(*SERVER),
        says("kubelet", "v1.31.9", 60, "a"),
        says("kubelet", "v1.31.9", 120, "b"),
        says(*SERVER, 180),
    ]
    ids = {i for order in itertools.permutations(events) for _, _, i in told(rules, order)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("provider", "version", "at", "wrong"),
    [
        ("aws", "v1.32.0", 0, False),  # for money
        ("aws", "v1.31.0-eks-1", 0, True),
        ("aws", "v1.31.0-eks-1", -3 * DAY, False),  # two days before its end
        ("gcp", "v1.33.0-gke.100", 0, True),
        ("", "v1.34.0", 0, True),
        ("", "v1.35.0", 0, False),
        ("", "v1.12.0", 0, True),
    ],
)
def test_support_ends_by_the_day_of_the_event(provider, version, at, wrong, rules, says):
    found = told(rules, [says("kube-apiserver", version, at, provider=provider)])
    assert [rule for rule, _, _ in found] == (["version-support-ended"] if wrong else [])


def test_it_is_told_on_the_day_on_which_support_ends_and_not_again(rules, says):
    state = MemoryState()
    days = [len(told(rules, [says("kube-apiserver", "v1.31.7", day * DAY)], state=state)) for day in range(-5, 8)]
    assert (sum(days), days[:4], days.index(1)) == (1, [0, 0, 0, 0], 4)


def test_a_rule_of_versions_needs_first_seen(tmp_path):
    head = "title: x\nname: x\nlogsource: {product: kubernetes}\ndetection: {a: {verb: get}, condition: a}\n"
    for own, reason in (("versions: skew", "needs first_seen"), ("versions: both", "is skew or support")):
        (tmp_path / "x.yml").write_text(f"{head}leadsman: {{{own}}}\n")
        (problem,) = load([tmp_path]).problems
        assert reason in problem.reason
