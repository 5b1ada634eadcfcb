"""What AWS carries events in taken apart: one RawEvent a log event, its bytes untouched.

CloudWatch Logs subscription documents and CloudTrail files, packed or not, one or many. Pure, and first on the event's
way from AWS: every input calls it for each record, file or message, `leadsman scan` for files. It never looks inside a
message of a log; of a CloudTrail record it reads the id, the account and the region, which have no other carrier.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import msgspec

from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent
from leadsman_ingest_aws.aggregated import AGGREGATED, user_records

# a record of 1 MiB that unpacks to more than this is no audit log: those shrink to a tenth, hardly to a thirtieth
MAX_PLAIN_BYTES = 32 * 1024 * 1024
# what a raw topic takes (2 MiB), less room for key and headers
MAX_VALUE_BYTES = 2 * 1024 * 1024 - 64 * 1024

_GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 64 * 1024
_MAX_MALFORMED = 100
# the longer prefix first: kube-apiserver- is also a prefix of kube-apiserver-audit-
_FORMATS = (
    ("kube-apiserver-audit-", "eks-audit"),
    ("authenticator-", "eks-authenticator"),
    ("kube-apiserver-", "eks-api"),
    ("kube-controller-manager-", "eks-controller-manager"),
    ("kube-scheduler-", "eks-scheduler"),
)
# the stream of a trail's log group is <account>_CloudTrail_<region>, with a number behind it where there are several
_TRAIL_STREAM = re.compile(r"(\d{12}|o-[a-z0-9]+)_CloudTrail_")


@dataclass(slots=True)
class Split:
    """What came of one record.

    `dropped` holds a reason for each document that is not ours. Where `invalid` is not empty the record, whole and
    untouched, belongs in the dead letters; its good events still go on, since a repeat changes nothing.
    `newest_ms` is the time of each cluster's newest event, where the carrier tells it.
    """

    events: list[RawEvent] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    invalid: str = ""
    newest_ms: dict[str, int] = field(default_factory=dict)

    def seen(self, cluster: str, time_ms: int) -> None:
        """Note an event's time."""
        if time_ms > self.newest_ms.get(cluster, 0):
            self.newest_ms[cluster] = time_ms

    def add_invalid(self, reason: str) -> None:
        """Keep the first reason: what follows is often its consequence."""
        self.invalid = self.invalid or reason


@dataclass(frozen=True, slots=True)
class _Transport:
    """What the carrier knew, and how much may be unpacked."""

    region: str
    received_ms: int
    max_plain_bytes: int
    groups: tuple[str, ...] = ()
    wrapped: bool = False


class _LogEvent(msgspec.Struct):
    message: str
    id: str = ""
    timestamp: int = 0


class _Document(msgspec.Struct):
    messageType: str
    owner: str
    logGroup: str
    logStream: str
    logEvents: list[_LogEvent]


class _LambdaData(msgspec.Struct):
    data: str


class _AnyDocument(msgspec.Struct):
    """The same with nothing taken for granted: CONTROL_MESSAGE, Lambda's wrapper, entries of wrong types."""

    messageType: str = ""
    owner: str = ""
    logGroup: str = ""
    logStream: str = ""
    logEvents: list[msgspec.Raw] = []
    awslogs: _LambdaData | None = None
    Records: list[msgspec.Raw] | None = None


class _AnyLogEvent(msgspec.Struct):
    message: msgspec.Raw
    id: str | int = ""


class _TrailRecord(msgspec.Struct):
    eventID: str
    eventName: str
    awsRegion: str = ""
    recipientAccountId: str = ""


_document = msgspec.json.Decoder(_Document)
_any_document = msgspec.json.Decoder(_AnyDocument)
_any_log_event = msgspec.json.Decoder(_AnyLogEvent)
_trail_record = msgspec.json.Decoder(_TrailRecord)
_text = msgspec.json.Decoder(str)
_raw = msgspec.json.Decoder(msgspec.Raw)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def split(
    data: bytes,
    *,
    region: str = "",
    received_ms: int = 0,
    max_plain_bytes: int = MAX_PLAIN_BYTES,
    groups: tuple[str, ...] = (),
) -> Split:
    """Take one record, or one file, apart: gzip or plain JSON, one document or several.

    A document (FORMATS 2.2; AWS "Log group-level subscription filters") is {"messageType": "DATA_MESSAGE", "owner",
    "logGroup", "logStream", "logEvents": [{"id", "timestamp", "message"}]}; a CONTROL_MESSAGE is dropped, and so are
    events of log groups that begin with none of `groups`, where there are any.
    """
    result, transport = Split(), _Transport(region, received_ms, max_plain_bytes, groups)
    for document in split_documents(data, max_plain_bytes=max_plain_bytes):
        if isinstance(document, InvalidEvent):
            result.add_invalid(document.reason)
        else:
            _split_document(result, document, transport)
    return result


def split_document(document: bytes, *, region: str = "", received_ms: int = 0, groups: tuple[str, ...] = ()) -> Split:
    """The same for one JSON document that is unpacked already."""
    result = Split()
    _split_document(result, document, _Transport(region, received_ms, MAX_PLAIN_BYTES, groups))
    return result


def trail_event(record: bytes, received_ms: int) -> RawEvent:
    """Make the RawEvent of one CloudTrail record. Raises InvalidEvent where it is none.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    if len(record) > MAX_VALUE_BYTES:
        raise InvalidEvent(f"a CloudTrail record of {len(record)} bytes, more than the {MAX_VALUE_BYTES} of a topic")
    try:
        known = _trail_record.decode(record)
    except _UNDECODABLE as error:
        raise InvalidEvent(f"no CloudTrail record: {str(error)[:200]}") from error
    return RawEvent(
        value=record,
        format="cloudtrail",
        account=known.recipientAccountId,
        region=known.awsRegion,
        provider="aws",
        source_id=known.eventID,
        received_ms=received_ms,
    )


def split_documents(data: bytes, *, max_plain_bytes: int = MAX_PLAIN_BYTES) -> Iterator[bytes | InvalidEvent]:
    """Yield each JSON document of concatenated gzip members or JSON texts; an InvalidEvent stands for what is none.

    Documents may follow each other with or without separators (Firehose writes both), and members may be cut short:
    what is whole before the cut is yielded. Nothing is unpacked past `max_plain_bytes`.
    """
    if data.startswith(AGGREGATED):
        left = max_plain_bytes
        try:
            for record in user_records(data):
                for document in split_documents(record, max_plain_bytes=left):
                    left -= len(document) if isinstance(document, bytes) else 0
                    yield document
        except InvalidEvent as error:
            yield error
        return
    plain, broken = gunzip(data, max_plain_bytes) if data.startswith(_GZIP) else (data, "")
    if not broken and _is_one_object(plain):
        yield plain
        return
    seen = False
    for document in _walk(plain):
        # the last document of a member that was cut short is cut too, and the cut is its reason
        if not (broken and isinstance(document, InvalidEvent)):
            yield document
            seen = True
    if broken:
        yield InvalidEvent(broken)
    elif not seen:
        yield InvalidEvent("no document in it")


def gunzip(data: bytes, max_plain_bytes: int) -> tuple[bytes, str]:
    """Unpack all gzip members; returns the bytes and why it stopped early ("" where it did not).

    What follows the last member and is no gzip is kept as it stands.
    """
    view, at, size = memoryview(data), 0, 0
    parts: list[bytes] = []
    while data.startswith(_GZIP, at):
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof and at < len(data):
            # in pieces: unused_data is a copy of the rest, which many small members would make quadratic
            piece = view[at : at + _CHUNK_BYTES]
            try:
                part = inflate.decompress(piece, max_plain_bytes - size + 1)
            except zlib.error as error:
                return b"".join(parts), f"gzip is damaged: {error}"
            size += len(part)
            if size > max_plain_bytes:
                return b"", f"more than {max_plain_bytes} bytes when unpacked"
            parts.append(part)
            at += len(piece) - len(inflate.unused_data)
        if not inflate.eof:
            return b"".join(parts), "gzip is cut short"
    parts.append(data[at:])
    return b"".join(parts), ""


@lru_cache(maxsize=4096)
def format_of(log_stream: str) -> str:
    """Tell what a log stream of EKS, or of a trail, holds, by its name (FORMATS 2.1)."""
    if _TRAIL_STREAM.match(log_stream):
        return "cloudtrail"
    return next((name for prefix, name in _FORMATS if log_stream.startswith(prefix)), "eks-unknown")


@lru_cache(maxsize=4096)
def cluster_of(log_group: str) -> str:
    """Tell the cluster of the log group `/aws/eks/<cluster>/cluster`; "" for any other group."""
    parts = log_group.split("/")
    return parts[3] if len(parts) == 5 and parts[:3] == ["", "aws", "eks"] and parts[4] == "cluster" else ""


def _is_one_object(plain: bytes) -> bool:
    """Whether it is one JSON object and nothing more; far cheaper than walking it."""
    try:
        return memoryview(_raw.decode(plain))[:1].tobytes() == b"{"
    except (msgspec.DecodeError, RecursionError):
        return False


def _walk(plain: bytes) -> Iterator[bytes | InvalidEvent]:
    """Find where each of several documents ends. After a malformed one, go on at the next line that opens one."""
    text = plain.decode("utf-8", "surrogateescape")
    decoder, at, malformed = json.JSONDecoder(), 0, 0
    while at < len(text):
        if text[at] in " \t\r\n,":
            at += 1
            continue
        try:
            end = _object_end(decoder, text, at)
        except InvalidEvent as error:
            yield error
            malformed += 1
            at = text.find("\n{", at) + 1
            if not at or malformed >= _MAX_MALFORMED:
                return
        else:
            yield text[at:end].encode("utf-8", "surrogateescape")
            at = end


def _object_end(decoder: json.JSONDecoder, text: str, at: int) -> int:
    if text[at] != "{":
        raise InvalidEvent(f"no JSON object at character {at}")
    try:
        return decoder.raw_decode(text, at)[1]
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"the JSON document at character {at} is malformed: {str(error)[:200]}") from error


def _split_document(result: Split, data: bytes, transport: _Transport) -> None:
    try:
        document = _document.decode(data)
    except _UNDECODABLE:
        _split_odd_document(result, data, transport)
        return
    if document.messageType == "DATA_MESSAGE":
        for entry in document.logEvents:
            _add(result, document, transport, entry.message.encode(), entry.id, entry.timestamp)
    else:
        _not_data(result, document.messageType)


def _split_odd_document(result: Split, data: bytes, transport: _Transport) -> None:
    """Take apart, entry by entry, a document that is not quite as it should be."""
    try:
        document = _any_document.decode(data)
    except _UNDECODABLE as error:
        result.add_invalid(f"no CloudWatch Logs subscription document: {str(error)[:200]}")
        return
    if document.awslogs is not None:
        _unwrap(result, document.awslogs.data, transport)
        return
    if document.Records is not None:
        _split_trail(result, document.Records, transport)
        return
    if document.messageType != "DATA_MESSAGE":
        _not_data(result, document.messageType)
        return
    for index, raw in enumerate(document.logEvents):
        try:
            entry = _any_log_event.decode(raw)
            message = bytes(entry.message)
            # a tool may have parsed the message already: then the object's own bytes are the event
            value = message if message.startswith(b"{") else _text.decode(message).encode()
        except _UNDECODABLE as error:
            result.add_invalid(f"logEvents[{index}]: {str(error)[:200]}")
        else:
            _add(result, document, transport, value, str(entry.id))


def _split_trail(result: Split, records: Iterable[msgspec.Raw], transport: _Transport) -> None:
    """Take a CloudTrail file apart: {"Records": [record, ...]}."""
    for index, record in enumerate(records):
        try:
            event = trail_event(bytes(record), transport.received_ms)
        except InvalidEvent as error:
            result.add_invalid(f"Records[{index}]: {error.reason}")
        else:
            result.events.append(event)


def _not_data(result: Split, message_type: str) -> None:
    if message_type == "CONTROL_MESSAGE":
        result.dropped.append("control message")
    else:
        result.add_invalid(f"no CloudWatch Logs subscription document: messageType is {message_type[:100]!r}")


def _unwrap(result: Split, encoded: str, transport: _Transport) -> None:
    """Go on inside {"awslogs": {"data": base64 of the gzip}}, what a Lambda function is given; wrappers do not nest."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        result.add_invalid(f"awslogs.data: {error}")
        return
    plain, broken = gunzip(data, transport.max_plain_bytes)
    if broken or transport.wrapped:
        result.add_invalid(f"awslogs.data: {broken or 'holds another of its kind'}")
        return
    _split_document(result, plain, replace(transport, wrapped=True))


def log_event(
    result: Split,
    log_group: str,
    log_stream: str,
    message: bytes,
    event_id: str,
    *,
    account: str,
    region: str,
    received_ms: int,
    time_ms: int = 0,
) -> None:
    """Add one event of a log group to `result`, as a subscription or FilterLogEvents gives it."""
    if len(message) > MAX_VALUE_BYTES:
        result.add_invalid(f"a log event of {len(message)} bytes, more than the {MAX_VALUE_BYTES} that a topic takes")
        return
    cluster = cluster_of(log_group)
    result.seen(cluster, time_ms)
    result.events.append(
        RawEvent(
            value=message,
            format=format_of(log_stream),
            cluster=cluster,
            account=account,
            region=region,
            provider="aws",
            source_id=event_id,
            received_ms=received_ms or max(time_ms, 0),  # of a document in a file nobody knows when it was received
            log_stream=log_stream,
        )
    )


def _add(
    result: Split,
    document: _Document | _AnyDocument,
    transport: _Transport,
    value: bytes,
    event_id: str,
    time_ms: int = 0,
) -> None:
    # a subscription of the whole account brings the groups of every service
    if transport.groups and not document.logGroup.startswith(transport.groups):
        result.dropped.append("another log group")
        return
    log_event(
        result,
        document.logGroup,
        document.logStream,
        value,
        event_id,
        account=document.owner,
        region=transport.region,
        received_ms=transport.received_ms,
        time_ms=time_ms,
    )
