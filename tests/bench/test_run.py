"""The benchmark runs, and what it prints is one JSON document that adds up. Its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def result():
    done = subprocess.run([sys.executable, REPO / "bench" / "run.py", "--quick"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_every_part_is_there(result):
    assert list(result) == ["machine", "quick", "normalizer", "detector", "throughput", "latency", "scan"]
    assert result["quick"] is True


def test_no_alert_is_missing_and_none_is_invented(result):
    assert result["throughput"]["alerts"] == result["throughput"]["alerts_known"] > 0
    assert result["scan"]["alerts"] == result["scan"]["alerts_known"] > 0
    for figures in result["latency"].values():
        assert figures["samples"] == figures["alerts_known"] > 0


def test_figures_are_positive(result):
    for runner in ("faust", "plain"):
        for work in ("nothing", "detect"):
            assert result["detector"][runner][work]["cpu_us_per_event"] > 0
    assert result["normalizer"]["service"]["cpu_us_per_event"] > 0
    assert all(figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"] for figures in result["latency"].values())


def test_ingest_beside_bare_produce():
    done = subprocess.run([sys.executable, REPO / "bench" / "ingest.py", "--quick"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    paths = json.loads(done.stdout)["paths"]
    assert {"kinesis", "firehose", "s3-exports", "s3-trail", "event-bridge", "log-polling"} <= set(paths)
    assert all(
        figures["events_per_s_a_core"] > 0 < figures["bare_produce_cpu_us_an_event"] for figures in paths.values()
    )
