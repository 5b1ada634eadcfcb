"""A broken world is borne for a bound, counted from the first failure after a success."""

import threading

import pytest

from leadsman_common.patience import Patience

ERROR = ConnectionError("broken")


@pytest.fixture
def clock():
    return [0.0]


def patience(clock, stop=None):
    return Patience(stop or threading.Event(), 100, first_s=1, longest_s=4, clock=lambda: clock[0])


def test_waits_grow_to_a_bound(clock):
    borne = patience(clock)
    for longest in (1, 2, 4, 4):
        assert longest / 2 <= borne.next_wait_s(ERROR) <= longest


def test_raises_past_the_bound_and_not_before(clock):
    borne = patience(clock)
    borne.next_wait_s(ERROR)
    clock[0] = 99.9
    borne.next_wait_s(ERROR)
    clock[0] = 100
    with pytest.raises(ConnectionError, match="broken"):
        borne.next_wait_s(ERROR)


def test_a_success_starts_anew(clock):
    borne = patience(clock)
    borne.next_wait_s(ERROR)
    clock[0] = 99
    borne.succeeded()
    clock[0] = 150
    assert borne.next_wait_s(ERROR) <= 1
    clock[0] = 249
    borne.next_wait_s(ERROR)


def test_raises_at_once_when_asked_to_stop(clock):
    stop = threading.Event()
    stop.set()
    with pytest.raises(ConnectionError):
        patience(clock, stop).failed(ERROR)
