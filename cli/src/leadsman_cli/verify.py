"""`leadsman verify`: adds the ledger up over topics and offsets, and recounts the topics themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import cast

import click
import msgspec
from confluent_kafka import Message
from rich.console import Console
from rich.table import Table

from leadsman_cli import beside, received
from leadsman_cli.conservation import MAX_FINDINGS, Account, Finding, Marks, account, unnoted, unsent, untold, untrue
from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.when import When
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import Header
from leadsman_common.ledger import (
    DEAD,
    DELIVERED,
    LEDGER,
    MADE,
    NOT_OURS,
    PASSED,
    SUPPRESSED,
    UNDELIVERED,
    Book,
    Page,
    read_page,
)
from leadsman_common.receipts import KEY, Receipt, read_receipt
from leadsman_common.settings import Common
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import DEAD_LETTER_SUFFIX

RAW = ("raw.aws", "raw.gcp", "raw.k8s", "raw.azure")
EVENTS, ALERTS, SHADOW = "audit.events", "alerts", "alerts.shadow"
ALERTS_UNDELIVERED, DELIVERIES = "alerts.undelivered", "deliveries"
NOTIFIER = "notifier/"  # the hop of each channel
PageKey = tuple[str, str, int]  # hop, topic, partition
AlertPlace = tuple[bytes, int, int]  # id, partition, offset


@dataclass(slots=True)
class Report:
    """What was added up."""

    accounts: list[Account] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    missing_alerts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    beside: list[beside.Beside] = field(default_factory=list)
    intake: list[received.Intake] = field(default_factory=list)

    @property
    def balances(self) -> bool:
        """Whether nothing is missing and nothing contradicts."""
        return not self.findings and not self.missing_alerts


@click.command()
@click.option("--since", type=When(), help="Look no further back: 90m, 2d, or a time. Default: all that is kept.")
@click.option("--no-recount", is_flag=True, help="Only add the ledger up; do not read the topics themselves.")
@click.option("--group", default="leadsman-detector", help="Consumer group of the detectors.")
@click.option(
    "--beside",
    "places",
    multiple=True,
    help="The cloud's own counters, beside the ledger: eks:ACCOUNT/REGION/CLUSTER, pubsub:projects/P/subscriptions/S, "
    "apiserver:CLUSTER=FILE|URL of its /metrics. May be given several times.",
)
@click.option("--aws-endpoint", envvar="LEADSMAN_AWS_ENDPOINT_URL", default="", hidden=True)
@click.option("--monitoring-endpoint", default="", hidden=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
def verify(
    since: int | None,
    no_recount: bool,
    group: str,
    places: tuple[str, ...],
    aws_endpoint: str,
    monitoring_endpoint: str,
    output: str,
) -> int:
    """Show that nothing was lost between the topics, or where something was.

    Every record below a consumer group's committed offset must stand in the ledger with one outcome. Then the topics
    themselves are read as far back as they are kept: what the ledger calls produced must be there, what it calls
    dead-lettered must be a dead letter, alerts that came of events must be on `alerts` or `alerts.shadow`, and for each
    channel an alert is written down as told, suppressed, or kept as undelivered. Exit code 0: it adds up; 1: it does
    not, and each gap is named by topic, partition and offsets.

    What was lost before it was handed over to Leadsman stands in no ledger. --beside puts the cloud's own counters next
    to what the ledger has of the same time (--since, a day without it); a difference is told and is no failure, since
    they count at other moments.
    """
    try:
        asked = [beside.place(text) for text in places]
        verifier = Verifier(kafka_settings(), since, group)
        report = verifier.run(recount=not no_recount)
        report.beside = [verifier.beside(one, aws_endpoint, monitoring_endpoint) for one in asked]
    except beside.BadPlace as error:
        raise click.UsageError(str(error)) from error
    except (TopicUnreadableError, beside.CountersAway) as error:
        raise click.ClickException(str(error)) from error
    (_json if output == "json" else _table)(report)
    return 0 if report.balances else 1


class Verifier:
    """One run over the topics of one installation."""

    def __init__(self, settings: Common, since_ms: int | None, detector_group: str) -> None:
        self._prefix = settings.topic_prefix
        self._since_ms = since_ms
        self._reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
        self._groups = {"normalizer": "leadsman-normalizer", "detector": detector_group}
        self._began_ms: int | None = None  # what was handled before this, the ledger may have forgotten
        self._there = set(self._reader.topics())
        self._dead: dict[tuple[str, str], defaultdict[int, Marks]] = {}
        self._read: dict[PageKey, Book] = {}
        self._receipts: list[Receipt] = []
        self.report = Report()

    def run(self, *, recount: bool) -> Report:
        """Add up, and recount where asked."""
        books = self._read = self._books()
        normalized = [self._accounts(books, "normalizer", topic) for topic in RAW]
        detected = self._accounts(books, "detector", EVENTS)
        channels = sorted({hop.removeprefix(NOTIFIER) for hop, _, _ in books if hop.startswith(NOTIFIER)})
        self._groups |= {NOTIFIER + channel: f"leadsman-notifier-{channel}" for channel in channels}
        told = {channel: self._accounts(books, NOTIFIER + channel, ALERTS) for channel in channels}
        places = self._intake()
        if recount:
            self._recount_received(places)
            self._recount_events(books, [one for accounts in normalized for one in accounts])
            alerts = [
                (m.key() or b"", m.partition() or 0, m.offset() or 0) for m in self._reader.read(self._prefix + ALERTS)
            ]
            shadow = self._reader.read(self._prefix + SHADOW) if self._prefix + SHADOW in self._there else ()
            self._recount_alerts(books, detected, {key for key, _, _ in alerts} | {m.key() or b"" for m in shadow})
            self._recount_told(books, told, alerts)
        return self.report

    def beside(self, where: beside.Place, aws_endpoint: str, monitoring: str) -> beside.Beside:
        """Ask a place for its counters, and count the same time in the ledger; after `run`. Raises CountersAway."""
        since_ms, until_ms = beside.span(self._since_ms)
        found = beside.ask(where, since_ms, until_ms, aws_endpoint=aws_endpoint, monitoring=monitoring)
        since_ms, until_ms = found.since_ms or since_ms, found.until_ms or until_ms
        ledger = 0
        for base in RAW:
            topic = self._prefix + base
            spans = self._reader.spans(topic, since_ms, until_ms) if topic in self._there else {}
            for partition, span in spans.items():
                book = self._read.get(("normalizer", topic, partition), Book([]))
                for source, counts in book.by_source(span.start, span.end).items():
                    ledger += counts.total() if where.is_of(source) else 0
        return beside.Beside(f"{where.kind}:{where.text}", since_ms, until_ms, found.counts, found.handed, ledger)

    def _books(self) -> dict[PageKey, Book]:
        pages: defaultdict[PageKey, list[Page]] = defaultdict(list)
        began_ms = None
        for message in self._reader.read(self._prefix + LEDGER):
            began_ms = min(message.timestamp()[1], began_ms or message.timestamp()[1])
            try:
                if (message.key() or b"").startswith(KEY):
                    self._receipts.append(read_receipt(message.value() or b""))
                    continue
                page = read_page(message.value() or b"")
            except InvalidEvent as error:
                at = f"{LEDGER}/{message.partition()}/{message.offset()}"
                self.report.notes.append(f"{at}: {error.reason}")
                continue
            pages[page.hop, page.topic, page.partition].append(page)
        if self._aged(LEDGER):
            self._began_ms = began_ms
            self.report.notes.append(
                f"the ledger reaches back to {datetime.fromtimestamp((began_ms or 0) / 1000, UTC)}"
            )
        latest = {key: {(p.start, p.writer): p for p in found} for key, found in pages.items()}
        return {key: Book(found.values()) for key, found in latest.items()}

    def _accounts(self, books: dict[PageKey, Book], hop: str, base: str) -> list[Account]:
        """The accounts of a topic's partitions at one hop; what is not noted is a finding."""
        topic = self._prefix + base
        if topic not in self._there:
            return []
        since = [at_ms for at_ms in (self._since_ms, self._began_ms) if at_ms is not None]
        spans = self._reader.spans(topic, max(since, default=None))
        committed = self._reader.committed(self._prefix + self._groups[hop], topic)
        accounts = []
        for partition, span in sorted(spans.items()):
            end = committed.get(partition, -1)
            if end < 0:
                if span.start < span.end:
                    self.report.notes.append(f"{hop} has committed nothing of {base}/{partition} yet")
                continue
            book = books.get((hop, topic, partition), Book([]))
            start = span.start
            if end > start and book.start > start and book.start <= end:
                self.report.notes.append(f"{hop}: the ledger of {base}/{partition} begins at {book.start}")
                start = book.start
            if end < span.low:
                self.report.findings.append(
                    Finding(hop, base, partition, end, span.low, "aged out before it was handled: retention overran it")
                )
            found = account(book, hop, base, partition, start, max(start, end), span.end - end)
            self.report.findings += unnoted(book, found)
            self.report.accounts.append(found)
            accounts.append(found)
        return accounts

    def _intake(self) -> dict[received.Place, list[received.Written]]:
        """Add ingest's receipts up; returns where they say that their records are."""
        latest = {receipt.key: receipt for receipt in self._receipts if receipt.at_ms >= (self._since_ms or 0)}
        receipts = list(latest.values())
        places = received.written(receipts, self._prefix)
        self.report.intake = received.by_hop(receipts)
        self.report.findings += received.wrong(receipts, self._prefix)
        self.report.findings += received.twice(places)
        if not self._aged(LEDGER):
            self.report.findings += received.taken_away(receipts)
        return places

    def _recount_received(self, places: dict[received.Place, list[received.Written]]) -> None:
        """Hold what ingest says it wrote against the topics themselves."""
        for base in sorted({topic for topic, _ in places}):
            there: defaultdict[int, Marks] = defaultdict(Marks)
            topic = self._prefix + base
            for message in self._reader.read(topic) if topic in self._there else ():
                there[message.partition() or 0].add(message.offset() or 0)
            spans = self._reader.spans(topic) if topic in self._there else {}
            for at in sorted(place for place in places if place[0] == base):
                low, end = (spans[at[1]].low, spans[at[1]].end) if at[1] in spans else (0, 0)
                found = list(received.not_there(at, places[at], low, there[at[1]]))
                self.report.findings += found[:MAX_FINDINGS]
                if not base.endswith(DEAD_LETTER_SUFFIX) and (count := received.without_receipt(places[at], low, end)):
                    self.report.notes.append(
                        f"{base}/{at[1]}: {count} records without a receipt: ingest was killed, or others wrote them"
                    )

    def _recount_events(self, books: dict[PageKey, Book], accounts: Sequence[Account]) -> None:
        """Hold what the normalizer noted against audit.events and the dead letters."""
        topic = self._prefix + EVENTS
        produced: defaultdict[tuple[str, int], Marks] = defaultdict(Marks)
        codec = audit_event_codec()
        aged = self._aged(EVENTS)
        began_ms = None  # of raw records before this, the events may have aged out
        for message in self._reader.read(topic):
            if aged:
                at_ms = message.timestamp()[1]
                began_ms = at_ms if began_ms is None else min(began_ms, at_ms)
            try:
                source = codec.decode(message.value() or b"")["source"]
            except InvalidEvent:
                continue  # whoever reads it dead-letters it: that is the next hop's account
            produced[source["topic"], source["partition"]].add(source["offset"])
        full_names = {self._prefix + found.topic for found in accounts}
        reach = {} if began_ms is None else {full: self._reader.spans(full, began_ms) for full in full_names}
        for found in accounts:
            full = self._prefix + found.topic
            start = reach[full][found.partition].start if reach else 0
            book = books.get(("normalizer", full, found.partition), Book([]))
            dead = self._letters(found.topic, "normalize")[found.partition]
            self.report.findings += untrue(book, found, start, produced[full, found.partition], dead)

    def _recount_alerts(self, books: dict[PageKey, Book], accounts: Iterable[Account], alerts: Iterable[bytes]) -> None:
        """Hold what the detector noted against the dead letters and the ids of alerts, those in shadow too."""
        there = {key.decode("utf-8", "replace") for key in alerts}
        for found in accounts:
            book = books.get(("detector", self._prefix + EVENTS, found.partition), Book([]))
            dead = self._letters(EVENTS, "detect")[found.partition]
            self.report.findings += untrue(book, found, 0, Marks(), dead)
            self.report.missing_alerts += unsent(book, found, there)

    def _recount_told(
        self, books: dict[PageKey, Book], told: dict[str, list[Account]], alerts: Iterable[AlertPlace]
    ) -> None:
        """Hold what the channels noted against what is written down as told and what was given up."""
        if not told:
            return
        marks: defaultdict[tuple[str, int], Marks] = defaultdict(Marks)
        kept: defaultdict[tuple[str, int], Marks] = defaultdict(Marks)
        written = {m.key() or b"" for m in self._reader.read(self._prefix + DELIVERIES) if m.value() is not None}
        for key, partition, offset in alerts:
            for channel in told:
                if f"{channel}/told/".encode() + key in written:
                    marks[channel, partition].add(offset)
        for message in self._reader.read(self._prefix + ALERTS_UNDELIVERED):
            said = _texts(message)
            if said.get("undelivered-offset", "").isdecimal():
                place = said.get("undelivered-channel", ""), int(said["undelivered-partition"])
                kept[place].add(int(said["undelivered-offset"]))
        for channel, accounts in told.items():
            for found in accounts:
                book = books.get((found.hop, self._prefix + ALERTS, found.partition), Book([]))
                at = channel, found.partition
                self.report.findings += untold(book, found, 0, marks[at], kept[at])

    def _aged(self, base: str) -> bool:
        """Whether the first records of a topic are gone."""
        return any(span.low > 0 for span in self._reader.spans(self._prefix + base).values())

    def _letters(self, base: str, stage: str) -> defaultdict[int, Marks]:
        """Which offsets of a topic have a dead letter of this stage, by partition."""
        if (base, stage) not in self._dead:
            marks: defaultdict[int, Marks] = defaultdict(Marks)
            for message in self._reader.read(f"{self._prefix}{base}.dlq"):
                said = _texts(message)
                if said.get("dlq-stage") == stage and said.get("dlq-offset", "").isdecimal():
                    marks[int(said["dlq-partition"])].add(int(said["dlq-offset"]))
            self._dead[base, stage] = marks
        return self._dead[base, stage]


def _texts(message: Message) -> dict[str, str]:
    """A record's headers."""
    headers = cast("list[Header]", message.headers() or [])
    return {name: str(data, "utf-8", "replace") for name, data in headers if data}


def _table(report: Report) -> None:
    table = Table(
        *("hop", "topic", "partition", "offsets", "received", "went on", "filtered", "dead", "undelivered", "waiting")
    )
    for one in report.accounts:
        kinds = one.by_kind
        went_on, filtered = kinds[MADE] + kinds[PASSED] + kinds[DELIVERED], kinds[NOT_OURS] + kinds[SUPPRESSED]
        numbers = [kinds.total(), went_on, filtered, kinds[DEAD], kinds[UNDELIVERED], one.lag]
        table.add_row(one.hop, one.topic, str(one.partition), f"{one.start}-{one.end}", *map(str, numbers))
    Console().print(table)
    for one_intake in report.intake:
        click.echo(_told(one_intake))
    for one_beside in report.beside:
        click.echo(beside.told(one_beside))
    for note in report.notes:
        click.echo(f"note: {note}")
    for found in report.findings:
        place = f"{found.topic}/{found.partition} offsets {found.start} to {found.end - 1}"
        click.echo(f"GAP  {found.hop}: {place}: {found.what}")
    for alert in report.missing_alerts:
        click.echo(f"GAP  detector: alert {alert} was made and is not on its topic")
    gaps = len(report.findings) + len(report.missing_alerts)
    click.echo("it adds up" if report.balances else f"it does not add up: {gaps} gaps")


def _told(intake: received.Intake) -> str:
    """What a service received and what became of it, in one line."""
    came_to = ", ".join(f"{count} {outcome}" for outcome, count in sorted(intake.outcomes.items()))
    tries = f"; {intake.failed} more in tries that Kafka did not acknowledge" if intake.failed else ""
    sources = ", ".join(f"{count} of {source or 'no source'}" for source, count in intake.received.most_common(10))
    more = f" and of {len(intake.received) - 10} more" if len(intake.received) > 10 else ""
    return f"{intake.hop}: received {intake.received.total()} ({sources}{more}): {came_to}{tries}"


def _json(report: Report) -> None:
    accounts = [
        {
            "hop": one.hop,
            "topic": one.topic,
            "partition": one.partition,
            "start": one.start,
            "end": one.end,
            "lag": one.lag,
            "outcomes": dict(one.totals),
            "sources": {source: dict(counts) for source, counts in one.sources.items()},
        }
        for one in report.accounts
    ]
    said = {
        "balances": report.balances,
        "accounts": accounts,
        "findings": report.findings,
        "missing_alerts": report.missing_alerts,
        "notes": report.notes,
        "intake": [
            {
                "hop": one.hop,
                "receipts": one.receipts,
                "writers": sorted(one.writers),
                "received": dict(one.received),
                "outcomes": dict(one.outcomes),
                "failed": one.failed,
            }
            for one in report.intake
        ],
        "beside": [{**asdict(one), "difference": one.difference} for one in report.beside],
    }
    click.echo(msgspec.json.format(msgspec.json.encode(said), indent=2).decode())
