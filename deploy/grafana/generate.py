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
PAGE, WIDTH, HEIGHT = 24, 8, 8  # of the page, and of a panel
OF_JOB = 'job=~"$job"'


class Query(NamedTuple):
    """An expression and how its series are named."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel; `unit` is Grafana's name of it."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str
    kind: str


def m(name: str, *matchers: str) -> str:
    """A metric of the jobs that are chosen on top of the page."""
    return f"{name}{{{','.join((OF_JOB, *matchers))}}}"


def legend(by: str) -> str:
    """Series named by their labels."""
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))


def per_second(name: str, by: str) -> Query:
    """The rate of a counter."""
    return Query(f"sum by ({by}) (rate({m(name)}[$__rate_interval]))", legend(by))


def within(name: str, by: str, window: str) -> Query:
    """How much a counter grew in that time."""
    return Query(f"sum by ({by}) (increase({m(name)}[{window}]))", legend(by))


def highest(name: str, by: str) -> Query:
    """The highest of a gauge."""
    return Query(f"max by ({by}) ({m(name)})", legend(by))


def since(name: str, by: str, *matchers: str) -> Query:
    """Seconds since a gauge's Unix time."""
    return Query(f"time() - max by ({by}) ({m(name, *matchers)})", legend(by))


def quantiles(name: str, by: str, *qs: float) -> tuple[Query, ...]:
    """Quantiles of a histogram; of several each says which it is."""
    rate = f"sum by (le, {by}) (rate({m(name + '_bucket')}[$__rate_interval]))"
    return tuple(
        Query(f"histogram_quantile({q}, {rate})", legend(by) + (f" p{q * 100:.0f}" if len(qs) > 1 else "")) for q in qs
    )


def mean(name: str, by: str, window: str) -> Query:
    """The mean of a summary over that time."""
    total, count = (f"sum by ({by}) (rate({m(name + suffix)}[{window}]))" for suffix in ("_sum", "_count"))
    return Query(f"{total} / {count}", legend(by))


def panel(title: str, about: str, *queries: Query, unit: str = "short", kind: str = "timeseries") -> Panel:
    """A panel of these queries."""
    return Panel(title, about, queries, unit, kind)


def rows() -> dict[str, list[Panel]]:
    """The page from top to bottom."""
    return {
        "At a glance": _glance(),
        "Every hop": _hops(),
        "How long detection takes": _latency(),
        "Sources": _sources(),
        "The ledger": _ledger(),
        "Detector": _detector(),
        "Notifier": _notifier(),
        "Processes": _processes(),
    }


def _glance() -> list[Panel]:
    processes = Query(f"count by (service) ({m('leadsman_build_info')})", "{{service}}")
    rules = Query(f"count by (digest, rules) ({m('leadsman_rules_info')})", "{{rules}} rules, {{digest}}")
    return [
        panel("Alerts, last hour", "By level.", within("leadsman_alerts_total", "level", "1h"), kind="stat"),
        panel("Processes", "How many of each service are up.", processes, kind="stat"),
        panel("Rules in force", "By digest: more than one for long means that detectors differ.", rules, kind="stat"),
    ]


def _hops() -> list[Panel]:
    lag = Query(f"sum by (group, topic) ({m('leadsman_lag_records')})", "{{group}} {{topic}}")
    return [
        panel(
            "Read",
            "Records read from upstream, a second.",
            per_second("leadsman_received_total", "service, source"),
            unit="cps",
        ),
        panel(
            "Written",
            "Records that Kafka acknowledged, a second.",
            per_second("leadsman_produced_total", "service, topic"),
            unit="cps",
        ),
        panel(
            "Errors",
            "What failed and is tried again, or ended the process.",
            per_second("leadsman_errors_total", "service, kind"),
            unit="cps",
        ),
        panel(
            "Duration of a batch, p99",
            "A batch is read, handled and acknowledged in that time.",
            *quantiles("leadsman_batch_seconds", "service", 0.99),
            unit="s",
        ),
        panel("Lag", "Records that a consumer group is behind, all partitions together.", lag),
        panel(
            "Standing still",
            "1 while records wait and none is handled.",
            highest("leadsman_stalled", "service, instance"),
        ),
    ]


def _latency() -> list[Panel]:
    return [
        panel(
            "From event to notification",
            "All hops together, of alerts that were delivered.",
            *quantiles("leadsman_alert_seconds", "sink", 0.5, 0.99),
            unit="s",
        ),
        panel(
            "By hop, median",
            "delivery is the cloud's own part: from the event to ingest. Of the oldest record of each batch.",
            *quantiles("leadsman_hop_seconds", "hop", 0.5),
            unit="s",
        ),
        panel(
            "By hop and source, p99",
            "The same where it is slowest.",
            *quantiles("leadsman_hop_seconds", "hop, source", 0.99),
            unit="s",
        ),
        panel(
            "Canaries by hop, last hour",
            "A cluster's own test request from its sending until a channel has read its alert: together the latency.",
            mean("leadsman_canary_seconds", "cluster, hop", "1h"),
            unit="s",
        ),
    ]


def _sources() -> list[Panel]:
    return [
        panel(
            "Seconds since a source gave something",
            "A cluster always logs: a line that climbs is a log that was switched off, or an export that broke.",
            since("leadsman_last_received_timestamp_seconds", "service, source", 'service=~"ingest-.*"'),
            unit="s",
        ),
        panel(
            "Age of the newest event of each cluster",
            "By the event's own time.",
            since("leadsman_last_event_timestamp_seconds", "cluster"),
            unit="s",
        ),
        panel(
            "Behind upstream",
            "How far reading is behind the newest record, where the cloud tells.",
            highest("leadsman_behind_seconds", "service, source"),
            unit="s",
        ),
        panel(
            "Stored by cluster",
            "Log events that Kafka has, a second, by the name that their transport gave them.",
            per_second("leadsman_ingested_total", "service, cluster"),
            unit="cps",
        ),
        panel(
            "Bytes by cluster",
            "The same in bytes: what a cluster's audit policy costs.",
            per_second("leadsman_ingested_bytes_total", "service, cluster"),
            unit="Bps",
        ),
        panel(
            "Seconds since a cluster's events were stored",
            "Of each source that brings them, and how old the newest was then.",
            since("leadsman_last_ingested_timestamp_seconds", "source, cluster"),
            highest("leadsman_event_lag_seconds", "source, cluster")._replace(legend="{{source}} {{cluster}} late"),
            unit="s",
        ),
    ]


def _ledger() -> list[Panel]:
    return [
        panel(
            "Refused",
            "Requests to a way in that listens, answered with an error.",
            per_second("leadsman_refused_total", "service, source, status"),
            unit="cps",
        ),
        panel(
            "Filtered",
            "Not ours, by reason.",
            per_second("leadsman_filtered_total", "service, reason"),
            unit="cps",
        ),
        panel(
            "Dead letters",
            "Each has its reason in the header dlq-reason.",
            within("leadsman_dead_lettered_total", "service, topic", "$__rate_interval"),
        ),
        panel(
            "Records lost upstream",
            "Times that records aged out before they were read, in a day.",
            within("leadsman_gaps_total", "service, source", "1d"),
        ),
        panel(
            "Left in their queue",
            "Messages whose object could not be read, in a day: they come again until the queue gives them up.",
            within("leadsman_left_total", "service, source", "1d"),
        ),
    ]


def _detector() -> list[Panel]:
    evicted = Query(f"sum(rate({m('leadsman_state_evicted_total')}[$__rate_interval]))", "members")
    groups = per_second("leadsman_state_groups_evicted_total", "owner")._replace(legend="groups of {{owner}}")
    return [
        panel("Alerts by rule", "In five minutes.", within("leadsman_alerts_total", "rule", "5m")),
        panel("Suppressed", "Of which nobody is told, by filter.", within("leadsman_suppressed_total", "filter", "1h")),
        panel("On trial", "What rules in shadow found.", within("leadsman_shadow_alerts_total", "rule", "1h")),
        panel(
            "Routing",
            "Events that no rule can match are passed without being decoded.",
            per_second("leadsman_routed_total", "result"),
            unit="cps",
        ),
        panel(
            "Redis",
            "One exchange of a batch, p50 and p99.",
            *quantiles("leadsman_state_seconds", "service", 0.5, 0.99),
            unit="s",
        ),
        panel(
            "State dropped",
            "Members of series that were full, and groups over their quota.",
            evicted,
            groups,
            unit="cps",
        ),
        panel(
            "State in trouble",
            "Lost, fallen back, away, full or with a gap; degraded is 1 while events are judged without it.",
            within("leadsman_state_troubles_total", "kind", "1h"),
            Query(f"max({m('leadsman_state_degraded')})", "degraded"),
        ),
        panel(
            "State rebuilt",
            "From Kafka: how often, how long, how many records.",
            within("leadsman_state_rebuilds_total", "result", "1h"),
            Query(f"max({m('leadsman_state_rebuild_seconds')})", "seconds"),
            Query(f"max({m('leadsman_state_rebuild_records')})", "records"),
        ),
        panel(
            "Rules loaded anew",
            "Changed rules folders, loaded or refused.",
            within("leadsman_rules_reloads_total", "result", "1h"),
            Query(f"max({m('leadsman_rules_differ')})", "workers that differ"),
        ),
    ]


def _notifier() -> list[Panel]:
    return [
        panel(
            "Deliveries",
            "Alerts, by sink and what came of them.",
            per_second("leadsman_deliveries_total", "sink, result"),
            unit="cps",
        ),
        panel(
            "Messages",
            "What was sent, by sink: single or digest where it was taken, retried, refused.",
            per_second("leadsman_messages_total", "sink, result"),
            unit="cps",
        ),
        panel(
            "Duration of a try, p99",
            "How long a sink takes to answer.",
            *quantiles("leadsman_delivery_seconds", "sink", 0.99),
            unit="s",
        ),
        panel(
            "Alerts that wait",
            "For a sink that fails, for its limit of messages a minute, or for the end of quiet hours.",
            Query(f"sum by (sink) ({m('leadsman_sink_waiting')})", "{{sink}}"),
        ),
        panel("A sink fails", "For how long already.", highest("leadsman_sink_failing_seconds", "sink"), unit="s"),
    ]


def _processes() -> list[Panel]:
    cores = f"rate({m('process_cpu_seconds_total')}[$__rate_interval])"
    memory = m("process_resident_memory_bytes")
    files = f"{m('process_open_fds')} / {m('process_max_fds')}"
    return [
        panel("CPU", "Cores in use.", Query(_of_service(cores), "{{service}} {{instance}}")),
        panel("Memory", "Resident.", Query(_of_service(memory), "{{service}} {{instance}}"), unit="bytes"),
        panel("Open files", "Of how many that it may have.", Query(files, "{{instance}}"), unit="percentunit"),
    ]


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
            "gridPos": {"h": 1, "w": PAGE, "x": 0, "y": y},
        }
        y, x = y + 1, 0
        for panel in panels:
            number += 1
            if x + WIDTH > PAGE:
                x, y = 0, y + HEIGHT
            yield _panel(panel, number, x, y)
            x += WIDTH
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
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
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
