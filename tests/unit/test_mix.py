"""The benchmark's mix of records raises what it says: benchmarks and chaos tests count by it."""

import collections

from leadsman_cli.scan import Scanner
from leadsman_detector.match import load
from leadsman_detector.rules import default_rules_dir


def test_known_alerts_are_those_that_come(mix):
    samples = list(mix.samples(6_000, stories=0.2))
    scanner = Scanner(load([default_rules_dir()]))
    scanner.take(mix.raw_of(sample, n) for n, sample in enumerate(samples))
    scanner.finish()
    found = collections.Counter(a["rule"]["name"] for a in scanner.found.alerts.values() if mix.counted(a))
    assert found == mix.expected(samples)
    assert len(found) > 5
