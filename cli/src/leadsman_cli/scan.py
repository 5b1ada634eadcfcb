"""`leadsman scan`: any log file through the production functions, in one process, without a broker.

The same normalize, rules, correlations and alert ids as in the stream; only the loop and the state differ. Most records
match nothing, so a cheap look at the head fields decides first, and the whole event is built only for candidates.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import click

from leadsman_cli.explain import PRINTERS, Explainer
from leadsman_cli.offline import Offline, above
from leadsman_cli.output import WRITERS
from leadsman_cli.progress import progress
from leadsman_cli.readers import FORMATS, Identity, Item, Unreadable, files_below, read
from leadsman_cli.rules import load_rules, registry_of, rules_option
from leadsman_common.alerts import LEVELS, Alert
from leadsman_common.clusters import NO_CLUSTERS, Clusters
from leadsman_common.errors import InvalidEvent
from leadsman_common.incidents import counted, incidents
from leadsman_common.raw import RawEvent
from leadsman_detector.match import RuleSet
from leadsman_normalizer.head import is_told, peek, told
from leadsman_normalizer.normalize import normalize
from leadsman_normalizer.result import Dropped

SHOWN_ERRORS = 20


@dataclass(slots=True)
class Scanned:
    """What a scan found, and what became of every record."""

    alerts: dict[str, Alert]
    records: int = 0
    built: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    bad: list[Unreadable] = field(default_factory=list)

    def above(self, minimum: str, *, suppressed: bool = False) -> list[Alert]:
        """Alerts at this level or above, in order of event time; with those of which nobody is told where wanted."""
        return above({k: a for k, a in self.alerts.items() if suppressed or not a.get("suppressed")}, minimum)


class Scanner:
    """One scan: rules, a state of its own, and what was found so far."""

    def __init__(self, rules: RuleSet, clusters: Clusters = NO_CLUSTERS) -> None:
        self._offline = Offline(rules)
        self._clusters = clusters
        self.found = Scanned(self._offline.alerts)

    def take(self, items: Iterable[Item]) -> None:
        """Judge records; what cannot be read is kept in `found.bad`."""
        found = self.found
        for item in items:
            found.records += 1
            if isinstance(item, Unreadable):
                found.bad.append(item)
                continue
            try:
                self._judge(item)
            except InvalidEvent as error:
                found.bad.append(Unreadable(item.file, item.line, error.reason))

    def _judge(self, raw: RawEvent) -> None:
        detector = self._offline.detector
        head = peek(raw)
        if head is not None:
            if head.dropped:
                self.found.dropped[head.dropped] += 1
                return
            if detector.route(head.action, head.flags, head.known) is None:
                return
            sieve = detector.sieve(head.action, head.flags, head.known, is_told)
            if sieve is not None and (first := told(head)) is not None and not sieve.passes(first):
                return
        event = normalize(raw, self._clusters)
        if isinstance(event, Dropped):
            self.found.dropped[event.reason] += 1
            return
        self.found.built += 1
        self._offline.judge(event)

    def finish(self) -> None:
        """Look at all that waits for late events: after the end none will come."""
        self._offline.finish()


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@click.option("-f", "--format", "form", type=click.Choice(FORMATS), default="auto", help="What the files hold.")
@rules_option
@click.option("-o", "--output", type=click.Choice(list(WRITERS)), default="table", help="How alerts are written.")
@click.option("--min-level", type=click.Choice([*LEVELS, "info"]), default="info", help="Leave out what is below.")
@click.option("--cluster", default="", help="Cluster that the files come from.")
@click.option("--account", default="", help="Its AWS account, GCP project or Azure subscription.")
@click.option("--region", default="", help="Its region.")
@click.option(
    "--clusters",
    "registry",
    envvar="LEADSMAN_CLUSTERS",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Registry of clusters (clusters.yaml).",
)
@click.option("--suppressed", is_flag=True, help="Show what a filter suppresses, too.")
@click.option("--strict", is_flag=True, help="Stop where a rule cannot be used.")
@click.option("--explain", "slug", metavar="RULE", default="", help="Say what of this rule held, event by event.")
def scan(
    paths: tuple[str, ...],
    form: str,
    folders: tuple[Path, ...],
    output: str,
    min_level: str,
    cluster: str,
    account: str,
    region: str,
    registry: Path | None,
    suppressed: bool,
    strict: bool,
    slug: str,
) -> int:
    """Scan log files, folders of them, or standard input (-).

    Reads native audit events (NDJSON, arrays, EventLists), CloudWatch Logs subscription documents, the EKS
    authenticator's log, CloudTrail, GKE LogEntries, AKS records and Azure's Activity Log; plain or gzip. Exit code 0
    whatever is found, 1 on a usage or rule error, 3 when some input could not be read. With --explain, each event that
    RULE could meet is written with the clauses that held and those that did not, in place of alerts.
    """
    rules = load_rules(folders, registry)
    for problem in rules.problems:
        click.echo(f"rule error: {problem}", err=True)
    if rules.problems and (strict or not rules.rules):
        return 1
    clusters = registry_of(registry) if registry else NO_CLUSTERS
    scanner = Scanner(rules, clusters)
    take = _explaining(rules, slug, output, clusters, scanner.found) if slug else scanner.take
    identity = Identity(cluster, account, region)
    files = [Path(p) for p in paths if p != "-"]
    missing = [p for p in files if not p.exists()]
    if missing:
        raise click.UsageError(f"no such file: {', '.join(map(str, missing))}")
    inputs = files_below(tuple(files))
    with progress("scan", sum(p.stat().st_size for p in inputs), bytes_=True) as advance:
        for path in inputs:
            try:
                with path.open("rb") as stream:
                    take(read(str(path), stream, form, identity, advance))
            except OSError as error:
                scanner.found.bad.append(Unreadable(str(path), 0, error.strerror or str(error)))
        if "-" in paths:
            take(read("-", sys.stdin.buffer, form, identity, advance))
    scanner.finish()
    if slug:
        _say_unread(scanner.found)
        return 3 if scanner.found.bad else 0
    alerts = scanner.found.above(min_level, suppressed=suppressed)
    WRITERS[output](alerts)
    _summary(scanner.found, counted(incidents(alerts)), len(inputs) + ("-" in paths))
    return 3 if scanner.found.bad else 0


def _explaining(
    rules: RuleSet, slug: str, output: str, clusters: Clusters, found: Scanned
) -> Callable[[Iterable[Item]], None]:
    """What takes records in place of a Scanner, and writes why a rule met them or did not."""
    if output not in PRINTERS:
        raise click.UsageError(f"--explain writes {' or '.join(PRINTERS)}, not {output}")
    try:
        explainer = Explainer(rules, slug, clusters)
    except KeyError as error:
        raise click.UsageError(f"no such rule: {slug}") from error
    found.bad = explainer.bad

    def take(items: Iterable[Item]) -> None:
        for explained in explainer.take(items):
            PRINTERS[output](slug, explained)

    return take


def _say_unread(found: Scanned) -> None:
    for bad in found.bad[:SHOWN_ERRORS]:
        click.echo(f"not read: {bad.file}:{bad.line}: {bad.reason}", err=True)
    if len(found.bad) > SHOWN_ERRORS:
        click.echo(f"not read: {len(found.bad) - SHOWN_ERRORS} more", err=True)


def _summary(found: Scanned, alerts: str, files: int) -> None:
    _say_unread(found)
    dropped = ", ".join(f"{count} {reason}" for reason, count in found.dropped.most_common(5))
    hidden = sum(bool(alert.get("suppressed")) for alert in found.alerts.values())
    shadow = sum(bool(alert.get("shadow")) for alert in found.alerts.values())
    click.echo(
        f"{files} files, {found.records} records: {alerts}"
        + (f", {shadow} of them in shadow" if shadow else "")
        + (f" and {hidden} suppressed" if hidden else "")
        + f", {found.dropped.total()} not ours"
        + (f" ({dropped})" if dropped else "")
        + f", {len(found.bad)} not read",
        err=True,
    )
