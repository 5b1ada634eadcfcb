"""What is passed over at a glance comes to nothing when it is judged as well: same requests, alerts and progress."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadsman_common.avro import audit_event_codec, glance
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir
from leadsman_detector.state import MemoryState
from leadsman_normalizer.normalize import normalize

CODEC = audit_event_codec()
BATCH = 50
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


def agree(rules, mode, events):
    """Whether quick and plain plans say the same of all batches; gives how many events were passed over."""
    quick, plain = Detector(rules, **MODES[mode]), Detector(rules, **MODES[mode])
    plain._glanced = Nowhere()
    states, passed = (MemoryState(), MemoryState()), 0
    records = [Record(n, CODEC.encode(event)) for n, event in enumerate(events)]
    for at in range(0, len(records), BATCH):
        plans = [detector.plan(records[at : at + BATCH], 1) for detector in (quick, plain)]
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
    ("source", "format", ["eks-cloudwatch", "cloudtrail", "gke-logentry"]),
    ("objectRef", "name", ["", "web"]),
]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_events_that_differ_in_what_rules_look_at_are_judged_the_same(rules, everyday, data):
    base = [everyday[n] for n in data.draw(st.lists(st.integers(0, len(everyday) - 1), min_size=1, max_size=3))]
    events, at = [], base[0]["time"]
    for n in range(data.draw(st.integers(2, 60))):
        event = copy.deepcopy(base[n % len(base)])
        for record, field, values in data.draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
            event[record] = {**event[record], field: data.draw(st.sampled_from(values))}
        at += data.draw(st.sampled_from([0, 1_000_000, 90_000_000, -600_000_000, 86_400_000_000]))
        events.append({**event, "time": at, "id": f"{n:032x}"})
    agree(rules, data.draw(st.sampled_from(sorted(MODES))), events)


def test_a_glance_shows_what_decoding_does(everyday):
    shown = {}
    for event in everyday:
        time, span, source = glance(CODEC.encode(event))
        assert (time, source) == (event["time"], event["source"]["format"])
        told = {name: event[name] for name in ("cluster", "actor", "src_endpoint")}
        assert shown.setdefault(span, told) == told
    assert len({repr(told) for told in shown.values()}) == len(shown)


def test_of_a_broken_record_nothing_is_shown(everyday):
    data = CODEC.encode(everyday[0])
    assert glance(data) is not None
    assert [glance(data[:size]) for size in range(10, len(data))] == [None] * (len(data) - 10)
    assert glance(data + b"\0") is None
