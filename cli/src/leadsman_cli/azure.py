"""The envelope in which Event Hubs and storage accounts carry Azure's logs, taken apart: one record each, untouched.

{"records": [...]}: https://learn.microsoft.com/en-us/azure/azure-monitor/platform/stream-monitoring-data-event-hubs.
Storage writes one record a line instead. Pure; it never looks inside a record.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from leadsman_common.errors import InvalidEvent


class _Envelope(msgspec.Struct):
    records: list[msgspec.Raw]


_envelope = msgspec.json.Decoder(_Envelope)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def split(data: bytes) -> Iterator[bytes]:
    """Yield each record of an Event Hubs message. Raises InvalidEvent where it is no such envelope."""
    try:
        envelope = _envelope.decode(data)
    except _UNDECODABLE as error:
        raise InvalidEvent(f"no Event Hubs envelope: {str(error)[:200]}") from error
    for record in envelope.records:
        yield bytes(record)
