"""What is passed over at a glance comes to nothing when it is judged as well: same requests, alerts and progress."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_records import defaults

from leadsman_common.avro import audit_event_codec, glance
from leadsman_common.events import Flag
from leadsman_detector.detect import Detector
from leadsman_detector.idle import GLANCED, is_told_at_a_glance
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.state import MemoryState
from leadsman_normalizer.normalize import normalize

CODEC = audit_event_codec()
MODES = {
    "live": {"baseline_ms": 3_600_000, "posture": True},
    "rebuild": {"keeping": True, "baseline_ms": 3_600_000},
    "patient": {"patient": True, "watching": False},
}


@dataclass(frozen=True)
class Record:
    """A record of audit.events."""

    offset: int
    value: bytes
    key: bytes | None = None
    topic: str = "audit.events"
    partition: int = 0


@pytest.fixture(scope="module")
def rules():
    return load([default_rules_dir()])


@pytest.fixture(scope="module")
def everyday(mix):
    """Everyday events that are looked at, with attacks among them."""
    return [normalize(mix.raw_of(sample, n)) for n, sample in enumerate(mix.samples(4_000, stories=0.2))]


class Nowhere(set):
    """Routes that no event is glanced at on: there all are judged."""

    def add(self, _: bytes) -> None:
        pass


def agree(rules, mode, events, batch=50):
    """Whether quick and plain plans say the same of all batches; gives how many events were passed over."""
    quick, plain = Detector(rules, **MODES[mode]), Detector(rules, **MODES[mode])
    plain._glanced = Nowhere()
    states, passed = (MemoryState(), MemoryState()), 0
    records = [Record(n, CODEC.encode(event)) for n, event in enumerate(events)]
    for at in range(0, len(records), batch):
        plans = [detector.plan(records[at : at + batch], 1) for detector in (quick, plain)]
        assert plans[0].requests == plans[1].requests
        assert [r.alert for r in plans[0].raised] == [r.alert for r in plans[1].raised]
        assert plans[0].progress == plans[1].progress
        assert plans[0].days == plans[1].days
        passed += plans[1].decoded - plans[0].decoded
        alerts = [
            state.settle(detector.evaluate(plan, 1))
            for state, detector, plan in zip(states, (quick, plain), plans, strict=True)
        ]
        assert alerts[0] == alerts[1]
    assert list(states[0].kept()) == list(states[1].kept())
    return passed


@pytest.mark.parametrize("mode", MODES)
def test_the_mix_is_judged_the_same(rules, everyday, mode):
    assert agree(rules, mode, everyday) > 200


FIELDS = [
    ("actor", "name", ["system:serviceaccount:shop:web", "bob", "system:admin", ""]),
    ("actor", "credential_id", ["", "JTI=1", "X509SHA256=1"]),
    ("actor", "groups", [[], ["system:masters"], ["system:serviceaccounts"]]),
    ("actor", "namespace", ["", "shop", "kube-system"]),
    ("actor", "pod", ["", "web-1"]),
    ("src_endpoint", "ip", ["10.0.0.1", "203.0.113.9", ""]),
    ("src_endpoint", "public", [False, True]),
    ("cluster", "id", ["a", "b"]),
    ("source", "format", ["eks-audit", "cloudtrail"]),
    ("outcome", "reason", ["", "RBAC: allowed"]),
    ("objectRef", "name", ["", "web"]),
    ("objectRef", "namespace", ["", "shop", "kube-system"]),
    ("user", "groups", [[], ["system:masters"]]),
]
ACTORS = {"human": Flag(0), "service_account": Flag.SERVICE_ACCOUNT, "node": Flag.NODE}
TEXTS = {"userAgent": ["curl/8.5.0", "kubectl/v1.34.1", ""], "requestURI": ["/api/v1/pods?limit=500", "/api/v1/pods"]}


def changes(most):
    """A few fields and what is in them."""
    one = st.sampled_from(FIELDS).flatmap(lambda f: st.tuples(st.just(f[0]), st.just(f[1]), st.sampled_from(f[2])))
    return st.lists(one, max_size=most)


@st.composite
def alike(draw):
    """What a few actors do again and again: the fields of events, some of which differ."""
    kinds = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["get", "list", "watch", "create", "delete"]),
                st.sampled_from(["pods", "secrets", "configmaps"]),
                st.sampled_from(sorted(ACTORS)),
                st.sampled_from([True, True, False]),
                changes(5),
            ),
            min_size=1,
            max_size=2,
        )
    )
    many = []
    for n in range(draw(st.integers(2, 40))):
        verb, resource, actor, effective, always = kinds[n % len(kinds)]
        flags = ACTORS[actor] | (Flag.EFFECTIVE if effective else Flag.FORBIDDEN | Flag.FAILED)
        texts = {name: draw(st.sampled_from(values)) for name, values in TEXTS.items()}
        after_s = draw(st.sampled_from([0, 0, 1, 90, -600, 4_000, 86_400]))
        many.append((verb, resource, actor, effective, int(flags), always + draw(changes(1)), texts, after_s))
    return many


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(alike(), st.sampled_from(sorted(MODES)))
def test_events_that_differ_in_what_rules_look_at_are_judged_the_same(rules, make_event, many, mode):
    events, at_s = [], 1_700_000_000
    for n, (verb, resource, actor, effective, flags, changed, texts, after_s) in enumerate(many):
        at_s += after_s
        event = make_event(verb, resource, actor_class=actor, at_s=at_s, effective=effective, **texts)
        event |= {"flags": flags, "id": f"{n:032x}"}
        for record, field, value in changed:
            event[record] = {**event[record], field: value}
        events.append(event)
    agree(rules, mode, events, batch=2)


DONE = Flag.EFFECTIVE


@pytest.mark.parametrize(
    ("action", "flags", "told"),
    [
        ("get pods", DONE | Flag.SERVICE_ACCOUNT, True),
        ("get configmaps", DONE, True),
        ("get secrets", DONE | Flag.SERVICE_ACCOUNT, False),  # by the client's name
        ("list pods", DONE | Flag.SERVICE_ACCOUNT, False),  # by the request's line
        ("delete pods", DONE | Flag.SERVICE_ACCOUNT, False),  # ends an object
        ("create pods", DONE | Flag.HAS_POD, False),  # a version of one
        ("eks:ListClusters", DONE | Flag.CLOUD_CALL, False),
    ],
)
def test_which_routes_are_told_at_a_glance(rules, action, flags, told):
    assert is_told_at_a_glance(rules.candidates(action, int(flags)), action, int(flags)) is told


def test_a_glance_shows_what_decoding_does(everyday):
    shown = {}
    for event in everyday:
        time, span, source = glance(CODEC.encode(event))
        assert (time, source) == (event["time"], event["source"]["format"])
        told = {name: event[name] for name in ("cluster", "actor", "src_endpoint", "outcome", "cloud")}
        assert shown.setdefault(span, told) == told
    assert len({repr(told) for told in shown.values()}) == len(shown)


OTHERS = {bool: lambda v: not v, int: lambda v: v + 1, str: lambda v: v + "x", list: lambda v: [*v, "x"]}


def test_whatever_differs_in_what_a_rule_may_look_at_shows(make_event):
    """Every field of the records that a glance stands for, down to the last: none may be left out of its bytes."""
    event = {**make_event(), "cloud": defaults("Cloud")}
    _, span, _ = glance(CODEC.encode(event))
    fields = [(name, field) for name in GLANCED for field in event[name]]
    assert len(fields) == 39
    for name, field in fields:
        value = event[name][field]
        other = OTHERS[type(value)](value)
        changed = {**event, name: {**event[name], field: other}}
        assert glance(CODEC.encode(changed))[1] != span, f"{name}.{field}"


def test_of_a_broken_record_nothing_is_shown(everyday):
    data = CODEC.encode(everyday[0])
    assert glance(data) is not None
    assert [glance(data[:size]) for size in range(10, len(data))] == [None] * (len(data) - 10)
    assert glance(data + b"\0") is None
