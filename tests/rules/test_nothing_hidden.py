"""Over real logs: neither routing, nor the index, nor a scan's look at the head hides what a rule would match."""

from __future__ import annotations

import pytest

from leadsman_cli import scan
from leadsman_cli.readers import Identity, read
from leadsman_cli.rules import load_rules
from leadsman_common.raw import RawEvent
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(corpora):
    """Recorded attacks and everyday work; the long noise aside."""
    return [p for p in sorted((corpora / "kube-apiserver").glob("*.ndjson")) if p.stat().st_size < 1_000_000]


def alerts(file):
    scanner = scan.Scanner(load_rules(()))
    with file.open("rb") as stream:
        scanner.take(read(file.name, stream, "auto", Identity(), lambda _: None))
    return {alert["id"]: (alert["level"], alert["revision"]) for alert in scanner.found.alerts.values()}


def test_a_scan_finds_what_building_every_event_finds(files, monkeypatch):
    quick = {file.name: alerts(file) for file in files}
    monkeypatch.setattr(scan, "peek", lambda _: None)
    assert {file.name: alerts(file) for file in files} == quick
    assert sum(map(len, quick.values())) > 50


def test_the_index_finds_what_trying_every_rule_finds(files):
    rules = load_rules(())
    asked = [one for one in rules.rules if one.rule.silence is None]  # the others hold for what is missed
    matched = 0
    for file in files:
        for line in file.read_bytes().splitlines():
            event = normalize(RawEvent(line))
            if isinstance(event, Dropped):
                continue
            tried = {m.rule.name: m.level for m in rules.match(event, asked)}
            assert {m.rule.name: m.level for m in rules.match(event)} == tried
            matched += len(tried)
    assert matched > 100
