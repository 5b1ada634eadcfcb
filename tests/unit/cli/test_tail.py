"""What `leadsman tail` shows, and what its keys do."""

import pytest
from notifying import alert

from leadsman_cli.tail import Filter, Tail

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
