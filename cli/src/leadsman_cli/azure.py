"""The envelopes in which Azure hands over logs, taken apart: one record each, untouched.

Event Hubs: {"records": [...]}: https://learn.microsoft.com/en-us/azure/azure-monitor/platform/stream-monitoring-data-event-hubs.
Storage writes one record a line instead. Log Analytics answers a query with tables: a row is a record, its columns by
name. Pure; it never looks inside a record.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from leadsman_common.errors import InvalidEvent


class _Envelope(msgspec.Struct):
    records: list[msgspec.Raw]


class _Column(msgspec.Struct):
    name: str


class _Table(msgspec.Struct):
    columns: list[_Column]
    rows: list[list[msgspec.Raw]]


class _Answer(msgspec.Struct):
    tables: list[_Table]


_envelope = msgspec.json.Decoder(_Envelope)
_answer = msgspec.json.Decoder(_Answer)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def split(data: bytes) -> Iterator[bytes]:
    """Yield each record of an Event Hubs message. Raises InvalidEvent where it is no such envelope."""
    try:
        envelope = _envelope.decode(data)
    except _UNDECODABLE as error:
        raise InvalidEvent(f"no Event Hubs envelope: {str(error)[:200]}") from error
    for record in envelope.records:
        yield bytes(record)


def rows(data: bytes) -> Iterator[bytes]:
    """Yield each row of an answer of Log Analytics, as a JSON object. Raises InvalidEvent where it is none.

    {"tables": [{"columns": [{"name", "type"}], "rows": [[...]]}]}:
    https://learn.microsoft.com/en-us/azure/azure-monitor/logs/api/response-format
    """
    try:
        answer = _answer.decode(data)
    except _UNDECODABLE as error:
        raise InvalidEvent(f"no answer of Log Analytics: {str(error)[:200]}") from error
    for table in answer.tables:
        names = [column.name for column in table.columns]
        for row in table.rows:
            yield msgspec.json.encode(dict(zip(names, row, strict=False)))
