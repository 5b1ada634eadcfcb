"""The benchmark's mix of records raises what it says: benchmarks and chaos tests count by it."""

import collections
import sys
from pathlib import Path

import pytest

from leadsman_cli.scan import Scanner
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir


@pytest.fixture
def mix(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2] / "bench")])
    import mix

    return mix


def test_known_alerts_are_those_that_come(mix):
    samples = list(mix.samples(6_000, stories=0.2))
    scanner = Scanner(load([default_rules_dir()]))
    scanner.take(mix.raw_of(sample, n) for n, sample in enumerate(samples))
    scanner.finish()
    found = collections.Counter(a["rule"]["name"] for a in scanner.found.alerts.values() if mix.counted(a))
    assert found == mix.expected(samples)
    assert len(found) > 5
