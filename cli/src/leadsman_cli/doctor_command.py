"""`leadsman doctor`: clusters as they are seen on audit.events; what is silent, late, blind, and the next step."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.coverage import cover
from leadsman_cli.doctor import Finding, Sighting, dropped_by_server, examine, observed, vendor_policy
from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.named_policies import named_policy
from leadsman_cli.output import clean
from leadsman_cli.rules import folders_in_service, rules_option
from leadsman_cli.when import When
from leadsman_common.avro import audit_event_codec
from leadsman_common.clusters import NO_CLUSTERS, Clusters, InvalidClustersError, load_clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import Cluster
from leadsman_common.kafka import Header
from leadsman_common.settings import Common
from leadsman_common.sightings import SIGHTINGS, Sightings, decode, plain_id
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_detector.match import RuleSet, load
from leadsman_detector.rules import default_rules_dir

RAW = ("raw.aws", "raw.gcp", "raw.k8s", "raw.azure")
GROUPS = (*((f"{raw}", "leadsman-normalizer") for raw in RAW), ("audit.events", "leadsman-detector"))
COLOURS = {"broken": "bold red", "weak": "yellow", "note": "dim"}


class Ward:
    """What was read of one installation: sightings by cluster id, dead letters by cluster name, lags by topic.

    `view` is what the topic `sightings` says of clusters: which were made anew, and which the clouds list.
    """

    def __init__(self, view: Sightings | None = None) -> None:
        self.view = view or Sightings()
        self.sightings: dict[str, Sighting] = {}
        self.clusters: dict[str, Cluster] = {}
        self.dead: dict[str, int] = {}
        self.lags: dict[str, int] = {}


@click.command()
@click.argument("cluster", required=False)
@click.option("--since", type=When(), default="1h", show_default=True, help="How far to look back: 90m, 2d, or a time.")
@click.option("--clusters", "registry_file", envvar="LEADSMAN_CLUSTERS", help="The registry. [env: LEADSMAN_CLUSTERS]")
@click.option(
    "--apiserver-metrics",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the API server's /metrics gave: events that it lost before handing them over.",
)
@rules_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
def doctor(
    cluster: str | None,
    since: int,
    registry_file: str | None,
    apiserver_metrics: Path | None,
    folders: tuple[Path, ...],
    output: str,
) -> int:
    """Say how CLUSTER (its name or id) is seen; without one, every cluster in a line.

    What arrives and how late, at which audit levels, which rules are blind, what is expected and silent, and the next
    step. The rules of a cluster's report are those of -r, else of LEADSMAN_RULES_DIR, as the detector reads it.
    Clusters of the registry whose logs never came are among them. What a cloud or an API server lost before it handed
    anything over is not to be seen here: --apiserver-metrics asks the API server's own counters. Exit code 0 where
    nothing is broken, 1 where something is.
    """
    try:
        registry = load_clusters(Path(registry_file)) if registry_file else NO_CLUSTERS
        read = list(folders or folders_in_service()) or [default_rules_dir()]
        rules = load(read, clusters=registry) if cluster else None
        ward = look(kafka_settings(), since, registry)
    except (InvalidClustersError, TopicUnreadableError) as error:
        raise click.ClickException(str(error)) from error
    now_ms = time.time_ns() // 1_000_000
    chosen = [key for key in sorted(ward.clusters) if cluster in (None, key, ward.clusters[key]["name"])]
    if not chosen:
        raise click.ClickException(f"{cluster}: not seen, and in no entry of the registry")
    lost = dropped_by_server(apiserver_metrics.read_text("utf-8")) if apiserver_metrics else {}
    reports = [report(ward, key, registry, now_ms, (now_ms - since) / 1000, lost, rules) for key in chosen]
    if output == "json":
        sys.stdout.buffer.write(b"".join(msgspec.json.encode(one) + b"\n" for one in reports))
        sys.stdout.buffer.flush()
    elif cluster:
        for one in reports:
            _one(one, ward.lags)
    else:
        _all(reports, ward.lags)
    return 1 if any(f["severity"] == "broken" for one in reports for f in one["findings"]) else 0


def look(settings: Common, since_ms: int, registry: Clusters) -> Ward:
    """Read audit.events and the raw topics' dead letters from a time on, and the lag of our own consumer groups.

    Raises TopicUnreadableError.
    """
    reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
    prefix, codec = settings.topic_prefix, audit_event_codec()
    there = set(reader.topics())
    ward = Ward(_view(reader, topic_name(SIGHTINGS, prefix), there))
    for message in reader.read(topic_name("audit.events", prefix), since_ms):
        try:
            event = codec.decode(message.value() or b"")
        except InvalidEvent:
            continue
        found = event["cluster"]
        if "@" not in found["id"]:  # else it is of an incarnation that the registry may know no more
            found = registry.resolve(found)
        key = found["id"] or "(no name)"
        ward.clusters.setdefault(key, found)
        ward.sightings.setdefault(key, Sighting()).add(event)
    for known in (*_unseen(registry, ward), *_listed(registry, ward)):
        ward.clusters.setdefault(known["id"], known)
        ward.sightings.setdefault(known["id"], Sighting(known["provider"]))
    with ThreadPoolExecutor(len(RAW) + len(GROUPS)) as pool:  # most of it is waiting for the broker

        def dead(raw: str) -> list[str]:
            full = topic_name(f"{raw}.dlq", prefix)
            found = reader.read(full, since_ms) if full in there else ()
            return [
                dict(cast("list[Header]", m.headers() or [])).get("cluster", b"").decode("utf-8", "replace")
                for m in found
            ]

        def lag(of: tuple[str, str]) -> tuple[str, int]:
            full = topic_name(of[0], prefix)
            if full not in there:
                return of[0], 0
            done, spans = reader.committed(prefix + of[1], full), reader.spans(full)
            return of[0], sum(max(0, span.end - max(done.get(p, -1), span.low)) for p, span in spans.items())

        letters, lags = pool.map(dead, RAW), pool.map(lag, GROUPS)
        ward.dead = dict(Counter(name for names in letters for name in names))
        ward.lags = dict(lags)
    return ward


def _unseen(registry: Clusters, ward: Ward) -> Iterator[Cluster]:
    """Clusters of the registry of which nothing was seen: one that was may be known by more than its entry says."""
    now_ms = time.time_ns() // 1_000_000

    def lives(cluster: Cluster) -> bool:
        plain = registry.resolve({**cluster, "id": plain_id(cluster["id"])})
        return ward.view.current(plain["id"], now_ms) == cluster["id"]

    living = [one for one in ward.clusters.values() if lives(one)]
    for entry in registry.entries:
        if not any(entry.is_about(one) for one in living):
            known = entry.cluster()
            yield {**known, "id": ward.view.current(known["id"], now_ms)}


def _listed(registry: Clusters, ward: Ward) -> Iterator[Cluster]:
    """Clusters that the clouds' own lists have."""
    now_ms = time.time_ns() // 1_000_000
    for one in ward.view.listed.values():
        for cluster, _ in one.known():
            known = registry.resolve(cluster)
            yield {**known, "id": ward.view.current(known["id"], now_ms)}


def _view(reader: TopicReader, topic: str, there: Collection[str]) -> Sightings:
    view = Sightings()
    for message in reader.read(topic) if topic in there else ():
        with suppress(InvalidEvent):
            view.apply(decode(message.value() or b""))
    return view


def report(
    ward: Ward,
    key: str,
    registry: Clusters,
    now_ms: int,
    span_s: float,
    lost: Mapping[str, float],
    rules: RuleSet | None,
) -> dict[str, Any]:
    """One cluster as it is written out. `rules`: those that are judged too."""
    cluster, sighting = ward.clusters[key], ward.sightings[key]
    settings = registry.of(cluster)
    replaced = ward.view.current(plain_id(key), now_ms) != key and plain_id(key) in ward.view.lives
    if replaced:
        settings = replace(settings, expects={})
    findings = examine(sighting, settings, registry=registry is not NO_CLUSTERS, now_ms=now_ms, span_s=span_s)
    if lost:
        what = ", ".join(f"{count:.0f} ({plugin})" for plugin, count in sorted(lost.items()))
        step = "larger --audit-webhook-batch-buffer-size, fewer events by policy, more ingest-k8s"
        findings.insert(0, Finding("broken", f"the API server dropped audit events since it started: {what}", step))
    if replaced:
        findings.append(Finding("note", "another cluster has taken its place under this name", "nothing"))
    if dead := ward.dead.get(cluster["name"], 0):
        findings.append(Finding("weak", f"{dead} records went to the dead letters", "leadsman dlq ls"))
    blind: list[dict[str, Any]] = []
    policy = vendor_policy(sighting)
    if rules is not None and (fatal := [str(problem) for problem in rules.problems if problem.fatal]):
        what = f"{len(fatal)} rules or folders cannot be used as they stand: {fatal[0]}"
        findings.append(Finding("weak", what, "leadsman rules list --problems"))
    if rules is not None and sighting.sources:
        audit = named_policy(policy).audit if policy else observed(sighting)
        judged = cover([r.rule for r in rules.rules], rules.correlations, audit)
        blind = [
            {"rule": c.name, "status": c.status, "why": c.why} for c in judged if c.alert and c.status != "can fire"
        ]
    return {
        "cluster": key,
        "name": cluster["name"],
        "provider": sighting.provider,
        "owner": settings.owner,
        "tenant": settings.tenant,
        "claimed": settings.claimed,
        "sources": {
            name: {
                "events": seen.events,
                "newest_s": round((now_ms - seen.newest_ms) / 1000, 1),
                "delay_p50_s": round(seen.delay_s(0.5), 3),
                "delay_p95_s": round(seen.delay_s(0.95), 3),
            }
            for name, seen in sorted(sighting.sources.items())
        },
        "levels": {"reads": dict(sighting.reads), "writes": dict(sighting.writes)},
        "policy": policy or "observed",
        "rules": blind,
        "findings": [{"severity": f.severity, "what": f.what, "next_step": f.next_step} for f in findings],
    }


def _one(found: Mapping[str, Any], lags: Mapping[str, int]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    owner = ", ".join(f"{k} {found[k]}" for k in ("owner", "tenant") if found[k])
    console.print(Text(clean(found["cluster"]), "bold"), Text(clean(owner)))
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("source", "events", "newest", "delay p50", "p95"):
        grid.add_column(column)
    for name, seen in found["sources"].items():
        times = (f"{seen['newest_s']:.0f} s ago", f"{seen['delay_p50_s']:.1f} s", f"{seen['delay_p95_s']:.1f} s")
        grid.add_row(clean(name), str(seen["events"]), *times)
    console.print(grid)
    for kind, levels in found["levels"].items():
        if levels:
            console.print(f"{kind}: " + ", ".join(f"{clean(level)} {count}" for level, count in levels.items()))
    for rule in found["rules"]:
        why = "; ".join(rule["why"])
        console.print(Text(f"{rule['status']}  {rule['rule']}  {clean(why)}", "yellow"))
    if found["rules"]:
        console.print(Text(f"judged by: {found['policy']}", "dim"))
    _findings(console, found)
    _lags(console, lags)


def _all(reports: list[dict[str, Any]], lags: Mapping[str, int]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for one in reports:
        worst = one["findings"][0] if one["findings"] else None
        state = Text(worst["severity"] if worst else "well", COLOURS[worst["severity"]] if worst else "green")
        events = sum(seen["events"] for seen in one["sources"].values())
        console.print(
            state, Text(clean(f"{one['cluster']}  {events} events")), Text(clean(worst["what"] if worst else ""))
        )
    _lags(console, lags)


def _findings(console: Console, found: Mapping[str, Any]) -> None:
    for one in found["findings"]:
        console.print(Text(f"{one['severity']}: {clean(one['what'])}", COLOURS[one["severity"]]))
        console.print(Text(f"  next: {one['next_step']}"))
    if not found["findings"]:
        console.print(Text("nothing is wrong", "green"))


def _lags(console: Console, lags: Mapping[str, int]) -> None:
    if waiting := {topic: lag for topic, lag in lags.items() if lag}:
        console.print(Text("waiting: " + ", ".join(f"{topic} {lag}" for topic, lag in waiting.items()), "dim"))
