"""A sample of the cuts of `make fuzz` (tests/fuzz/truncation.py): every event of it, some of its bytes."""

from itertools import islice

import pytest
from truncation import MARK, Report, check, chosen, wholes

CUTS_AN_EVENT = 40


@pytest.mark.parametrize("real", [False, True], ids=["fixtures", "corpora"])
def test_a_cut_is_refused_or_salvaged(real, request):
    folder = request.getfixturevalue("corpora") if real else None
    events = chosen(wholes(folder), 100 if real else 20, 1)
    report = Report()
    for number, whole in enumerate(events):
        size = len(whole.value)
        step = size // CUTS_AN_EVENT + 1
        # the cuts around the boundary, and a comb over the rest, which another event has shifted
        cuts = {whole.end - 1, whole.end, size - 1, *range(number % step, size, step)}
        for at, cut in enumerate(sorted(cuts)):
            check(whole, cut, MARK if at % 4 == 0 else b"", report)
    assert not report.failures
    assert report.count["cuts"] > len(events) * 30
    assert min(report.count["salvaged"], report.count["refused"]) > report.count["cuts"] // 5


def test_the_check_can_fail():
    """An event that is not whole behind its `end`, and one that was not cut, are told."""
    (whole,) = islice(wholes(None), 1)
    report = Report()
    check(whole, len(whole.value), b"", report)
    assert "not flagged" in report.failures[0]
    object.__setattr__(whole, "end", 10)
    check(whole, 20, b"", report)
    assert "not salvaged" in report.failures[1]
