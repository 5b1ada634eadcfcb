"""`leadsman replay`: what rules find, or would have found, in the history of audit.events or in an archive of it.

The functions of the stream, over a state of their own; `alerts` and the detectors' state are not touched. Alert ids and
evidence are those of the live run, since they are a function of the events and not of their order (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click
from confluent_kafka import Message

from leadsman_cli.archived import day_of, parse_name, read_file
from leadsman_cli.difference import DIFF_WRITERS, difference
from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.offline import Offline, above
from leadsman_cli.output import WRITERS
from leadsman_cli.progress import progress
from leadsman_cli.rules import load_rules, rules_option
from leadsman_cli.stores import StoreError, fetched, guarded, open_store
from leadsman_cli.when import When
from leadsman_common.alerts import LEVELS, iso_time
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name
from leadsman_detector.alert import Where
from leadsman_detector.match import RuleSet
from leadsman_detector.runner_plain import record_of

EVENTS = "audit.events"
BATCH = 500
SHOWN = 10


@dataclass(slots=True)
class Replayed:
    """What was read."""

    records: int = 0
    first_ms: int = 0
    last_ms: int = 0
    bad: list[str] = field(default_factory=list)

    def saw(self, timestamp_ms: int) -> None:
        """Count a record, by Kafka's timestamp."""
        self.records += 1
        self.first_ms = min(self.first_ms or timestamp_ms, timestamp_ms)
        self.last_ms = max(self.last_ms, timestamp_ms)


class Replay:
    """One run over one history with one or two sets of rules."""

    def __init__(self, sets: Sequence[RuleSet], clusters: Sequence[str] = ()) -> None:
        """Set up. `clusters`: ids or names, with `*` and `?`; none: all."""
        self.runs = [Offline(rules) for rules in sets]
        self._clusters = clusters
        self.told = Replayed()

    def messages(self, messages: Iterable[Message]) -> None:
        """Judge records of audit.events as they are on Kafka."""
        left = iter(messages)
        while batch := [record_of(m) for m in islice(left, BATCH)]:
            for record in batch:
                self.told.saw(record.timestamp_ms)
            if self._clusters:
                for record in batch:
                    where = Where(record.topic, record.partition, record.offset)
                    try:
                        self.event(audit_event_codec().decode(record.value), where)
                    except InvalidEvent as error:
                        self._bad(where, error.reason)
                continue
            dead = [run.judge_records(batch) for run in self.runs]
            for index, reason in dead[0]:
                self._bad(Where(*batch[index][:3]), reason)

    def event(self, event: AuditEvent, where: Where) -> None:
        """Judge one event, where its cluster is asked for."""
        cluster = event["cluster"]
        names = (cluster["id"], cluster["name"])
        if self._clusters and not any(fnmatchcase(name, asked) for name in names for asked in self._clusters):
            return
        for run in self.runs:
            run.judge(event, where)

    def archive(self, place: str, since_ms: int | None, until_ms: int | None) -> None:
        """Judge what an archive holds. Raises StoreError."""
        store = open_store(place)
        days = (day_of(since_ms) if since_ms is not None else "", day_of(until_ms) if until_ms is not None else "9")
        names = [n for n in store.names() if (said := parse_name(n)) is not None and days[0] <= said.day <= days[1]]
        with progress("replay, files", len(names)) as advance:
            for name in names:
                with fetched(store, name) as source:
                    self._file(name, source, since_ms or 0, until_ms)
                advance(1)

    def finish(self) -> None:
        """Look at what waited for later events."""
        for run in self.runs:
            run.finish()

    def _file(self, name: str, source: BinaryIO, since_ms: int, until_ms: int | None) -> None:
        try:
            for one in read_file(source):
                if one.timestamp_ms >= since_ms and (until_ms is None or one.timestamp_ms < until_ms):
                    self.told.saw(one.timestamp_ms)
                    self.event(one.event, Where(one.topic, one.partition, one.offset))
        except InvalidEvent as error:
            self.told.bad.append(f"not read: {name}: {error.reason}")

    def _bad(self, where: Where, reason: str) -> None:
        self.told.bad.append(f"not read: {where.topic}/{where.partition} offset {where.offset}: {reason}")


@click.command()
@click.option("--since", type=When(), help="Begin here, by the time that Kafka got it: 90m, 30d, or a time.")
@click.option("--until", type=When(), help="End here. Default: all that is there now.")
@click.option("--archive", "place", default="", help="What `leadsman archive` wrote, in place of the topic.")
@rules_option
@click.option(
    "--diff",
    "pair",
    nargs=2,
    type=click.Path(exists=True, path_type=Path),
    metavar="RULES_A RULES_B",
    help="Run both, and say what B adds to the alerts of A and takes away.",
)
@click.option(
    "--cluster", "clusters", multiple=True, metavar="PATTERN", help="Only these clusters: id or name, * and ?."
)
@click.option("-o", "--output", type=click.Choice(list(WRITERS)), default="table", help="How alerts are written.")
@click.option("--min-level", type=click.Choice([*LEVELS, "info"]), default="info", help="Leave out what is below.")
@click.option("--strict", is_flag=True, help="Stop where a rule cannot be used.")
def replay(
    since: int | None,
    until: int | None,
    place: str,
    folders: tuple[Path, ...],
    pair: tuple[Path, Path] | None,
    clusters: tuple[str, ...],
    output: str,
    min_level: str,
    strict: bool,
) -> int:
    """Run rules over the history of audit.events and write what fires; nothing is sent.

    The state is this process's own, in memory: give it about a gigabyte for some million events that rules look at.
    Exit code 0 whatever is found, 1 on a usage or rule error, 3 when some record could not be read.
    """
    if pair and (folders or output not in DIFF_WRITERS):
        raise click.UsageError(f"--diff takes its own rules, and writes {' or '.join(DIFF_WRITERS)}")
    sets = [load_rules((folder,)) for folder in pair] if pair else [load_rules(folders)]
    for rules in sets:
        for problem in rules.problems:
            click.echo(f"rule error: {problem}", err=True)
        if rules.problems and (strict or not rules.rules):
            return 1
    run = Replay(sets, clusters)
    try:
        if place:
            with guarded(place):
                run.archive(place, since, until)
        else:
            _topic(run, since, until)
    except (StoreError, TopicUnreadableError) as error:
        raise click.ClickException(str(error)) from error
    run.finish()
    alerts = [{a["id"]: a for a in above(one.alerts, min_level)} for one in run.runs]
    if pair:
        DIFF_WRITERS[output](difference(*alerts))
    else:
        WRITERS[output](list(alerts[0].values()))
    return _summary(run.told, [len(found) for found in alerts])


def _topic(run: Replay, since: int | None, until: int | None) -> None:
    settings = kafka_settings()
    reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
    topic = topic_name(EVENTS, settings.topic_prefix)
    spans = reader.spans(topic, since, until)
    ranges = {p: (span.start, span.end) for p, span in spans.items() if span.start < span.end}
    with progress("replay", sum(end - start for start, end in ranges.values())) as advance:
        run.messages(_advancing(reader.read_ranges(topic, ranges), advance))


def _advancing(messages: Iterable[Message], advance: Callable[[int], None]) -> Iterator[Message]:
    for message in messages:
        advance(1)
        yield message


def _summary(told: Replayed, alerts: Sequence[int]) -> int:
    for line in told.bad[:SHOWN]:
        click.echo(line, err=True)
    if len(told.bad) > SHOWN:
        click.echo(f"not read: {len(told.bad) - SHOWN} more", err=True)
    span = f" from {iso_time(told.first_ms * 1000)} to {iso_time(told.last_ms * 1000)}" if told.records else ""
    found = " and ".join(f"{count} alerts" for count in alerts)
    click.echo(f"{told.records} records{span}: {found}, {len(told.bad)} not read", err=True)
    return 3 if told.bad else 0
