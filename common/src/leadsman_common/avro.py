"""Avro as it travels: single-object encoding (C3 01, CRC-64-AVRO fingerprint, body) over fastavro.

wire.py puts a schema registry's id in front instead, where there is one.

https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import fastavro
from fastavro.read import SchemaResolutionError
from fastavro.schema import fingerprint, to_parsing_canonical_form

from leadsman_common.avro_reader import Reader, picker, reader
from leadsman_common.avro_writer import writer
from leadsman_common.errors import InvalidEvent
from leadsman_common.schemas import load_avsc, schemas_dir

if TYPE_CHECKING:
    from leadsman_common.alerts import Alert
    from leadsman_common.events import AuditEvent

MAGIC = b"\xc3\x01"
HEADER_BYTES = 10

T = TypeVar("T")
_Tagger = Callable[[Any], Any]


class Codec(Generic[T]):
    """Encodes one record type; decodes it from any writer schema that was ever released."""

    def __init__(self, name: str) -> None:
        self.name = name
        raw = load_avsc(name)
        self.schema = fastavro.parse_schema(raw)
        self.header = header_of(raw)
        self._tag = _tagger(raw, {}) or (lambda value: value)
        self._write = writer(raw)
        self._read = reader(raw)
        self._writers: dict[bytes, Any] = {self.header: self.schema}
        for old in sorted((schemas_dir() / "avro" / "released").glob(f"{name}-*.avsc")):
            schema = json.loads(old.read_bytes())
            self._writers.setdefault(header_of(schema), fastavro.parse_schema(schema, named_schemas={}))

    def encode(self, record: T) -> bytes:
        """The record in single-object encoding. Raises ValueError or TypeError where it does not fit."""
        return self.header + self.body(record)

    def body(self, record: T) -> bytes:
        """The record without a header. Raises as `encode` does."""
        try:
            return self._write(record)
        except (KeyError, TypeError, AttributeError, OverflowError):
            return self._write_slowly(record)

    def _write_slowly(self, record: T) -> bytes:
        """By fastavro, which fills in defaults and says precisely what does not fit."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, self._tag(record))
        return out.getvalue()

    def decode(self, data: bytes) -> T:
        """The record. Raises InvalidEvent for another encoding, an unknown fingerprint or a broken body."""
        writer = self._writers.get(data[:HEADER_BYTES])
        if writer is None:
            known = data[:2] == MAGIC
            raise InvalidEvent("avro: unknown schema fingerprint" if known else "avro: no single-object header")
        return self.read(data, HEADER_BYTES, writer)

    def schema_of_writer(self, raw: Mapping[str, Any]) -> Any:
        """What `read` takes of a schema from elsewhere. Raises InvalidEvent for another record's, or fastavro's own."""
        if header_of(raw) == self.header:
            return self.schema
        parsed: Any = fastavro.parse_schema(dict(raw), named_schemas={})
        if parsed["name"] != self.schema["name"]:  # type: ignore[index,call-overload]
            raise InvalidEvent(f"avro: a schema of {parsed['name']}")
        return parsed

    def read(self, data: bytes, at: int, writer: Any) -> T:
        """The record that begins `at` and that the schema `writer` wrote. Raises InvalidEvent for a broken body."""
        if writer is self.schema:
            try:
                record, end = self._read(data, at)
            except (IndexError, ValueError):
                pass  # fastavro says why
            else:
                if end == len(data):
                    return cast("T", record)
        return self._read_slowly(data, at, writer)

    def _read_slowly(self, data: bytes, at: int, writer: Any) -> T:
        """By fastavro, which reads what other releases wrote and says precisely what is broken."""
        body = io.BytesIO(data)
        body.seek(at)
        reader = None if writer is self.schema else self.schema
        try:
            record = fastavro.schemaless_reader(body, writer, reader)
        except (
            ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, struct.error, SchemaResolutionError,
        ) as error:  # fmt: skip
            raise InvalidEvent(f"avro: {type(error).__name__}: {error}") from error
        if body.tell() != len(data):
            raise InvalidEvent("avro: bytes after the record")
        return cast("T", record)


def header_of(schema: Mapping[str, Any]) -> bytes:
    """The ten bytes in front of every record that this schema wrote."""
    digest = fingerprint(to_parsing_canonical_form(dict(schema)), "CRC-64-AVRO")
    return MAGIC + bytes.fromhex(digest)


def _tagger(schema: Any, named: dict[str, Any]) -> _Tagger | None:
    """A function that names the branch of every nullable record: fastavro then need not try each by validation.

    None where nothing below needs a name. Measured in STREAMING: 24 instead of 40 µs for a Deployment.
    """
    if isinstance(schema, str):
        return _tagger(named[schema], named) if schema in named else None
    if isinstance(schema, list):
        (branch,) = (b for b in schema if b != "null")
        record = named.get(branch, branch) if isinstance(branch, str) else branch
        inner = _tagger(branch, named)
        if not (isinstance(record, dict) and record["type"] == "record"):
            return None
        name = f"leadsman.{record['name']}"
        return lambda v: None if v is None else (name, inner(v) if inner else v)
    if schema["type"] == "array":
        item = _tagger(schema["items"], named)
        return (lambda v: [item(x) for x in v]) if item else None
    if schema["type"] == "record":
        named[schema["name"]] = schema
        fields = [(f["name"], t) for f in schema["fields"] if (t := _tagger(f["type"], named))]
        if not fields:
            return None
        return lambda v: {**v, **{name: tag(v[name]) for name, tag in fields if v.get(name) is not None}}
    return None


def routing_slice(data: bytes) -> bytes | None:
    """The bytes of `action` and `flags` of an audit event that this version's schema wrote, else None.

    They are equal exactly where both fields are: a key for a table of what can match. The caller checks the header.
    """
    length, at = _varint(data, HEADER_BYTES)
    if length < 0:
        return None
    at += length >> 1
    _, end = _varint(data, at)
    return data[HEADER_BYTES:end] if 0 < end <= len(data) else None


def read_routing(data: bytes) -> tuple[str, int]:
    """`action` and `flags` out of a routing slice."""
    length, at = _varint(data, 0)
    size = length >> 1
    flags, _ = _varint(data, at + size)
    return data[at : at + size].decode("utf-8", "replace"), flags >> 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint's raw value and the position after it; (-1, -1) past the end."""
    shift = value = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return -1, -1


def glance(data: bytes) -> tuple[int, bytes, str] | None:
    """An audit event's time (µs), the bytes of what stands from `cluster` to `cloud`, and its source's format.

    The bytes are equal only where these fields are. None for a broken body. The caller checks the header.
    """
    try:
        (time, source_format, span), end = _glancer()(data, HEADER_BYTES)
    except (IndexError, ValueError):
        return None
    return (time, span, source_format) if end == len(data) else None


@cache
def _glancer() -> Reader:
    return picker(load_avsc("audit-event"), ("time", "source.format"), ("cluster", "cloud"))


@cache
def audit_event_codec() -> Codec[AuditEvent]:
    """The codec of audit.events, built once."""
    return Codec("audit-event")


@cache
def alert_codec() -> Codec[Alert]:
    """The codec of alerts, built once."""
    return Codec("alert")
