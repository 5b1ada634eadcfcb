"""`leadsman acknowledge`: from an alert of a scan to an entry that a rules folder takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from leadsman_cli.__main__ import main
from leadsman_cli.rules import load_rules
from leadsman_detector.match import load

sys.path.append(str(Path(__file__).parents[1] / "detector"))
from test_suppression import pod

RULE = """\
title: privileged
name: privileged
id: 8e0b7a52-2f6c-4a55-9a52-9d7a3c1f0b12
logsource: {product: kubernetes}
level: high
leadsman: {each: facts.pod.containers}
detection: {it: {facts.pod.containers.privileged: true}, condition: it}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "privileged.yml").write_text(RULE)
    return tmp_path


@pytest.fixture
def scan(folder, capsysbinary):
    def scanned(*events):
        log = folder / "audit.log"
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        capsysbinary.readouterr()
        load_rules.cache_clear()
        main(["scan", "-r", str(folder / "rules"), "--cluster", "prod", "-o", "jsonl", str(log)])
        out = capsysbinary.readouterr().out
        (folder / "found.jsonl").write_bytes(out)
        return [json.loads(line) for line in out.splitlines()]

    return scanned


def acknowledge(folder, alert, *more):
    arguments = ["acknowledge", alert["id"][:12], "--by", "platform", "--reason", "OPS-21"]
    return main([*arguments, "--from", str(folder / "found.jsonl"), *more])


def test_from_an_alert_to_a_level_less(folder, scan):
    days = [pod(f"09:0{n}:00") for n in range(5)]
    before = scan(*days)
    assert [a["level"] for a in before] == ["high"] * 5
    file = str(folder / "rules" / "acknowledged.yml")
    assert acknowledge(folder, before[0], "--to", file) == 0
    assert acknowledge(folder, before[1], "--to", file, "--expires", "2027-01-31") == 0  # the same once more
    rules = load([folder / "rules"])
    assert not rules.problems
    (entry,) = rules.acknowledged.values()
    assert (entry.by, entry.reason) == ("platform", "OPS-21")
    after = scan(*days, pod("09:09:00", image="docker.io/evil/x:1", name="other"))
    assert [a["level"] for a in after] == ["high"] * 3 + ["medium"] * 2 + ["high"]
    assert {a["id"] for a in before} < {a["id"] for a in after}
    assert after[3]["modifiers"] == [{"by": -1, "why": "acknowledged by platform, raised before"}]


def test_without_a_file_it_is_written_out(folder, scan, capsysbinary):
    (alert,) = scan(pod())
    assert acknowledge(folder, alert) == 0
    out = capsysbinary.readouterr().out.decode()
    (folder / "rules" / "more.yaml").write_text(out)
    assert not load([folder / "rules"]).problems
    assert "alice on pods shop/web in prod" in out


def test_bad_input(folder, scan, capsysbinary):
    (alert,) = scan(pod())
    other = folder / "rules" / "privileged.yml"
    assert acknowledge(folder, alert, "--to", str(other)) == 1
    assert other.read_text() == RULE
    assert acknowledge(folder, {"id": "nobody"}) == 1
    assert "no alerts begin with 'nobody'" in capsysbinary.readouterr().err.decode()
    (folder / "found.jsonl").write_text("{}\n")
    assert acknowledge(folder, alert) == 1
