"""What `leadsman tail` shows, and what its keys do."""

import pytest
from notifying import alert

from leadsman_cli.tail import WRITERS, Filter, Tail
from leadsman_common.alerts import own_alert
from leadsman_common.canary import user_agent

FILTERS = {
    "nothing asked": (Filter(), True),
    "at the level": (Filter(min_level="high"), True),
    "below the level": (Filter(min_level="critical"), False),
    "the rule": (Filter(rules=("pod-*",)), False),
    "the cluster by id": (Filter(clusters=("*",)), True),
    "another cluster": (Filter(clusters=("elsewhere",)), False),
    "another person": (Filter(actors=("nobody",)), False),
}


@pytest.mark.parametrize(("wanted", "shown"), FILTERS.values(), ids=FILTERS)
def test_what_is_shown(wanted, shown):
    assert wanted.wants(alert(level="high")) is shown


def test_keys():
    written, said = [], []
    tail = Tail(Filter(), lambda a: written.append(a["id"]), said.append)
    tail.take(alert("a", level="low"))
    assert tail.press(" ")
    tail.take(alert("b", level="low"))
    assert (written, said) == (["a"], ["paused; space goes on"])
    tail.press(" ")
    assert written == ["a", "b"]  # what came meanwhile comes after
    tail.press("+")
    tail.press("+")
    assert said[1:] == ["from low", "from medium"]
    tail.take(alert("c", level="low"))
    tail.take(alert("d", level="medium"))
    assert written == ["a", "b", "d"]
    for _ in range(9):
        tail.press("-")
    tail.take(alert("e", level="informational"))
    assert written[-1] == "e"
    assert tail.press("x")  # no key of ours
    assert not tail.press("q")


def test_an_alert_of_our_own_has_a_line_without_events(capsys):
    found = alert()
    WRITERS["lines"](own_alert("b", found["rule"], "high", "eks-audit of prod is silent", 1, found["cluster"]))
    assert "eks-audit of prod is silent" in capsys.readouterr().out


def test_the_line_of_a_canary_says_how_long_it_took(capsys):
    found = alert(level="informational", detected_time=1_764_320_002_580_000)
    found["rule"]["name"] = "canary"
    found["evidence"] = [{**found["evidence"][-1], "user_agent": user_agent(1_764_320_000_000, 300)}]
    found["evidence"][0] |= {"time": 1_764_320_000_012_000, "source": {**found["evidence"][0]["source"]}}
    found["evidence"][0]["source"]["received_ms"] = 1_764_320_002_500
    WRITERS["lines"](found)
    assert "(request 12 ms, delivery 2488 ms, detection 80 ms)" in capsys.readouterr().out
