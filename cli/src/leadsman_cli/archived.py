"""The archive's file format: Avro container files of audit events, each with the place that it had on Kafka.

Any Avro reader takes them (DuckDB, Spark, Athena). A file holds records of one partition and one day (UTC), and its
name says which: `dt=2026-11-28/audit.events-3-00000000000000001200-00000000000000002399.avro`, offsets first to last.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, BinaryIO, NamedTuple, cast

import fastavro

from leadsman_common.errors import InvalidEvent
from leadsman_common.events import AuditEvent
from leadsman_common.schemas import load_avsc

_NAME = re.compile(r"dt=(\d{4}-\d\d-\d\d)/audit\.events-(\d+)-(\d{20})-(\d{20})\.avro")
_BROKEN = (ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, zlib.error)


class Archived(NamedTuple):
    """One event and where it was on Kafka. `timestamp_ms` is Kafka's, milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    event: AuditEvent


@dataclass(frozen=True, slots=True)
class FileName:
    """What the name of a file says: its day, its partition, and its first and last offset."""

    day: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"dt={self.day}/audit.events-{self.partition}-{self.first:020}-{self.last:020}.avro"


def day_of(timestamp_ms: int) -> str:
    """The day in UTC, as 2026-11-28."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).date().isoformat()


def parse_name(name: str) -> FileName | None:
    """What a name says; None for one that is no archive's."""
    found = _NAME.fullmatch(name)
    return None if found is None else FileName(found[1], int(found[2]), int(found[3]), int(found[4]))


def write_file(out: BinaryIO, records: Iterable[Archived]) -> None:
    """Write records as one file."""
    fastavro.writer(out, _schema(), (record._asdict() for record in records), codec="deflate")


def read_file(source: BinaryIO) -> Iterator[Archived]:
    """The records of a file that this or an earlier version wrote. Raises InvalidEvent for a broken one."""
    try:
        for record in fastavro.reader(source, _schema()):
            yield Archived(**cast("dict[str, Any]", record))
    except _BROKEN as error:
        raise InvalidEvent(f"no Avro file of an archive: {type(error).__name__}: {error}") from error


@cache
def _schema() -> Any:
    fields = [
        {"name": "topic", "type": "string"},
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
        {"name": "timestamp_ms", "type": "long", "doc": "Kafka's timestamp, milliseconds since 1970"},
        {"name": "event", "type": load_avsc("audit-event")},
    ]
    schema = {"type": "record", "name": "ArchivedEvent", "namespace": "leadsman", "fields": fields}
    return fastavro.parse_schema(schema, named_schemas={})
