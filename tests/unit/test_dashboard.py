"""The Grafana dashboard, panel by panel, against the metrics that exist; e2e/test_metrics.py asks a real Prometheus."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram, Info, Summary
from prometheus_client.metrics import MetricWrapperBase

from leadsman_common import metrics

REPO = Path(__file__).parents[2]
FILE = REPO / "deploy" / "grafana" / "leadsman.json"
# what prometheus_client and the scrape add by themselves
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}
SCRAPED = {"job", "instance", "le"}
INFO = {"leadsman_rules_info": {"digest", "rules", "correlations"}, "leadsman_build_info": {"service", "version"}}
SUFFIXES = {
    Counter: ("_total",),
    Info: ("_info",),
    Gauge: ("",),
    Histogram: ("_bucket", "_sum", "_count"),
    Summary: ("_sum", "_count"),
}


def load_generate():
    spec = importlib.util.spec_from_file_location("dashboard", FILE.parent / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def series():
    """Every series that a service can have, with the names of its labels."""
    found = {name: set() for name in PROCESS}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            name = next(iter(metric.describe())).name
            for suffix in SUFFIXES[type(metric)]:
                full = name + suffix
                found[full] = INFO.get(full, set(metric._labelnames))
    return found


SERIES = series()
PANELS = [panel for panel in json.loads(FILE.read_text())["panels"] if panel["type"] != "row"]
QUERIES = {f"{panel['title']}-{target['refId']}": target for panel in PANELS for target in panel["targets"]}


def problems(expr, legend=""):
    """What an expression names that does not exist."""
    selectors = re.findall(r"\b([a-z]\w+)\{([^}]*)\}", expr)
    labels = {
        *re.findall(r"(\w+)\s*[=!]~?\"", expr),
        *(w for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expr) for w in re.findall(r"\w+", group)),
        *re.findall(r"\{\{(\w+)\}\}", legend),
    }
    names = {name for name, _ in selectors} | set(re.findall(r"\bleadsman_\w+", expr))
    known = SCRAPED.union(*(SERIES.get(name, set()) for name in names))
    return sorted((names - SERIES.keys()) | (labels - known)) + ([] if selectors else ["no metric"])


def test_the_file_is_what_its_program_makes():
    assert load_generate().text() == FILE.read_text(), "run deploy/grafana/generate.py"


@pytest.mark.parametrize("target", QUERIES.values(), ids=QUERIES)
def test_a_panel_asks_for_what_exists(target):
    assert problems(target["expr"], target["legendFormat"]) == []


@pytest.mark.parametrize(
    ("expr", "legend", "wrong"),
    [
        ('leadsman_recieved_total{job=~"$job"}', "", ["leadsman_recieved_total"]),
        ('sum by (sauce) (leadsman_received_total{job=~"$job"})', "", ["sauce"]),
        ('leadsman_received_total{servce="a"}', "", ["servce"]),
        ('leadsman_received_total{service="a"}', "{{topic}}", ["topic"]),
        ("vector(1)", "", ["no metric"]),
    ],
)
def test_the_check_sees_what_does_not_exist(expr, legend, wrong):
    assert problems(expr, legend) == wrong


def test_every_metric_has_a_panel():
    shown = {name for target in QUERIES.values() for name in re.findall(r"\bleadsman_\w+", target["expr"])}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            name = next(iter(metric.describe())).name
            assert shown & {name + suffix for suffix in SUFFIXES[type(metric)]}, name


def test_panels_have_places_of_their_own():
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in json.loads(FILE.read_text())["panels"]]
    assert len(places) == len(set(places))
    assert len({p["title"] for p in PANELS}) == len(PANELS)
    assert all(p["description"] for p in PANELS)
