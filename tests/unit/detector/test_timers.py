"""When timers are due: by the source's own progress, and only once all that came before is handled."""

from __future__ import annotations

import pytest

from leadsman_detector.state import CLOCK
from leadsman_detector.timers import AHEAD_MS, SILENT_MS, SLACK_MS, Handled, clamped, reached

NOW = 1_800_000_000_000
LONG_AGO = NOW - 90 * 24 * 3_600_000
YEAR_2099 = 4_070_908_800_000


def test_a_clock_that_is_wrong_closes_nothing_early():
    assert clamped(YEAR_2099, NOW) == NOW + AHEAD_MS
    assert clamped(LONG_AGO, NOW) == LONG_AGO


@pytest.mark.parametrize(
    ("source", "progress", "upto"),
    {
        "the clock": (CLOCK, None, NOW),
        "nothing known": ("audit", None, None),
        "as far as it came": ("audit", (NOW - 5000, NOW - 1000), NOW - 5000),
        "old logs are read now": ("audit", (LONG_AGO, NOW - SILENT_MS), LONG_AGO),
        "silent for an hour": ("audit", (NOW - 2 * SILENT_MS, NOW - SILENT_MS - 1), NOW),
        "silent, and ahead": ("audit", (NOW + AHEAD_MS, NOW - SILENT_MS - 1), NOW + AHEAD_MS),
    }.values(),
    ids=str,
)
def test_how_far_a_source_is(source, progress, upto):
    assert reached(source, progress, NOW) == upto


def test_what_is_all_committed_is_handled():
    assert Handled().look({0: 10, 1: 0}, {0: 10}, NOW)
    assert Handled().look({0: 10, 1: 0}, {0: 10, 1: -1001}, NOW)  # as Kafka says that there is none


def test_what_waits_in_any_partition_holds_everything_back():
    handled = Handled()
    for later in range(0, 10 * SLACK_MS, SLACK_MS // 4):
        assert not handled.look({0: 10 + later, 1: 7}, {0: 10 + later, 1: 6}, NOW + later)


def test_under_load_it_is_enough_that_what_was_there_a_while_ago_is_handled():
    handled, step = Handled(), SLACK_MS // 4
    found = [handled.look({0: 100 * n}, {0: 100 * n - 1}, NOW + n * step) for n in range(1, 9)]
    assert found == [False] * 4 + [True] * 4
