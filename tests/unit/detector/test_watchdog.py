"""The watchdog: records wait and none is handled."""

from __future__ import annotations

from leadsman_common.metrics import STALLED
from leadsman_detector.watchdog import Watchdog


class World:
    """A clock, whether records wait, and how the process left."""

    def __init__(self):
        self.now, self.behind, self.left = 100.0, True, []
        self.dog = Watchdog(self.waiting, 30, 120, leave=self.left.append, clock=lambda: self.now)

    def waiting(self):
        if self.behind is None:
            raise RuntimeError("cannot be asked")
        return self.behind

    def after(self, seconds):
        self.now += seconds
        self.dog.check()
        return STALLED.labels("detector")._value.get(), self.left


def test_records_wait_and_none_is_handled():
    world = World()
    assert world.after(29) == (0, [])
    assert world.after(1) == (1, [])
    assert world.after(89) == (1, [])
    assert world.after(1) == (1, [70])


def test_progress_starts_the_count_anew():
    world = World()
    assert world.after(60) == (1, [])
    world.dog.progress()
    assert world.after(29) == (0, [])
    assert world.after(1) == (1, [])


def test_nothing_waits_for_long_and_then_something_does():
    world = World()
    world.behind = False
    assert world.after(1000) == (0, [])
    world.behind = True
    assert world.after(29) == (0, [])
    assert world.after(1) == (1, [])


def test_what_cannot_be_asked_counts_as_waiting():
    world = World()
    world.behind = None
    assert world.after(120) == (1, [70])
