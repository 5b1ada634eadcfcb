"""Backoff, Retry-After and the bound: tables, the clock is an argument."""

import pytest

from leadsman_notifier.channel import Unavailable
from leadsman_notifier.outage import Backoff, Outage

DOWN = Unavailable("HTTP 500")


def outage(retry_s=100.0):
    return Outage(Backoff(retry_s=retry_s, first_s=1, max_s=30), chance=lambda: 1.0)


@pytest.mark.parametrize(
    ("attempt", "chance", "expected"),
    [(0, 0.0, 0.5), (0, 1.0, 1.0), (1, 1.0, 2.0), (4, 0.0, 8.0), (5, 1.0, 30.0), (10_000, 1.0, 30.0)],
)
def test_waits_double_up_to_a_bound_with_jitter(attempt, chance, expected):
    assert Backoff(100, 1, 30).wait_s(attempt, chance) == expected


def test_it_waits_longer_each_time_until_it_answers():
    it = outage()
    times = []
    for _ in range(3):
        it.failed(DOWN, 0.0)
        times.append(it.not_before_s)
    assert times == [1, 2, 4]
    assert it.waits(3.9)
    assert not it.waits(4.0)
    it.answered()
    assert not it.waits(0.0)
    it.failed(DOWN, 10.0)
    assert it.not_before_s == 11


def test_retry_after_is_kept():
    it = outage()
    it.failed(Unavailable("HTTP 429", 17.0), 5.0)
    assert it.not_before_s == 22
    assert it.waits(21.9)
    assert not it.waits(22)


def test_given_up_after_the_bound_and_from_then_on_at_once():
    it = outage()
    it.failed(DOWN, 0.0)
    assert it.given_up(50) == ""
    it.failed(DOWN, 99.5)
    assert it.given_up(99.5) == "unavailable for 100 s: HTTP 500"
    assert not it.waits(99.6)  # each further message gets its one try
    it.failed(DOWN, 300)
    assert it.given_up(300)
    it.answered()
    assert it.given_up(300) == ""


def test_a_retry_after_past_the_bound_is_not_waited_for():
    it = outage()
    it.failed(Unavailable("HTTP 429", 500.0), 0.0)
    assert it.given_up(0.0) == "unavailable for 0 s: HTTP 429"
