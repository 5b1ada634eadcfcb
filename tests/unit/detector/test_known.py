"""known.*: what earlier events told, asked for by rules; late facts have the events looked at again."""

from __future__ import annotations

import itertools

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState, Put

RBAC = "rbac.authorization.k8s.io"
T0 = 1_700_000_000
RULE = """\
title: {name}
name: {name}
logsource: {{product: kubernetes}}
level: high
leadsman: {{{own}}}
detection:
    it: {it}
    known: {known}
    condition: it and known
"""
FINDER = """\
title: finder
name: finder
logsource: {product: kubernetes}
level: high
detection: {it: {facts.pod.host_network: true}, condition: it}
"""


@pytest.fixture
def arrive(tmp_path):
    """Give what runs events one by one through a rule that asks; gives its alerts, revisions and all."""

    def run(events, it, known, own=""):
        (tmp_path / "asks.yml").write_text(RULE.format(name="asks", it=it, known=known, own=own))
        (tmp_path / "finder.yml").write_text(FINDER)
        rules = load([tmp_path])
        assert not rules.problems, [str(p) for p in rules.problems]
        detector, state, raised = Detector(rules), MemoryState(), []
        for offset, event in enumerate(events):
            plan = Plan()
            # the stream does not look at what no rule may meet and what tells nothing
            if detector.route(event["action"], event["flags"]) is not None:
                detector.judge(plan, event, Where("audit.events", 0, offset))
                raised += state.settle(detector.evaluate(plan))
        return [a for a in raised if a["rule"]["name"] == "asks"]

    return run


def bind(make_event, record, kind="User", subject="eve", namespace="", at=0, actor="mallory", role="admin", **more):
    facts = {
        "binding": record(
            "BindingFacts", kind="ClusterRoleBinding", name="b", role_kind="ClusterRole", role_name=role,
            subjects=[record("SubjectFacts", kind=kind, namespace=namespace, name=subject)],
        )
    }  # fmt: skip
    return make_event(
        "create",
        "clusterrolebindings",
        group=RBAC,
        namespace="",
        name="b",
        actor=actor,
        at_s=T0 + at,
        facts=facts,
        **more,
    )


def execs(make_event, record, at=60, actor="eve", **more):
    facts = {"exec": record("ExecFacts", kind="exec", namespace="shop", pod="web")}
    return make_event("create", sub="exec", actor=actor, at_s=T0 + at, facts=facts, **more)


def test_the_bindings_of_an_actor(make_event, record, arrive):
    """By name, by group, by service account; only what was bound before, in this cluster."""
    it, known = "{facts.exec.kind: exec}", "{known.actor.bound_roles: admin}"
    exec_ = execs(make_event, record, groups=("ops",))
    for events, expected in (
        ([bind(make_event, record), exec_], 1),
        ([bind(make_event, record, "Group", "ops"), exec_], 1),
        ([bind(make_event, record, "Group", "others"), exec_], 0),
        ([bind(make_event, record, subject="bob"), exec_], 0),
        ([bind(make_event, record, role="view"), exec_], 0),
        ([bind(make_event, record, at=120), exec_], 0),
        ([bind(make_event, record, effective=False), exec_], 0),
        ([bind(make_event, record, cluster="other"), exec_], 0),
        ([exec_, bind(make_event, record)], 1),
    ):
        assert len(arrive(events, it, known)) == expected
    account = execs(make_event, record, actor="system:serviceaccount:ci:runner", actor_class="service_account")
    account["actor"].update(namespace="ci", service_account="runner")
    for namespace, expected in (("ci", 1), ("shop", 0)):
        assert (
            len(arrive([bind(make_event, record, "ServiceAccount", "runner", namespace), account], it, known))
            == expected
        )


def test_each_binding_by_itself(make_event, record, arrive):
    """With `each`, age and role are of the same binding."""
    it = "{facts.exec.kind: exec}"
    known = "{known.actor.bindings.role: admin, known.actor.bindings.age_s|lte: 100}"
    old, new = bind(make_event, record, at=-500), bind(make_event, record, role="view", at=0)
    new["objectRef"]["name"] = "c"
    own = "each: known.actor.bindings"
    assert not arrive([old, new, execs(make_event, record)], it, known, own)
    assert len(arrive([bind(make_event, record), new, execs(make_event, record)], it, known, own)) == 1


def test_a_late_fact_raises_what_it_changes_once(make_event, record, arrive):
    it, known = "{facts.exec.kind: exec}", "{known.actor.bound_roles: admin}"
    late = bind(make_event, record)
    # a second binding to the same role tells more of the same event, and once
    raised = arrive([execs(make_event, record), late, bind(make_event, record, at=1), late], it, known)
    assert [a["revision"] for a in raised] == [1, 2, 1][: len(raised)]
    alert = raised[0]
    assert alert["evidence"][0]["offset"] == 0
    (again,) = {a["id"] for a in arrive([late, execs(make_event, record)], it, known)}
    assert again == alert["id"]


def test_in_every_order(make_event, record, arrive):
    events = [
        bind(make_event, record, at=0),
        bind(make_event, record, role="view", at=-10),
        execs(make_event, record, at=5),
        execs(make_event, record, at=9),
        execs(make_event, record, at=-5),
    ]
    it, known = "{facts.exec.kind: exec}", "{known.actor.bound_roles: admin}"
    found = {frozenset(a["id"] for a in arrive(order, it, known)) for order in itertools.permutations(events)}
    assert [len(ids) for ids in found] == [2]


def role(make_event, record, at=0, actor="eve", verb="create", classes=("p1",)):
    facts = {
        "role": record(
            "RoleFacts", kind="ClusterRole", name="admin", rules=[record("PolicyRuleFacts", classes=list(classes))]
        )
    }
    return make_event(
        verb, "clusterroles", group=RBAC, namespace="", name="admin", actor=actor, at_s=T0 + at, facts=facts
    )


def token(make_event, record, **more):
    facts = {"token": record("TokenFacts", service_account="runner", issued_credential_id="JTI=1")}
    return make_event(
        "create", "serviceaccounts", sub="token", namespace="ci", name="runner", at_s=T0, facts=facts, **more
    )


def account(make_event, record):
    facts = {"service_account": record("ServiceAccountFacts", role_arn="arn:aws:iam::111122223333:role/Builder")}
    return make_event("create", "serviceaccounts", namespace="ci", name="runner", at_s=T0, facts=facts)


def pod(make_event, record, verb="create", at=0, host=True, **more):
    facts = {"pod": record("PodFacts", host_network=host, service_account="runner")}
    return make_event(verb, "pods", namespace="ci", name="web", at_s=T0 + at, facts=facts, **more)


def used(make_event, **actor):
    event = make_event("list", "secrets", at_s=T0 + 60, actor="system:serviceaccount:ci:runner")
    event["actor"].update(**{"class": "service_account", "namespace": "ci", "service_account": "runner"}, **actor)
    return event


def seen(make_event, at, ip, actor="bob", **more):
    """Somebody reads pods from an address."""
    event = make_event("get", "pods", at_s=T0 + at, actor=actor)
    event["actor"].update(more)
    event["src_endpoint"]["ip"] = ip
    return event


def comes(make_event, ip, actor="bob", **more):
    return {**seen(make_event, 60, ip, actor, **more), "verb": "delete", "action": "delete pods"}


# what is asked, the facts before, the event, whether the rule meets it
KINDS = {
    "the role that is bound": (
        "{known.role.classes: p1, known.role.by: eve, known.role.age_s|lte: 60}",
        lambda e, r: [role(e, r), bind(e, r, at=60)],
        True,
    ),
    "a role that was narrowed before it is bound": (
        "{known.role.classes: p1}",
        lambda e, r: [role(e, r), role(e, r, at=30, verb="update", classes=["p2"]), bind(e, r, at=60)],
        True,
    ),
    "another role": ("{known.role.classes: p1}", lambda e, r: [role(e, r), bind(e, r, role="view", at=60)], False),
    "who minted a credential": (
        "{known.credential.minted_by: bob, known.credential.minted_for: 'system:serviceaccount:ci:runner'}",
        lambda e, r: [token(e, r), used(e, credential_id="JTI=1")],
        True,
    ),
    "another credential": (
        "{known.credential.minted_by: bob}",
        lambda e, r: [token(e, r), used(e, credential_id="JTI=2")],
        False,
    ),
    "where an actor was seen": (
        "{known.seen.actor_addresses: 192.0.2.1, known.seen.actor_here: false}",
        lambda e, _r: [seen(e, 0, "192.0.2.1"), seen(e, 1, "192.0.2.1"), comes(e, "192.0.2.2")],
        True,
    ),
    "it was there before": (
        "{known.seen.actor_here: true}",
        lambda e, _r: [seen(e, -3_000, "192.0.2.2"), seen(e, 1, "192.0.2.1"), comes(e, "192.0.2.2")],
        True,
    ),
    "somebody else was seen": (
        "{known.seen.actor_addresses|exists: true}",
        lambda e, _r: [seen(e, 0, "192.0.2.1", "eve"), comes(e, "192.0.2.1")],
        False,
    ),
    "what comes after is not known": (
        "{known.seen.actor_addresses|exists: true}",
        lambda e, _r: [comes(e, "192.0.2.1"), seen(e, 61, "192.0.2.1")],
        False,
    ),
    "where a credential was seen": (
        "{known.seen.credential_addresses: 192.0.2.1, known.seen.credential_here: false}",
        lambda e, _r: [
            seen(e, 0, "192.0.2.1", "ann", credential_id="JTI=1"), comes(e, "192.0.2.2", credential_id="JTI=1")
        ],
        True,
    ),
    "where another credential was seen": (
        "{known.seen.credential_addresses|exists: true}",
        lambda e, _r: [
            seen(e, 0, "192.0.2.1", credential_id="JTI=2"), comes(e, "192.0.2.2", credential_id="JTI=1")
        ],
        False,
    ),
    "the cloud roles of a service account": (
        "{known.service_account.cloud_roles|endswith: role/Builder}",
        lambda e, r: [account(e, r), used(e)],
        True,
    ),
    "those of the account of a pod": (
        "{known.service_account.cloud_roles|exists: true}",
        lambda e, r: [account(e, r), pod(e, r, at=60)],
        True,
    ),
    "what was found on an object that is deleted": (
        "{known.object.findings: finder, known.object.by_same_actor: true, known.object.age_s|lte: 60}",
        lambda e, r: [pod(e, r), e("delete", namespace="ci", name="web", at_s=T0 + 60)],
        True,
    ),
    "nothing was found on it": (
        "{known.object.findings|exists: true}",
        lambda e, r: [pod(e, r, host=False), e("delete", namespace="ci", name="web", at_s=T0 + 60)],
        False,
    ),
    "what was found on a pod": (
        "{known.pod.findings: finder}",
        lambda e, r: [pod(e, r), e("create", sub="exec", namespace="ci", name="web", at_s=T0 + 60)],
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("known", "story", "expected"), KINDS.values(), ids=KINDS)
def test_kinds(known, story, expected, make_event, record, arrive):
    events = story(make_event, record)
    asks = next((event for event in events if event["verb"] == "delete"), events[-1])
    it = f"{{objectRef.resource: {asks['objectRef']['resource']}, verb: {asks['verb']}}}"
    for order in itertools.permutations(events):
        assert bool(arrive(order, it, known)) is expected


def test_where_somebody_is_is_told_once_a_day(make_event, tmp_path):
    (tmp_path / "asks.yml").write_text(
        RULE.format(name="asks", own="", it="{verb: delete}", known="{known.seen.actor_here: true}")
    )
    detector, state, told = Detector(load([tmp_path])), MemoryState(), []
    for at in (5, 6, 7, 4, 5, 90_000):  # the fourth is earlier, the last is of another day
        plan = Plan()
        detector.judge(plan, seen(make_event, at, "192.0.2.1"), Where("audit.events", 0, at))
        told.append(
            sum(isinstance(request, Put) and request.series.startswith("known/seen") for request in plan.requests)
        )
        state.settle(detector.evaluate(plan))
    assert told == [1, 0, 0, 1, 0, 1]


def test_what_is_known_groups_a_correlation(make_event, record, tmp_path):
    """A rule that asks feeds correlations as any other, and known.* may stand in group-by."""
    (tmp_path / "use.yml").write_text(
        RULE.format(
            name="use",
            own="alert: false",
            it="{objectRef.resource: secrets}",
            known="{known.credential.minted_by|exists: true}",
        )
    )
    (tmp_path / "many.yml").write_text(
        "title: many\nname: many\ncorrelation: {type: event_count, rules: [use], timespan: 5m, condition: {gte: 2}, "
        "group-by: [known.credential.minted_by]}\n"
    )
    rules = load([tmp_path])
    assert not rules.problems
    other = used(make_event, credential_id="JTI=1")
    other.update(id="other", time=other["time"] + 1)
    for order in itertools.permutations([token(make_event, record), used(make_event, credential_id="JTI=1"), other]):
        detector, state, raised = Detector(rules), MemoryState(), []
        for event in order:
            plan = Plan()
            detector.judge(plan, event, Where())
            raised += state.settle(detector.evaluate(plan))
        assert [a["joins"] for a in raised] == [["known.credential.minted_by=bob"]]


def test_a_rule_about_change_does_not_ask(tmp_path):
    (tmp_path / "asks.yml").write_text(
        RULE.format(name="asks", own="changed: true", it="{verb: get}", known="{known.pod.host: true}")
    )
    (problem,) = load([tmp_path]).problems
    assert "does not look at known" in problem.reason
