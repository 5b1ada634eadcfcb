"""Envelopes of those who send audit logs, taken apart: one log event each, its bytes untouched.

Pure, and first on the event's way from an API server's webhook, from Event Hubs and from anyone's Kafka topic. It looks
at what is around the events, never inside one.
"""

from __future__ import annotations

import msgspec

from leadsman_common.errors import InvalidEvent


class _Records(msgspec.Struct):
    records: list[msgspec.Raw]


class _Items(msgspec.Struct):
    """What tells an EventList from an Event; a sentinel stands for what is absent."""

    kind: msgspec.Raw = msgspec.Raw()
    items: msgspec.Raw = msgspec.Raw()


class _Trail(msgspec.Struct):
    Records: list[msgspec.Raw] | None = None


_trail = msgspec.json.Decoder(_Trail)
_records = msgspec.json.Decoder(_Records)
_items = msgspec.json.Decoder(_Items)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
_LIST = b'"EventList"'
_HEAD_BYTES = 512


def audit_events(data: bytes) -> list[bytes]:
    """The events of a body: an EventList, one Event, a JSON array of Events, or one Event a line (NDJSON).

    EventList: https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/. A line that is no JSON is given as
    it is, since a truncated event can be salvaged later. Raises InvalidEvent where the whole is nothing of these.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise InvalidEvent("an empty body")
    try:
        if text.startswith(b"["):
            return [bytes(one) for one in _array.decode(text)]
        head = _items.decode(text)
    except RecursionError as error:
        raise InvalidEvent("nested too deep") from error
    except UNDECODABLE as error:
        if text.startswith(b"{") and _LIST not in text[:_HEAD_BYTES]:
            return lines(text)
        raise InvalidEvent(f"no EventList, Event or JSON lines: {str(error)[:200]}") from error
    if bytes(head.kind) != _LIST and not bytes(head.items):
        return [text]
    try:
        return [bytes(one) for one in _array.decode(head.items)]
    except UNDECODABLE as error:
        raise InvalidEvent(f"an EventList whose items are no list: {str(error)[:200]}") from error


def lines(data: bytes) -> list[bytes]:
    """The lines of a text that are not empty."""
    return [text for line in data.split(b"\n") if (text := line.strip())]


def azure_records(data: bytes) -> list[bytes]:
    """The records of an Event Hubs message, {"records": [...]}. Raises InvalidEvent where it is no such envelope.

    https://learn.microsoft.com/en-us/azure/azure-monitor/platform/stream-monitoring-data-event-hubs
    """
    try:
        return [bytes(one) for one in _records.decode(data).records]
    except UNDECODABLE as error:
        raise InvalidEvent(f"no Event Hubs envelope: {str(error)[:200]}") from error


def cloudtrail_records(data: bytes) -> list[bytes]:
    """The records of a file of CloudTrail, {"Records": [...]}; what is none is taken for one record."""
    try:
        found = _trail.decode(data).Records
    except UNDECODABLE:
        return [data]
    return [data] if found is None else [bytes(one) for one in found]


def inside(data: bytes, field: str) -> bytes:
    """What a collector wrapped: the value of a field, as an object or as the text of one; `a.b` looks inside a.

    Raises InvalidEvent where there is no such field, or it holds neither.
    """
    value = data
    for name in field.split("."):
        try:
            value = bytes(_object.decode(value)[name])
        except KeyError as error:
            raise InvalidEvent(f"no field {field}") from error
        except UNDECODABLE as error:
            raise InvalidEvent(f"no field {field}: {str(error)[:200]}") from error
    if value.startswith(b"{"):
        return value
    try:
        return _text.decode(value).strip().encode("utf-8")
    except UNDECODABLE as error:
        raise InvalidEvent(f"field {field} is neither an object nor text") from error


def text_of(data: bytes, field: str) -> str:
    """A field's text; empty where there is none. `a.b` looks inside a."""
    value = data
    try:
        for name in field.split("."):
            value = bytes(_object.decode(value)[name])
        return _text.decode(value)
    except (KeyError, *UNDECODABLE):
        return ""
