"""`leadsman archive`: audit.events into files that outlive Kafka's retention. Run it from time to time; it goes on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import click
from confluent_kafka import Message

from leadsman_cli.archived import Archived, FileName, day_of, parse_name, write_file
from leadsman_cli.kafka_settings import kafka_settings
from leadsman_cli.progress import progress
from leadsman_cli.stores import Store, StoreError, guarded, open_store
from leadsman_cli.when import When
from leadsman_common.avro import audit_event_codec
from leadsman_common.errors import InvalidEvent
from leadsman_common.topic_reader import Span, TopicReader, TopicUnreadableError
from leadsman_common.topics import name as topic_name

EVENTS = "audit.events"
SHOWN = 10


@dataclass(slots=True)
class Told:
    """What was written, and what could not be."""

    files: int = 0
    records: int = 0
    bad: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@click.command()
@click.argument("place")
@click.option("--since", type=When(), help="Of a partition that has no file yet: begin here. 90m, 2d, or a time.")
@click.option("--until", type=When(), help="End here. Default: all that is there now.")
@click.option("--file-records", type=click.IntRange(1), default=50_000, show_default=True, help="At most, of a file.")
def archive(place: str, since: int | None, until: int | None, file_records: int) -> int:
    """Write audit.events to PLACE: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.

    Each partition goes on after the last offset that PLACE has of it, so running this again writes only what is new,
    and a run that was cut off leaves no half file. `leadsman replay --archive PLACE` reads it. Exit code 0: all is
    there; 3: records could not be read, or were gone from Kafka before they were archived. Each is named.
    """
    settings = kafka_settings()
    reader = TopicReader(settings.kafka_bootstrap, settings.kafka_options)
    try:
        with guarded(place):
            told = Archiver(reader, topic_name(EVENTS, settings.topic_prefix), open_store(place), file_records).run(
                since, until
            )
    except (StoreError, TopicUnreadableError) as error:
        raise click.ClickException(str(error)) from error
    for line in told.gone + told.bad[:SHOWN]:
        click.echo(line, err=True)
    if len(told.bad) > SHOWN:
        click.echo(f"{len(told.bad) - SHOWN} more were not read", err=True)
    click.echo(f"{told.records} records in {told.files} new files", err=True)
    return 3 if told.bad or told.gone else 0


class Archiver:
    """One run."""

    def __init__(self, reader: TopicReader, topic: str, store: Store, file_records: int) -> None:
        self._reader, self._topic, self._store, self._limit = reader, topic, store, file_records
        self._told = Told()

    def run(self, since_ms: int | None, until_ms: int | None) -> Told:
        """Write what is new, a partition after the other."""
        kept: dict[int, int] = {}
        for name in map(parse_name, self._store.names()):
            if name is not None:
                kept[name.partition] = max(name.last, kept.get(name.partition, -1))
        spans = self._reader.spans(self._topic, since_ms, until_ms)
        ranges = {p: (self._start(p, span, kept.get(p)), span.end) for p, span in sorted(spans.items())}
        with progress("archive", sum(max(0, end - start) for start, end in ranges.values())) as advance:
            for partition, span in ranges.items():
                self._partition(partition, span, advance)
        return self._told

    def _start(self, partition: int, span: Span, last: int | None) -> int:
        if last is None:
            return span.start
        if last + 1 < span.low:
            lost = f"offsets {last + 1} to {span.low - 1}"
            self._told.gone.append(f"{EVENTS}/{partition}: {lost} are gone from Kafka and were never archived")
        return max(last + 1, span.low)

    def _partition(self, partition: int, span: tuple[int, int], advance: Callable[[int], None]) -> None:
        messages = self._reader.read_ranges(self._topic, {partition: span}) if span[0] < span[1] else iter(())
        records = _Ahead(self._read(messages, advance))
        while (first := records.next) is not None:
            day = day_of(first.timestamp_ms)
            with tempfile.TemporaryFile() as spooled:
                out = cast("BinaryIO", spooled)
                write_file(out, records.of(day, self._limit))
                out.seek(0)
                self._store.put(str(FileName(day, partition, first.offset, records.last)), out)
            self._told.files += 1

    def _read(self, messages: Iterator[Message], advance: Callable[[int], None]) -> Iterator[Archived]:
        codec = audit_event_codec()
        for message in messages:
            advance(1)
            topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            try:
                event = codec.decode(message.value() or b"")
            except InvalidEvent as error:
                self._told.bad.append(f"not archived: {topic}/{partition} offset {offset}: {error.reason}")
                continue
            self._told.records += 1
            yield Archived(topic, partition, offset, message.timestamp()[1], event)


class _Ahead:
    """Records with a look at the next one, so that a file ends where its day does."""

    def __init__(self, records: Iterator[Archived]) -> None:
        self._records = records
        self.next = next(records, None)
        self.last = 0

    def of(self, day: str, limit: int) -> Iterator[Archived]:
        """Up to `limit` records, as long as they are of this day."""
        for _ in range(limit):
            if self.next is None or day_of(self.next.timestamp_ms) != day:
                return
            self.last = self.next.offset
            yield self.next
            self.next = next(self._records, None)
