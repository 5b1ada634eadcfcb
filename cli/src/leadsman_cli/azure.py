"""What Log Analytics answers to a query, taken apart: a row of its tables is a record, its columns by name. Pure.

Event Hubs' envelope is in leadsman_common.envelopes; storage writes one record a line.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from leadsman_common.errors import InvalidEvent


class _Column(msgspec.Struct):
    name: str


class _Table(msgspec.Struct):
    columns: list[_Column]
    rows: list[list[msgspec.Raw]]


class _Answer(msgspec.Struct):
    tables: list[_Table]


_answer = msgspec.json.Decoder(_Answer)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


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
