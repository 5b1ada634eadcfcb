"""What the state is told of a worker's partitions, and what must come again."""

from __future__ import annotations

import pytest

from leadsman_detector.positions import Positions
from leadsman_detector.runner import Record
from leadsman_detector.state_redis import Span


def records(*offsets, partition=0):
    return [Record("t", partition, offset, None, b"", (), 0) for offset in offsets]


def test_a_batch_stands_for_its_partitions():
    batch = records(3, 4) + records(7, partition=1) + records(5)
    assert Positions().spans(batch) == [Span(0, 3, 6), Span(1, 7, 8)]


def test_what_needed_no_state_is_told_with_what_comes_next():
    positions = Positions()
    positions.handled(positions.spans(records(0, 1)), told=False)
    positions.handled(positions.spans(records(2, 3)), told=False)
    assert positions.untold() == [Span(0, 0, 4)]
    spans = positions.spans(records(4))
    assert spans == [Span(0, 0, 5)]
    positions.handled(spans, told=True)
    assert positions.untold() == []
    assert positions.spans(records(5)) == [Span(0, 5, 6)]


def test_what_does_not_follow_stands_for_itself():
    """The state then says what lies between."""
    positions = Positions()
    positions.handled(positions.spans(records(0, 1)), told=False)
    assert positions.spans(records(7)) == [Span(0, 7, 8)]


@pytest.mark.parametrize("order", [(5, 9), (9, 5)])
def test_what_was_missed_comes_again_from_the_first_and_is_asked_once(order):
    positions = Positions()
    positions.handled([Span(0, 0, 5)], told=False)
    for offset in order:
        positions.missed(0, offset)
    positions.missed(1, 0)
    assert positions.untold() == []
    assert positions.again() == {0: 5, 1: 0}
    assert positions.again() == {}
