"""Makes leadsman.json, the Grafana dashboard: `python deploy/grafana/generate.py`; a unit test holds it equal.

Import it in Grafana (10 or newer) and choose a Prometheus data source; docker compose and the chart bring it
themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DASHBOARD = Path(__file__).parent / "leadsman.json"
WIDTH, HEIGHT = 24, 8
OF_JOB = 'job=~"$job"'


class Query(NamedTuple):
    """An expression and how its series are named. `M(NAME, MATCHERS)` stands for the metric of the chosen jobs."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel; `unit` is Grafana's name of it."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def m(name: str, *matchers: str) -> str:
    """A metric of the jobs that are chosen on top of the page."""
    return f"{name}{{{','.join((OF_JOB, *matchers))}}}"


def per_second(name: str, by: str, *matchers: str) -> str:
    """The rate of a counter."""
    return f"sum by ({by}) (rate({m(name, *matchers)}[$__rate_interval]))"


def quantile(q: float, name: str, by: str, *matchers: str) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({m(name + '_bucket', *matchers)}[$__rate_interval])))"


def rows() -> dict[str, list[Panel]]:
    """The page from top to bottom."""
    ingest = 'service=~"ingest-.*"'
    cores = f"rate({m('process_cpu_seconds_total')}[$__rate_interval])"
    memory = m("process_resident_memory_bytes")
    return {
        "At a glance": [
            Panel(
                "Alerts, last hour",
                "By level.",
                (Query(f"sum by (level) (increase({m('leadsman_alerts_total')}[1h]))", "{{level}}"),),
                kind="stat",
            ),
            Panel(
                "Processes",
                "How many of each service are up.",
                (Query(f"count by (service) ({m('leadsman_build_info')})", "{{service}}"),),
                kind="stat",
            ),
            Panel(
                "Rules in force",
                "By digest: more than one for long means that detectors differ.",
                (Query(f"count by (digest, rules) ({m('leadsman_rules_info')})", "{{rules}} rules, {{digest}}"),),
                kind="stat",
            ),
        ],
        "Every hop": [
            Panel(
                "Read",
                "Records read from upstream, a second.",
                (Query(per_second("leadsman_received_total", "service, source"), "{{service}} {{source}}"),),
                "cps",
            ),
            Panel(
                "Written",
                "Records that Kafka acknowledged, a second.",
                (Query(per_second("leadsman_produced_total", "service, topic"), "{{service}} {{topic}}"),),
                "cps",
            ),
            Panel(
                "Errors",
                "What failed and is tried again, or ended the process.",
                (Query(per_second("leadsman_errors_total", "service, kind"), "{{service}} {{kind}}"),),
                "cps",
            ),
            Panel(
                "Duration of a batch, p99",
                "A batch is read, handled and acknowledged in that time.",
                (Query(quantile(0.99, "leadsman_batch_seconds", "service"), "{{service}}"),),
                "s",
            ),
            Panel(
                "Lag",
                "Records that a consumer group is behind, all partitions together.",
                (Query(f"sum by (group, topic) ({m('leadsman_lag_records')})", "{{group}} {{topic}}"),),
            ),
            Panel(
                "Standing still",
                "1 while records wait and none is handled.",
                (Query(f"max by (service, instance) ({m('leadsman_stalled')})", "{{service}} {{instance}}"),),
            ),
        ],
        "How long detection takes": [
            Panel(
                "From event to notification",
                "All hops together, of alerts that were delivered.",
                tuple(
                    Query(quantile(q, "leadsman_alert_seconds", "sink"), f"{{{{sink}}}} p{q * 100:.0f}")
                    for q in (0.5, 0.99)
                ),
                "s",
            ),
            Panel(
                "By hop, median",
                "delivery is the cloud's own part: from the event to ingest. Of the oldest record of each batch.",
                (Query(quantile(0.5, "leadsman_hop_seconds", "hop"), "{{hop}}"),),
                "s",
            ),
            Panel(
                "By hop and source, p99",
                "The same where it is slowest.",
                (Query(quantile(0.99, "leadsman_hop_seconds", "hop, source"), "{{hop}} {{source}}"),),
                "s",
            ),
        ],
        "Sources": [
            Panel(
                "Seconds since a source gave something",
                "A cluster always logs: a line that climbs is a log that was switched off, or an export that broke.",
                (
                    Query(
                        f"time() - max by (service, source) ({m('leadsman_last_received_timestamp_seconds', ingest)})",
                        "{{service}} {{source}}",
                    ),
                ),
                "s",
            ),
            Panel(
                "Age of the newest event of each cluster",
                "By the event's own time.",
                (Query(f"time() - max by (cluster) ({m('leadsman_last_event_timestamp_seconds')})", "{{cluster}}"),),
                "s",
            ),
            Panel(
                "Behind upstream",
                "How far reading is behind the newest record, where the cloud tells.",
                (Query(f"max by (service, source) ({m('leadsman_behind_seconds')})", "{{service}} {{source}}"),),
                "s",
            ),
        ],
        "The ledger": [
            Panel(
                "Refused",
                "Requests to a way in that listens, answered with an error.",
                (
                    Query(
                        per_second("leadsman_refused_total", "service, source, status"),
                        "{{service}} {{source}} {{status}}",
                    ),
                ),
                "cps",
            ),
            Panel(
                "Filtered",
                "Not ours, by reason.",
                (Query(per_second("leadsman_filtered_total", "service, reason"), "{{service}} {{reason}}"),),
                "cps",
            ),
            Panel(
                "Dead letters",
                "Each has its reason in the header dlq-reason.",
                (
                    Query(
                        f"sum by (service, topic) (increase({m('leadsman_dead_lettered_total')}[$__rate_interval]))",
                        "{{service}} {{topic}}",
                    ),
                ),
            ),
            Panel(
                "Records lost upstream",
                "Times that records aged out before they were read, in a day.",
                (
                    Query(
                        f"sum by (service, source) (increase({m('leadsman_gaps_total')}[1d]))", "{{service}} {{source}}"
                    ),
                ),
            ),
        ],
        "Detector": [
            Panel(
                "Alerts by rule",
                "In five minutes.",
                (Query(f"sum by (rule) (increase({m('leadsman_alerts_total')}[5m]))", "{{rule}}"),),
            ),
            Panel(
                "Routing",
                "Events that no rule can match are passed without being decoded.",
                (Query(per_second("leadsman_routed_total", "result"), "{{result}}"),),
                "cps",
            ),
            Panel(
                "Redis",
                "One exchange of a batch, p50 and p99.",
                tuple(
                    Query(quantile(q, "leadsman_state_seconds", "service"), f"{{{{service}}}} p{q * 100:.0f}")
                    for q in (0.5, 0.99)
                ),
                "s",
            ),
            Panel(
                "State dropped",
                "Members of series that were full, and groups over their quota.",
                (
                    Query(f"sum(rate({m('leadsman_state_evicted_total')}[$__rate_interval]))", "members"),
                    Query(per_second("leadsman_state_groups_evicted_total", "owner"), "groups of {{owner}}"),
                ),
                "cps",
            ),
            Panel(
                "State in trouble",
                "Lost, fallen back, away, full or with a gap; degraded is 1 while events are judged without it.",
                (
                    Query(f"sum by (kind) (increase({m('leadsman_state_troubles_total')}[1h]))", "{{kind}}"),
                    Query(f"max({m('leadsman_state_degraded')})", "degraded"),
                ),
            ),
            Panel(
                "State rebuilt",
                "From Kafka: how often, how long, how many records.",
                (
                    Query(f"sum by (result) (increase({m('leadsman_state_rebuilds_total')}[1h]))", "{{result}}"),
                    Query(f"max({m('leadsman_state_rebuild_seconds')})", "seconds"),
                    Query(f"max({m('leadsman_state_rebuild_records')})", "records"),
                ),
            ),
            Panel(
                "Rules loaded anew",
                "Changed rules folders, loaded or refused.",
                (
                    Query(f"sum by (result) (increase({m('leadsman_rules_reloads_total')}[1h]))", "{{result}}"),
                    Query(f"max({m('leadsman_rules_differ')})", "workers that differ"),
                ),
            ),
        ],
        "Notifier": [
            Panel(
                "Deliveries",
                "By sink and result.",
                (Query(per_second("leadsman_deliveries_total", "sink, result"), "{{sink}} {{result}}"),),
                "cps",
            ),
            Panel(
                "Duration of a try, p99",
                "How long a sink takes to answer.",
                (Query(quantile(0.99, "leadsman_delivery_seconds", "sink"), "{{sink}}"),),
                "s",
            ),
        ],
        "Processes": [
            Panel("CPU", "Cores in use.", (Query(_of_service(cores), "{{service}} {{instance}}"),)),
            Panel("Memory", "Resident.", (Query(_of_service(memory), "{{service}} {{instance}}"),), "bytes"),
            Panel(
                "Open files",
                "Of how many that it may have.",
                (Query(f"{m('process_open_fds')} / {m('process_max_fds')}", "{{instance}}"),),
                "percentunit",
            ),
        ],
    }


def _of_service(expr: str) -> str:
    """What every process tells by itself, with the name of its service."""
    return f"{expr} * on (job, instance) group_left (service) {m('leadsman_build_info')}"


def dashboard() -> dict[str, Any]:
    """The whole page as Grafana's model of it."""
    return {
        "uid": "leadsman",
        "title": "Leadsman",
        "tags": ["leadsman"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "templating": {"list": [_datasource(), _job()]},
        "panels": list(_placed()),
    }


def _placed() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in rows().items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }
        y, x = y + 1, 0
        for panel in panels:
            number += 1
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            yield _panel(panel, number, x, y)
            x += panel.width
        y += HEIGHT


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": x, "y": y},
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": options,
        "targets": [
            {"refId": "ABC"[n], "datasource": source, "expr": q.expr, "legendFormat": q.legend}
            for n, q in enumerate(panel.queries)
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _job() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "job",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": "label_values(leadsman_build_info, job)",
        "query": {"query": "label_values(leadsman_build_info, job)", "refId": "job"},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text())
