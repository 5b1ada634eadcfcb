"""Files into raw events: what the ingest services do for a transport, done for a file.

A file may be gzip; it may be NDJSON, one JSON document (pretty-printed or not), several, or an array. Each document is
a record (a native event, a LogEntry) or an envelope that holds records: a CloudWatch subscription document, an
EventList, a Pub/Sub push body, a file of CloudTrail, a message of Event Hubs, an answer of Log Analytics, what Lambda
is given from Kinesis, SQS and SNS, what Firehose posts; what `aws logs filter-log-events`, `aws logs
get-query-results`, `aws cloudtrail lookup-events` and `gcloud logging read` print. A line may begin with a time, as
those of CloudWatch's exports do.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec.structs import replace

from leadsman_cli import aws, azure
from leadsman_common.envelopes import azure_records
from leadsman_common.errors import InvalidEvent
from leadsman_common.raw import RawEvent
from leadsman_ingest_aws.envelope import cluster_of, format_of, split, split_documents

SUFFIXES = {".json", ".ndjson", ".jsonl", ".log", ".gz", ".txt", ""}
FORMATS = (
    *("auto", "k8s-audit", "eks-audit", "eks-cloudwatch", "eks-authenticator", "cloudtrail", "gke-logentry", "aks"),
    *("falco", "guardduty", "scc"),
)
# envelopes, or several kinds of records: each record is known by its looks
_BY_LOOKS = frozenset({"auto", "eks-cloudwatch", "cloudtrail", "aks"})
MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_MS = 100_000_000_000_000  # the year 5138


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in a file that is no record."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file's transport would have known (--cluster, --account, --region)."""

    cluster: str = ""
    account: str = ""
    region: str = ""

    @property
    def provider(self) -> str:
        """Whose account it is; the alert ids hang on it. A native event does not say; twelve digits are AWS's."""
        digits = len(self.account) == 12 and self.account.isascii() and self.account.isdigit()
        return "aws" if digits else ""


Item = RawEvent | Unreadable
Progress = Callable[[int], None]


class _Marks(msgspec.Struct):
    """The keys that tell one kind of document from another; everything else is passed over.

    A sentinel stands for what is absent: msgspec cannot decode an optional Raw.
    """

    messageType: msgspec.Raw = msgspec.Raw()
    awslogs: msgspec.Raw = msgspec.Raw()
    items: msgspec.Raw = msgspec.Raw()
    events: msgspec.Raw = msgspec.Raw()
    entries: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    protoPayload: msgspec.Raw = msgspec.Raw()
    auditID: msgspec.Raw = msgspec.Raw()
    Records: msgspec.Raw = msgspec.Raw()
    records: msgspec.Raw = msgspec.Raw()
    results: msgspec.Raw = msgspec.Raw()
    value: msgspec.Raw = msgspec.Raw()
    tables: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()
    kinesis: msgspec.Raw = msgspec.Raw()
    Sns: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    Message: msgspec.Raw = msgspec.Raw()
    Events: msgspec.Raw = msgspec.Raw()
    QueryResultRows: msgspec.Raw = msgspec.Raw()
    Messages: msgspec.Raw = msgspec.Raw()
    selected: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="_1")


class _PushMessage(msgspec.Struct):
    data: msgspec.Raw
    messageId: str = ""


class _Carried(msgspec.Struct):
    """What a record of Lambda's event holds: of Kinesis, or of SNS."""

    data: str = ""
    Message: str = ""


class _LogLine(msgspec.Struct):
    message: str
    logStreamName: str = ""
    eventId: str = ""


class _LogEvent(msgspec.Struct):
    """A logEvent of CloudWatch by itself; some tools have parsed its message."""

    message: msgspec.Raw
    timestamp: Any = None


class _Field(msgspec.Struct):
    """A column of a row of CloudWatch Logs Insights."""

    field: str
    value: str


_NATIVE = b'{"kind":"Event"'  # how the API server's log backend begins a line
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell makes of a program's output
# how a line of CloudWatch's exports to S3 begins, and of `aws logs tail`, which may name the stream too
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (?:\S+ (?=\{))?")
# answers of the clouds' APIs and envelopes, by the field that holds their records
_ANSWERS: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "records": azure_records,
    "tables": azure.rows,
    "Events": aws.looked_up,
    "QueryResultRows": aws.queried,
    "Messages": aws.received,
}
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError, ValueError)


def files_below(paths: tuple[Path, ...]) -> list[Path]:
    """The files named, and of a folder every file that could be a log, hidden ones aside."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (p for p in sorted(path.rglob("*")) if p.is_file() and _could_be_a_log(p))
            found += [p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        else:
            found.append(path)
    return found


def _could_be_a_log(path: Path) -> bool:
    """By its name: audit.log, audit.log.3, CreateCluster.json.cloudtrail, audit."""
    return not SUFFIXES.isdisjoint(suffix.lower() for suffix in path.suffixes or [""])


def read(name: str, stream: BinaryIO, form: str, identity: Identity, progress: Progress) -> Iterator[Item]:
    """Every record of an open file, with its line. `progress` is told how many bytes of the file were read."""
    base = RawEvent(
        value=b"",
        format="" if form in _BY_LOOKS else form,
        cluster=identity.cluster,
        account=identity.account,
        region=identity.region,
        provider=identity.provider,
        file=name,
    )
    counted = _Counted(stream, progress)
    buffered = io.BufferedReader(counted, 1 << 20)
    plain: io.BufferedReader[Any] = buffered
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        plain = io.BufferedReader(gzip.GzipFile(fileobj=buffered), 1 << 20)
    try:
        if plain.peek(2)[:2] in _UTF16:
            plain = io.BufferedReader(io.BytesIO(plain.read().decode("utf-16").encode()))
        yield from _read_plain(plain, base)
    except UnicodeError as error:
        yield Unreadable(name, 0, f"not UTF-16, though it begins so: {error}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Unreadable(name, 0, f"gzip is damaged or cut short: {error}")
    except OSError as error:
        yield Unreadable(name, 0, str(error))


def _read_plain(plain: io.BufferedIOBase, base: RawEvent) -> Iterator[Item]:
    first = b""
    number = 0
    while not first.strip():
        first = plain.readline(MAX_LINE_BYTES)
        number += 1
        if not first:
            return
    first = first.removeprefix(b"\xef\xbb\xbf")
    if first.lstrip()[:1] == b"{" and _is_json(first):
        yield from _document(first.strip(), replace(base, line=number))
        for line in iter(lambda: plain.readline(MAX_LINE_BYTES), b""):
            number += 1
            text = line.strip()
            if text.startswith(_NATIVE):
                yield replace(base, value=text, line=number)
            elif text:
                yield from _document(text, replace(base, line=number))
        return
    if _STAMP.match(first):
        for at, line in enumerate(chain([first], iter(lambda: plain.readline(MAX_LINE_BYTES), b"")), number):
            if text := _STAMP.sub(b"", line, count=1).strip():
                yield from _document(text, replace(base, line=at))
        return
    yield from _whole(first + plain.read(), replace(base, line=number))


def _whole(data: bytes, base: RawEvent) -> Iterator[Item]:
    """A file that is not one record a line: an array, a pretty-printed document, several of them, or one cut record."""
    if data.lstrip()[:1] == b"[":
        yield from _array(msgspec.Raw(data), base)
        return
    documents = list(split_documents(data))
    if not any(isinstance(d, bytes) for d in documents):
        # perhaps one truncated native event on each line: the normalizer says what can be salvaged
        for number, one in enumerate(data.splitlines(), base.line):
            if text := one.strip():
                yield replace(base, value=text, line=number)
        return
    at = 0
    for document in documents:
        if isinstance(document, InvalidEvent):
            yield Unreadable(base.file, base.line, document.reason)
            continue
        start = max(data.find(document[:200], at), at)
        line = base.line + data.count(b"\n", 0, start)
        at = start + len(document)
        yield from _document(document, replace(base, line=line))


def _document(text: bytes, base: RawEvent) -> Iterator[Item]:
    """One JSON document: a record as it is, or the records of an envelope."""
    if base.format or text.startswith(_NATIVE):
        yield replace(base, value=text)
        return
    try:
        marks = _marks.decode(text)
    except _UNDECODABLE:
        yield replace(base, value=text)
        return
    if bytes(marks.messageType) or bytes(marks.awslogs):
        yield from _subscription(text, base)
    elif bytes(marks.protoPayload) or bytes(marks.auditID):
        yield replace(base, value=text)
    elif bytes(array := _array_in(marks)):
        yield from _array(array, base)
    elif bytes(marks.events):
        yield from _log_lines(marks.events, base)
    elif splits := [split_of for name, split_of in _ANSWERS.items() if bytes(getattr(marks, name))]:
        yield from _records(splits[0], text, base)
    elif bytes(marks.results):
        yield from _rows(text, marks.results, base)
    elif inner := bytes(marks.detail) or bytes(marks.selected):
        # EventBridge: {"detail-type", "source", "detail": a CloudTrail record}; S3 Select: {"_1": a record}
        yield replace(base, value=inner)
    elif bytes(marks.message):
        yield from _pushed(text, marks.message, base)
    elif any(bytes(raw) for raw in (marks.kinesis, marks.Sns, marks.body, marks.data, marks.Message)):
        yield from _carried(text, marks, base)
    else:
        yield replace(base, value=text)


def _array_in(marks: _Marks) -> msgspec.Raw:
    """What holds the records of an EventList, of gcloud's and CloudTrail's files, of Azure's REST API; or nothing."""
    if bytes(marks.value).startswith(b"["):
        return marks.value
    return next((raw for raw in (marks.items, marks.entries, marks.Records) if bytes(raw)), msgspec.Raw())


def _array(raw: msgspec.Raw, base: RawEvent) -> Iterator[Item]:
    try:
        items = _raws.decode(raw)
    except _UNDECODABLE as error:
        yield Unreadable(base.file, base.line, f"not a JSON array: {str(error)[:200]}")
        return
    data, at, line = bytes(raw), 0, base.line
    for item in items:
        text = bytes(item)
        start = max(data.find(text, at), at)
        line += data.count(b"\n", at, start)
        yield from _document(text, replace(base, line=line))
        line += text.count(b"\n")
        at = start + len(text)


def _subscription(text: bytes, base: RawEvent) -> Iterator[Item]:
    result = split(text, region=base.region)
    for event in result.events:
        yield replace(
            event,
            cluster=base.cluster or event.cluster,
            account=base.account or event.account,
            file=base.file,
            line=base.line,
        )
    if result.invalid:
        yield Unreadable(base.file, base.line, result.invalid)


def _records(split_of: Callable[[bytes], Iterable[bytes]], text: bytes, base: RawEvent) -> Iterator[Item]:
    """The records of an envelope of Azure's; Firehose's requests look like one: {"records": [{"data": base64}]}."""
    try:
        for record in split_of(text):
            yield from _document(record, base)
    except InvalidEvent as error:
        yield Unreadable(base.file, base.line, error.reason)


def _carried(text: bytes, marks: _Marks, base: RawEvent) -> Iterator[Item]:
    """A record of what Lambda is given, or of a Firehose request: base64 of documents, perhaps gzip; or their text.

    {"kinesis": {"data": base64}}, {"data": base64}, {"body": text} from SQS, {"Sns": {"Message": text}}.
    """
    try:
        if bytes(marks.kinesis) or bytes(marks.data):
            encoded = _carried_in.decode(marks.kinesis).data if bytes(marks.kinesis) else _text.decode(marks.data)
            inside = base64.b64decode(encoded, validate=True)
        else:
            said = _said(marks)
            inside = said.encode("utf-8", "replace")
    except _UNDECODABLE:
        yield replace(base, value=text)
        return
    for document in split_documents(inside):
        if isinstance(document, InvalidEvent):
            yield Unreadable(base.file, base.line, document.reason)
        else:
            yield from _document(document, base)


def _said(marks: _Marks) -> str:
    """The text that a message carries: of SNS, in Lambda's event or by itself, or of SQS."""
    if bytes(marks.Sns):
        return _carried_in.decode(marks.Sns).Message
    return _text.decode(marks.body if bytes(marks.body) else marks.Message)


def _log_lines(raw: msgspec.Raw, base: RawEvent) -> Iterator[Item]:
    """`aws logs filter-log-events` and get-log-events: {"events": [{"message", "logStreamName"?, "eventId"?}]}."""
    try:
        lines = _log_events.decode(raw)
    except _UNDECODABLE as error:
        yield Unreadable(base.file, base.line, f"events: {str(error)[:200]}")
        return
    for line in lines:
        kind = format_of(line.logStreamName) if line.logStreamName else ""
        yield replace(
            base, value=line.message.encode("utf-8", "replace"), format=kind, source_id=line.eventId, provider="aws"
        )


def _pushed(text: bytes, raw: msgspec.Raw, base: RawEvent) -> Iterator[Item]:
    """A Pub/Sub push body: {"message": {"data": base64, "messageId"}, "subscription"}; a tool may have decoded data."""
    try:
        message = _push.decode(raw)
        value = bytes(message.data)
        if not value.startswith(b"{"):
            value = base64.b64decode(_text.decode(value), validate=True)
    except _UNDECODABLE:
        yield _logged(text, base)
        return
    yield replace(base, value=value, format="gke-logentry", source_id=message.messageId, provider="gcp")


def _logged(text: bytes, base: RawEvent) -> RawEvent:
    """A logEvent, {"timestamp": ms, "message": text or what a tool made of it}; or the document as it is.

    Shippers wrap a record as the text of `message`, too, with a time of their own spelling.
    """
    try:
        event = _log_event.decode(text)
        message = bytes(event.message)
        value = message if message.startswith(b"{") else _text.decode(message).encode("utf-8", "replace")
    except _UNDECODABLE:
        return replace(base, value=text)
    if not isinstance(event.timestamp, int):
        return replace(base, value=value if value.startswith(b"{") else text)
    return replace(base, value=value, received_ms=event.timestamp if 0 < event.timestamp < MAX_MS else 0)


def _rows(text: bytes, raw: msgspec.Raw, base: RawEvent) -> Iterator[Item]:
    """`aws logs get-query-results`: {"results": [[{"field": "@message", "value"}, {"field": "@logStream", ...}]]}."""
    try:
        rows = _results.decode(raw)
    except _UNDECODABLE:
        yield replace(base, value=text)
        return
    for row in rows:
        found = {column.field: column.value for column in row}
        stream = found.get("@logStream", "")
        owner, _, group = found.get("@log", "").partition(":")
        yield replace(
            base,
            value=found.get("@message", "").encode("utf-8", "replace"),
            format=format_of(stream) if stream else "",
            cluster=base.cluster or cluster_of(group),
            account=base.account or owner,
            provider="aws",
            log_stream=stream,
        )


def _is_json(text: bytes) -> bool:
    try:
        _any.decode(text)
    except _UNDECODABLE:
        return False
    return True


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, inner: BinaryIO, progress: Progress) -> None:
        self._inner, self._progress = inner, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._progress(len(data))
        return len(data)


_marks = msgspec.json.Decoder(_Marks)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_push = msgspec.json.Decoder(_PushMessage)
_carried_in = msgspec.json.Decoder(_Carried)
_log_events = msgspec.json.Decoder(list[_LogLine])
_log_event = msgspec.json.Decoder(_LogEvent)
_results = msgspec.json.Decoder(list[list[_Field]])
_text = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder(msgspec.Raw)
