"""exec-by-new-role: three joins, any order of arrival, windows, clusters, redelivery."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState

RBAC = "rbac.authorization.k8s.io"
HOUR = 3600
T0 = 1_700_000_000
RULES = load([Path(__file__).parents[3] / "rules"])


def role(make_event, record, at_s=T0, actor="alice", **more):
    facts = {
        "role": record(
            "RoleFacts", kind="ClusterRole", name="debugger", rules=[record("PolicyRuleFacts", grants=["exec"])]
        )
    }
    return make_event(
        "create", "clusterroles", group=RBAC, namespace="", name="debugger", actor=actor, at_s=at_s, facts=facts, **more
    )


def binding(
    make_event, record, at_s=T0 + 60, subject=("User", "", "carol"), name="debuggers", role_name="debugger", **more
):
    kind, namespace, subject_name = subject
    facts = {
        "binding": record(
            "BindingFacts", kind="ClusterRoleBinding", name=name, role_kind="ClusterRole", role_name=role_name,
            subjects=[record("SubjectFacts", kind=kind, namespace=namespace, name=subject_name)],
        )
    }  # fmt: skip
    return make_event(
        "create",
        "clusterrolebindings",
        group=RBAC,
        namespace="",
        name=name,
        actor="alice",
        at_s=at_s,
        facts=facts,
        **more,
    )


def use(make_event, record, at_s=T0 + 120, actor="carol", reason=None, **more):
    return make_event(
        "get",
        sub="exec",
        actor=actor,
        at_s=at_s,
        facts={"exec": record("ExecFacts", kind="exec")},
        outcome=reason,
        **more,
    )


def arrive(events, state=None, detector=None):
    """Alerts of the correlation, by id, the last one of an id winning."""
    detector = detector or Detector(RULES)
    state = state or MemoryState()
    found = {}
    for event in events:
        plan = Plan()
        detector.judge(plan, event, Where("audit.events", 0, 1))
        for alert in state.settle(detector.evaluate(plan)):
            if alert["rule"]["name"] == "exec-by-new-role":
                found[alert["id"]] = alert
    return found


NAMES_ROLE = {"role": "debugger", "role_kind": "ClusterRole"}
NAMES_BINDING = {"binding": "debuggers", "binding_kind": "ClusterRoleBinding"}
OTHER_ROLE = {
    "role": "cluster-admin",
    "role_kind": "ClusterRole",
    "binding": "admins",
    "binding_kind": "ClusterRoleBinding",
}

# what happens -> (level, join) of the one alert, or None
STORIES = {
    "reason names the role": (lambda e, r: [role(e, r), use(e, r, reason=NAMES_ROLE)], ("critical", "reason")),
    "reason names its binding": (
        lambda e, r: [role(e, r), binding(e, r, subject=("Group", "", "g")), use(e, r, reason=NAMES_BINDING)],
        ("critical", "reason"),
    ),
    "binding names the user": (lambda e, r: [role(e, r), binding(e, r), use(e, r)], ("critical", "binding")),
    "binding names a group": (
        lambda e, r: [role(e, r), binding(e, r, subject=("Group", "", "ops")), use(e, r, groups=("ops",))],
        ("critical", "binding"),
    ),
    "another reason does not refute": (
        lambda e, r: [role(e, r), binding(e, r), use(e, r, reason=OTHER_ROLE)],
        ("critical", "binding"),
    ),
    "binding before the role": (
        lambda e, r: [binding(e, r, at_s=T0 - HOUR), role(e, r), use(e, r)],
        ("critical", "binding"),
    ),
    "creator within the hour": (lambda e, r: [role(e, r), use(e, r, actor="alice")], ("high", "creator")),
    "creator one second late": (lambda e, r: [role(e, r), use(e, r, actor="alice", at_s=T0 + HOUR + 1)], None),
    "binding beats creator": (
        lambda e, r: [role(e, r, actor="carol"), binding(e, r), use(e, r)],
        ("critical", "binding"),
    ),
    "used before": (lambda e, r: [use(e, r, at_s=T0 - 1), binding(e, r), role(e, r)], None),
    "at the window's end": (
        lambda e, r: [role(e, r), use(e, r, reason=NAMES_ROLE, at_s=T0 + 24 * HOUR)],
        ("critical", "reason"),
    ),
    "one second outside": (lambda e, r: [role(e, r), use(e, r, reason=NAMES_ROLE, at_s=T0 + 24 * HOUR + 1)], None),
    "binding of another role": (
        lambda e, r: [role(e, r), binding(e, r, role_name="viewer"), use(e, r)],
        None,
    ),
    "another user": (lambda e, r: [role(e, r), binding(e, r), use(e, r, actor="dave")], None),
    "another cluster": (
        lambda e, r: [role(e, r), binding(e, r), use(e, r, cluster="aws/111122223333/eu-west-1/test")],
        None,
    ),
    "refused exec": (lambda e, r: [role(e, r), binding(e, r), use(e, r, effective=False)], None),
    "refused role": (lambda e, r: [role(e, r, effective=False), binding(e, r), use(e, r)], None),
}  # fmt: skip


@pytest.mark.parametrize(("story", "expected"), STORIES.values(), ids=STORIES)
def test_story_in_every_order_of_arrival(make_event, record, story, expected):
    """A correlation is a function of the set of events: each order gives the same id, and in the end the best join."""
    events = story(make_event, record)
    ids = set()
    for order in itertools.permutations(events):
        found = arrive(order)
        assert [(a["level"], *a["joins"]) for a in found.values()] == ([expected] if expected else [])
        ids |= set(found)
    assert len(ids) == (1 if expected else 0)


def test_service_account_is_named_by_namespace_and_name(make_event, record):
    account = "system:serviceaccount:ops:runner"
    events = [role(make_event, record), binding(make_event, record, subject=("ServiceAccount", "ops", "runner"))]
    for namespace, expected in (("ops", 1), ("other", 0)):
        exec_ = use(make_event, record, actor=account, actor_class="service_account")
        exec_["actor"].update(namespace=namespace, service_account="runner")
        assert len(arrive([*events, exec_])) == expected


def test_evidence_is_the_chain_in_order_of_time(make_event, record):
    (alert,) = arrive([use(make_event, record), binding(make_event, record), role(make_event, record)]).values()
    assert [e["rule"] for e in alert["evidence"]] == ["cluster-role-exec", "role-bound", "pod-exec"]
    assert alert["evidence"][0]["topic"] == "audit.events"
    assert alert["actor"]["name"] == "carol"


def test_two_actors_interleaved_are_two_stories(make_event, record):
    events = [
        role(make_event, record),
        binding(make_event, record),
        binding(make_event, record, subject=("User", "", "dave"), name="second"),
        use(make_event, record),
        use(make_event, record, actor="dave", at_s=T0 + 130),
    ]
    assert {a["actor"]["name"] for a in arrive(events).values()} == {"carol", "dave"}


def test_redelivery_raises_the_same_alert_again_and_a_repeat_use_does_not(make_event, record):
    state = MemoryState()
    events = [role(make_event, record), binding(make_event, record), use(make_event, record)]
    first = arrive(events, state)
    assert arrive(events[-1:], state).keys() == first.keys()  # a worker died before its send: it must come again
    assert not arrive([use(make_event, record, at_s=T0 + 500)], state)


@pytest.mark.parametrize("other", ["roles", "bindings"])
def test_an_exec_costs_the_same_however_many_other_roles_there_are(make_event, record, other):
    """Counted: what is asked of the state, and what it gives back."""
    cost = {}
    for number in (100, 300):
        state, detector = MemoryState(), Detector(RULES)
        for n in range(number):
            if other == "roles":
                event = role(make_event, record, at_s=T0 + n % 100, actor=f"maker-{n}")
                event["facts"]["role"]["name"] = event["objectRef"]["name"] = f"debugger-{n}"
            else:
                subject = ("User", "", f"user-{n}")
                event = binding(make_event, record, subject=subject, name=f"b-{n}", role_name=f"debugger-{n}")
            arrive([event], state, detector)
        plan, asked, answered = Plan(), 0, 0
        detector.judge(plan, use(make_event, record), Where())
        generator = detector.evaluate(plan)
        try:
            requests = next(generator)
            while True:
                replies = state.exchange_now(requests)
                asked += len(requests)
                answered += sum(len(reply) for reply in replies if isinstance(reply, list))
                requests = generator.send(replies)
        except StopIteration:
            cost[number] = asked, answered
    assert cost[100] == cost[300]


def test_a_binding_of_many_subjects_is_found_by_each(make_event, record):
    many = binding(make_event, record)
    subjects = [record("SubjectFacts", kind="User", namespace="", name=f"user-{n}") for n in range(400)]
    many["facts"]["binding"]["subjects"] = subjects
    (alert,) = arrive([role(make_event, record), many, use(make_event, record, actor="user-399")]).values()
    assert alert["joins"] == ["binding"]
