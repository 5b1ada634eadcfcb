"""What a request says of itself as a canary, and what of an alert says how long it took."""

import pytest
from notifying import alert

from leadsman_common.canary import Told, hops_ms, told_by, user_agent

AGENT = user_agent(1_764_320_000_000, 300)


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (AGENT, Told(1_764_320_000_000, 300)),
        (user_agent(1_764_320_000_000, 0), Told(1_764_320_000_000, 0)),
        (f"{AGENT} gzip(gfe)", Told(1_764_320_000_000, 300)),  # what a proxy of a cloud adds
        (f"{AGENT},gzip(gfe)", Told(1_764_320_000_000, 300)),
        (f"{AGENT}0", None),
        (f"curl/8 {AGENT}", None),
        ("leadsman-canary/0.1.0", None),
        ("leadsman-canary/0.1.0 sent=now every=300s", None),
        ("leadsman-canary/0.1.0 sent=1764320000000 every=-1s", None),
        ("leadsman-canary/0.1.0 sent=\u0661764320000000 every=300s", None),
        ("", None),
    ],
)
def test_what_a_user_agent_says(agent, told):
    assert told_by(agent) == told


def canary_alert(agent=AGENT, rule="canary", received_ms=1_764_320_002_500):
    found = alert("a", level="informational")
    found["rule"]["name"] = rule
    event = found["evidence"][-1]
    event |= {"user_agent": agent, "time": 1_764_320_000_012_000}
    event["source"] = {**event["source"], "received_ms": received_ms}
    return {**found, "detected_time": 1_764_320_002_580_000}


@pytest.mark.parametrize(
    ("given", "hops"),
    [
        ({}, {"request": 12, "delivery": 2488, "detection": 80}),
        ({"received_ms": 0}, {"request": 12}),  # of a file
        ({"rule": "pod-exec"}, {}),
        ({"agent": "curl/8"}, {}),
    ],
)
def test_the_way_of_a_canary_by_hop(given, hops):
    assert hops_ms(canary_alert(**given)) == hops
