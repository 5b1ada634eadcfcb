"""`leadsman dlq`: look at dead letters, send them again once what made them bad is mended, or drop them."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadsman_cli.dead_letters import (
    DECISIONS,
    SUFFIX,
    Decision,
    Letter,
    Mending,
    Wanted,
    again,
    heaps,
    letter_of,
    read_decision,
    safe,
)
from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.when import When
from leadsman_common.errors import InvalidEvent
from leadsman_common.kafka import AckedProducer
from leadsman_common.schemas import schemas_dir
from leadsman_common.settings import Common
from leadsman_common.topic_reader import TopicReader, TopicUnreadableError
from leadsman_common.topics import load, name

BATCH = 500
SHOWN_BYTES = 2_000
F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def dlq() -> None:
    """Dead letters: records that could not be handled, kept with their bytes untouched."""


def _filters(command: F) -> F:
    options = [
        click.option("--topic", "topics", multiple=True, help="Topic they came from, or its dead-letter topic."),
        click.option("--why", default="", help="Part of the reason."),
        click.option("--source", default="", help="Part of provider/account/region/cluster."),
        click.option("--stage", default="", help="Who gave up: normalize, detect, notify, ..."),
        click.option("--since", type=When(), help="Not older: 90m, 2d, or a time."),
        click.option("--until", type=When(), help="Older."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dlq.command("ls")
@_filters
@click.option("--all", "everything", is_flag=True, help="Those about which something was decided, too.")
@click.option("-o", "--output", type=click.Choice(["table", "jsonl"]), default="table", help="How they are written.")
def list_letters(
    topics: tuple[str, ...],
    why: str,
    source: str,
    stage: str,
    since: int | None,
    until: int | None,
    everything: bool,
    output: str,
) -> int:
    """Count letters by topic, stage, reason and source, each with its newest one as a sample."""
    desk = Desk(kafka_settings())
    wanted = Wanted(topics, why, source, stage, since, until)
    decided = desk.decisions()
    found = heaps((x for x in desk.letters(wanted) if everything or x.place not in decided), decided)
    if output == "jsonl":
        for heap in found:
            click.echo(msgspec.json.encode(heap).decode())
        return 0
    table = Table("count", "topic", "stage", "reason", "source", "first", "last", "sample")
    for heap in found:
        texts = (heap.topic, heap.stage, heap.reason, heap.source)
        row = [str(heap.count), *(safe(text.encode("utf-8", "replace"), 200) for text in texts)]
        table.add_row(*map(Text, [*row, _time(heap.first_ms), _time(heap.last_ms), heap.sample]))
    Console().print(table if found else "no dead letters")
    return 0


@dlq.command("show")
@click.argument("place")
@click.option("--raw", is_flag=True, help="The bytes as they are, for a file to be mended; nothing else.")
def show_letter(place: str, raw: bool) -> int:
    """Show one letter, PLACE being TOPIC/PARTITION/OFFSET; what could harm a terminal is escaped."""
    desk = Desk(kafka_settings())
    letter = desk.letter(place)
    if raw:
        sys.stdout.buffer.write(letter.value)
        return 0
    decision = desk.decisions().get(place)
    click.echo(f"{place}  {_time(letter.at_ms)}  from {safe(letter.to.encode(), 200)}")
    if decision is not None:
        click.echo(f"{decision.what} {_time(decision.at_ms)} by {decision.by}: {decision.reason}")
    for header, data in letter.headers:
        click.echo(f"  {safe(header.encode(), 100)}: {safe(data, 1_024)}")
    click.echo(safe(letter.value, SHOWN_BYTES))
    return 0


@dlq.command("redrive")
@_filters
@click.option("--place", "places", multiple=True, help="TOPIC/PARTITION/OFFSET; repeat it for several.")
@click.option("--set-header", "headers", multiple=True, metavar="NAME=VALUE", help="Mend a header; empty removes it.")
@click.option(
    "--value", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Mended bytes, for one --place."
)
@click.option("--again", "repeat", is_flag=True, help="Also those that were sent again or dropped before.")
@click.option("--dry-run", is_flag=True, help="Only say how many.")
def redrive(
    topics: tuple[str, ...],
    why: str,
    source: str,
    stage: str,
    since: int | None,
    until: int | None,
    places: tuple[str, ...],
    headers: tuple[str, ...],
    value: Path | None,
    repeat: bool,
    dry_run: bool,
) -> int:
    """Send letters again, into the topic each came from; each once, however often this is run.

    Their bytes, keys and headers are as they were, less the dlq-* headers. What is still bad becomes a letter anew.
    """
    if value is not None and len(places) != 1:
        raise click.UsageError("--value mends one letter: name it with --place")
    mended = dict(one.partition("=")[::2] for one in headers)
    if "" in mended:
        raise click.UsageError("--set-header takes NAME=VALUE")
    mending = Mending(mended, value.read_bytes() if value else None)
    desk = Desk(kafka_settings())
    wanted = Wanted(topics, why, source, stage, since, until, places)
    decided = {} if repeat else desk.decisions()
    letters = (x for x in desk.letters(wanted) if x.place not in decided)
    if dry_run:
        click.echo(f"{sum(1 for _ in letters)} letters would be sent again")
        return 0
    sent, lost = desk.send_again(letters, mending, "sent again" if not mended and value is None else "mended")
    click.echo(f"{sent} letters sent again" + (f", {len(lost)} not" if lost else ""))
    for reason in lost[:20]:
        click.echo(f"not sent: {reason}", err=True)
    return 3 if lost else 0


@dlq.command("drop")
@_filters
@click.option("--place", "places", multiple=True, help="TOPIC/PARTITION/OFFSET; repeat it for several.")
@click.option("--reason", required=True, help="Why they need not be handled; kept with the decision.")
def drop(
    topics: tuple[str, ...],
    why: str,
    source: str,
    stage: str,
    since: int | None,
    until: int | None,
    places: tuple[str, ...],
    reason: str,
) -> int:
    """Decide that letters need not be handled. Their records stay until they age out; ls leaves them out."""
    if not reason.strip():
        raise click.UsageError("--reason is empty")
    desk = Desk(kafka_settings())
    decided = desk.decisions()
    wanted = Wanted(topics, why, source, stage, since, until, places)
    count = desk.decide((x for x in desk.letters(wanted) if x.place not in decided), "dropped", reason)
    click.echo(f"{count} letters dropped")
    return 0


class Desk:
    """The dead-letter topics of one installation, and what was decided about their letters."""

    def __init__(self, settings: Common) -> None:
        self._prefix = settings.topic_prefix
        self._reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
        self._producer = AckedProducer(settings.kafka_bootstrap, settings.kafka_options)

    def letters(self, wanted: Wanted) -> Iterator[Letter]:
        """The letters that are wanted, topic by topic."""
        with _told():
            for topic in self._topics():
                short = topic.removeprefix(self._prefix)
                if wanted.topics and not {short, short.removesuffix(SUFFIX)} & set(wanted.topics):
                    continue
                for message in self._reader.read(topic, wanted.since_ms):
                    letter = self._letter(short, message)
                    if wanted.takes(letter):
                        yield letter

    def letter(self, place: str) -> Letter:
        """The letter of that place."""
        topic, _, rest = place.partition("/")
        partition, _, offset = rest.partition("/")
        if not (partition.isdecimal() and offset.isdecimal()):
            raise click.UsageError(f"{place} is no TOPIC/PARTITION/OFFSET")
        ranges = {int(partition): (int(offset), int(offset) + 1)}
        with _told():
            for message in self._reader.read_ranges(self._prefix + topic, ranges):
                return self._letter(topic, message)
        raise click.ClickException(f"there is no {place} (any more)")

    def decisions(self) -> dict[str, Decision]:
        """What was decided, by place; the last word counts."""
        found: dict[str, Decision] = {}
        with _told():
            for message in self._reader.read(self._prefix + DECISIONS):
                try:
                    decision = read_decision(message.value() or b"")
                except InvalidEvent as error:
                    click.echo(f"{DECISIONS}/{message.partition()}/{message.offset()}: {error.reason}", err=True)
                    continue
                found[decision.place] = decision
        return found

    def send_again(self, letters: Iterator[Letter], mending: Mending, reason: str) -> tuple[int, list[str]]:
        """Send them and note it, batch by batch; gives how many went, and why others did not."""
        sent, lost = 0, []
        while batch := list(islice(letters, BATCH)):
            going = []
            for letter in batch:
                try:
                    going.append((letter, again(letter, mending)))
                except InvalidEvent as error:
                    lost.append(error.reason)
            self._producer.send(record for _, record in going)  # `to` is the name on the broker, prefix and all
            # noted once the records are safe: a crash in between sends this batch once more, under the same ids
            sent += self.decide(iter([letter for letter, _ in going]), "redriven", reason)
        return sent, lost

    def decide(self, letters: Iterator[Letter], what: str, reason: str) -> int:
        """Note a decision about each letter."""
        count = 0
        who = getpass.getuser()
        while batch := list(islice(letters, BATCH)):
            now_ms = time.time_ns() // 1_000_000
            self._producer.send(Decision(x.place, what, reason, who, now_ms).record(self._prefix) for x in batch)
            count += len(batch)
        return count

    def _topics(self) -> list[str]:
        ours = {name(base, self._prefix) for base in load(schemas_dir() / "topics") if base.endswith(SUFFIX)}
        return [topic for topic in self._reader.topics() if topic in ours]

    def _letter(self, topic: str, message: Any) -> Letter:
        return letter_of(
            topic,
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            message.headers(),
        )


class _told:  # noqa: N801 - reads as a phrase
    """Say what Kafka did not do as an error of the command."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TopicUnreadableError):
            raise click.ClickException(str(error)) from error


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
