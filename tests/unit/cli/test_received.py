"""Ingest's receipts: what adds up, and each thing that does not, by topic, partition and offsets."""

import pytest

from leadsman_cli.conservation import Marks
from leadsman_cli.received import by_hop, not_there, taken_away, twice, without_receipt, written, wrong
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import Outgoing
from leadsman_common.receipts import Handed, Receipt, read_receipt


def receipt(number=0, writer="w", landed=(("t.raw.k8s", 1, 100, 108), ("t.raw.k8s.dlq", 0, 5, 6)), **changes):
    own = {"received": {"prod": 10}, "outcomes": {"produced": 8, "dead:t.raw.k8s.dlq": 1, "filtered:other": 1}}
    return Receipt(hop="ingest-k8s", writer=writer, number=number, landed=list(landed), **{**own, **changes})


def told(findings):
    return [(f.topic, f.partition, f.start, f.end) for f in findings]


AT = ("raw.k8s", 1, 100, 108)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({}, [], id="it adds up"),
        pytest.param({"received": {"prod": 11}}, [AT], id="a counter says more came"),
        pytest.param({"received": {"prod": 5, "stage": 5}}, [], id="two sources"),
        pytest.param({"outcomes": {"produced": 9, "dead:t.raw.k8s.dlq": 1}}, [AT], id="a counter says more went on"),
        pytest.param({"landed": [("t.raw.k8s", 1, 100, 108)]}, [AT], id="what was handed over did not arrive"),
        pytest.param({"landed": [], "failed": 9}, [("", -1, 0, 0)], id="nor anything, whatever was tried before"),
        pytest.param(
            {"landed": [("t.raw.k8s", 1, 90, 108), ("t.raw.k8s.dlq", 0, 5, 6)], "failed": 10}, [], id="and a try before"
        ),
        pytest.param({"landed": [("t.raw.k8s", 1, 90, 108), ("t.raw.k8s.dlq", 0, 5, 6)]}, [("raw.k8s", 1, 90, 108)],
                     id="more than was handed over"),
    ],
)  # fmt: skip
def test_within_itself(changes, found):
    assert told(wrong([receipt(**changes)], "t.")) == found


def test_two_that_say_the_same():
    places = written([receipt(), receipt(1, "other", [("t.raw.k8s", 1, 106, 115)])], "t.")
    assert told(twice(places)) == [("raw.k8s", 1, 106, 108)]
    assert told(twice(written([receipt(), receipt(1, "other", [("t.raw.k8s", 1, 108, 115)])], "t."))) == []


def test_a_receipt_that_was_taken_away():
    numbered = [receipt(0), receipt(1), receipt(4), receipt(0, "other"), receipt(7, "late")]
    (found,) = taken_away(numbered)
    assert (found.start, found.end, found.what) == (2, 4, "receipts 2 to 3 of w are missing")


def test_what_is_not_there():
    runs = written([receipt()], "t.")["raw.k8s", 1]
    there = Marks()
    for offset in (*range(100, 104), *range(105, 108)):
        there.add(offset)
    assert told(not_there(("raw.k8s", 1), runs, 0, there)) == [("raw.k8s", 1, 104, 105)]
    assert told(not_there(("raw.k8s", 1), runs, 105, there)) == []  # retention took it


@pytest.mark.parametrize(("low", "end", "missing"), [(0, 115, 2), (0, 130, 17), (109, 115, 1), (120, 130, 10)])
def test_what_has_no_receipt(low, end, missing):
    """Counted from the first that has one: a worker that was killed, or somebody else."""
    runs = written([receipt(), receipt(1, landed=[("t.raw.k8s", 1, 110, 115)])], "t.")["raw.k8s", 1]
    assert without_receipt(runs, low, end) == missing


def test_each_service_added_up():
    (found,) = by_hop([receipt(), receipt(1, "other", received={"prod": 4, "stage": 6}, failed=3)])
    assert (found.receipts, len(found.writers), found.failed) == (2, 2, 3)
    assert dict(found.received) == {"prod": 14, "stage": 6}
    assert dict(found.outcomes) == {"produced": 16, "dead:t.raw.k8s.dlq": 2, "filtered:other": 2}


@pytest.mark.parametrize("value", [b"", b"{}", b'{"hop":"a","writer":"b","number":1,"landed":[["t",0,5,5]]}'])
def test_what_is_no_receipt(value):
    with pytest.raises(InvalidEvent):
        read_receipt(value)


def test_several_handed_over_as_one():
    one = Handed([Outgoing("t", b"", b"1")], {"a": 2}, {"other": 1})
    found = Handed.together([one, [Outgoing("t", b"", b"2")], Handed([], {"a": 1}, {"other": 1})])
    assert [record.value for record in found] == [b"1", b"2"]
    assert (dict(found.received), dict(found.filtered)) == ({"a": 3, "": 1}, {"other": 2})
