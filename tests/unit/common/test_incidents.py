"""Alerts as incidents: each once, a chain with the alerts of its events."""

import pytest

from leadsman_common.incidents import counted, gathered, incidents


def alert(identity, at, level="high", *members):
    evidence = [{"rule": f"rule-{member}", "alert": member} for member in members]
    return {"id": identity, "time": at, "level": level, "members": list(members), "evidence": evidence}


def shape(alerts):
    return [(i.alert["id"], [m["id"] for m in i.members]) for i in incidents(alerts)]


@pytest.mark.parametrize(
    ("alerts", "expected", "told"),
    [
        ([], [], "0 alerts"),
        ([alert("a", 1)], [("a", [])], "1 alert"),
        ([alert("b", 2), alert("a", 1), alert("c", 3, "high", "a", "b")], [("c", ["a", "b"])],
         "3 alerts in 1 incident"),
        ([alert("c", 3, "high", "a", "gone"), alert("x", 4)], [("c", []), ("x", [])], "2 alerts"),
        # the worst of two chains, then the earliest
        ([alert("a", 1), alert("c", 3, "high", "a"), alert("d", 4, "critical", "a")], [("c", []), ("d", ["a"])],
         "3 alerts in 2 incidents"),
        ([alert("a", 1), alert("d", 4, "high", "a"), alert("c", 3, "high", "a")], [("d", []), ("c", ["a"])],
         "3 alerts in 2 incidents"),
        # a chain of a chain
        ([alert("a", 1), alert("c", 3, "high", "a"), alert("d", 4, "critical", "c")], [("d", ["a", "c"])],
         "3 alerts in 1 incident"),
        # two that name one another, and one that names itself
        ([alert("c", 3, "high", "d"), alert("d", 4, "high", "c")], [("c", ["d"])], "2 alerts in 1 incident"),
        ([alert("c", 3, "high", "c")], [("c", [])], "1 alert"),
    ],
)  # fmt: skip
def test_each_alert_once(alerts, expected, told):
    assert shape(alerts) == expected
    assert counted(incidents(alerts)) == told


def test_of_an_older_release():
    old = alert("a", 1)
    del old["members"]
    assert shape([old]) == [("a", [])]
    assert gathered(old) == ""


def test_what_a_chain_gathers():
    assert gathered(alert("c", 3, "high", "a")) == "1 alert of its events: rule-a a"
    many = alert("c", 3, "high", *(f"local-{n}234567890" for n in range(9)))
    assert gathered(many).startswith("9 alerts of its events: rule-local-0234567890 02345678, ")
    assert gathered(many).endswith(" and 3 more")
