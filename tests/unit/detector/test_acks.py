"""What may be committed of a partition: the end of the acked prefix, whatever happens to the rest."""

from __future__ import annotations

import random

import pytest

from leadsman_detector.acks import AckQueue, Batch
from leadsman_detector.runner import Record


def batch(first, last):
    return Batch([Record("t", 0, offset, None, b"", (), 0) for offset in range(first, last + 1)])


def handle(one):
    one.handled = True
    one.ack()


def fetch(queue, *spans):
    batches = [batch(*span) for span in spans]
    for one in batches:
        queue.fetched(one)
    return batches


# the spans fetched, the order in which they are handled, and what may be committed after each
PREFIX = {
    "in order": ([(0, 9), (10, 19), (20, 29)], [(0, 10), (1, 20), (2, 30)]),
    "out of order": ([(0, 9), (10, 19), (20, 29)], [(2, None), (1, None), (0, 30)]),
    "a hole holds the rest back": ([(0, 9), (10, 19), (20, 29)], [(0, 10), (2, 10)]),
    "offsets that Kafka left out": ([(5, 9), (12, 14)], [(0, 10), (1, 15)]),
    "one record": ([(7, 7)], [(0, 8)]),
    "acked twice": ([(0, 9), (10, 19)], [(0, 10), (0, 10)]),
}


@pytest.mark.parametrize(("spans", "steps"), PREFIX.values(), ids=PREFIX.keys())
def test_only_the_acked_prefix_may_be_committed(spans, steps):
    queue = AckQueue()
    batches = fetch(queue, *spans)
    assert queue.end is None
    for n, end in steps:
        handle(batches[n])
        assert queue.end == end


def test_an_ack_without_a_handled_batch_counts_for_nothing():
    """Faust acknowledges what it skips, and what an agent raised at."""
    queue = AckQueue()
    first, second = fetch(queue, (0, 9), (10, 19))
    first.ack()
    handle(second)
    assert queue.end is None
    handle(first)
    assert queue.end == 20


def test_what_lies_behind_a_rewound_position_is_dropped_and_comes_again():
    queue = AckQueue()
    done, lost, late = fetch(queue, (0, 9), (10, 19), (20, 29))
    handle(done)
    (again,) = fetch(queue, (10, 24))
    handle(lost)
    handle(late)
    assert queue.end == 10
    handle(again)
    assert queue.end == 25
    assert len(queue) == 0


def test_a_batch_that_overlaps_the_rewound_position_keeps_its_first_part():
    queue = AckQueue()
    (whole,) = fetch(queue, (10, 19))
    (again,) = fetch(queue, (15, 24))
    handle(again)
    assert queue.end is None
    handle(whole)
    assert queue.end == 25


def test_what_is_to_be_read_again_is_dropped_at_once_and_what_was_handled_stays():
    queue = AckQueue()
    done, held, later = fetch(queue, (0, 9), (10, 19), (20, 29))
    handle(done)
    held.ack()  # handled is False: its handler could not
    handle(later)
    assert queue.end == 10
    queue.drop_from(10)
    assert (done.dropped, held.dropped, later.dropped, len(queue)) == (False, True, True, 0)
    handle(held)
    assert queue.end == 10
    again, last = fetch(queue, (10, 19), (20, 29))
    handle(again)
    handle(last)
    assert queue.end == 30


def test_a_rewind_behind_what_was_handled_takes_it_back():
    queue = AckQueue()
    (done,) = fetch(queue, (0, 9))
    handle(done)
    (again,) = fetch(queue, (5, 9))
    assert queue.end is None
    handle(again)
    assert queue.end == 10


@pytest.mark.parametrize("seed", range(50))
def test_nothing_unhandled_is_ever_before_the_end(seed):
    """Random fetches, handlings and rewinds to what may be committed, as a rebalance does them."""
    rng = random.Random(seed)  # noqa: S311
    queue, handled, open_batches, position, committed = AckQueue(), set(), [], 0, 0
    for _ in range(300):
        roll = rng.random()
        if roll < 0.45:
            (one,) = fetch(queue, (position, position + rng.randrange(20)))
            open_batches.append(one)
            position = one.last + 1
        elif roll < 0.95 and open_batches:
            one = open_batches.pop(rng.randrange(len(open_batches)))
            handled.update(r.offset for r in one.records)
            handle(one)
        elif roll >= 0.95:
            position = committed
        if queue.end is not None:
            assert set(range(queue.end)) <= handled
            committed = max(committed, queue.end)
