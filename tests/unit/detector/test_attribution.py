"""A workload and what controllers make of it are one alert, and it ends up with the person who made the workload."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from leadsman_detector.alert import Where
from leadsman_detector.detect import Detector
from leadsman_detector.match import load
from leadsman_detector.plan import Plan
from leadsman_detector.state import MemoryState

RULES = load([Path(__file__).parents[3] / "rules"])
# verb and resource, the object, its direct owner, who made it
MADE = {
    "deployment": ("create", "deployments", "web", "", "bob"),
    "replicaset": ("create", "replicasets", "web-5f7c", "Deployment", "deployment-controller"),
    "pod": ("create", "pods", "web-5f7c-x", "ReplicaSet", "replicaset-controller"),
}


@pytest.mark.parametrize("order", list(itertools.permutations(MADE)), ids=" ".join)
def test_in_every_order_of_arrival(order, make_event, record):
    detector, state, raised = Detector(RULES), MemoryState(), []
    for part in order:
        verb, resource, name, owner, actor = MADE[part]
        owners = [record("Owner", kind=owner, name="web", controller=True)] if owner else []
        container = record("ContainerFacts", name="app", image_repo="xmrig/xmrig", image_name="xmrig")
        pod = record("PodFacts", owners=owners, owner_kind="Deployment", owner_name="web", containers=[container])
        actor_class = "control_plane" if owner else "human"
        event = make_event(verb, resource, name=name, actor=actor, actor_class=actor_class, facts={"pod": pod})
        plan = Plan()
        detector.judge(plan, event, Where())
        raised += state.settle(detector.evaluate(plan))
    mining = [alert for alert in raised if alert["rule"]["name"] == "crypto-mining-image"]
    assert len({alert["id"] for alert in mining}) == 1
    assert mining[-1]["actor"]["name"] == "bob"
