"""What stands in a message of an SQS queue: files that came to S3, one CloudTrail event, or nothing of ours.

Pure; between `sqs.py`, which receives messages, and `objects.py`, which reads the files. Every form that AWS has for
the news of a file is understood, whichever way it went: from S3 itself, from CloudTrail's own SNS topic, through
EventBridge, and each of them wrapped by SNS. No address in a message is ever called: neither SubscribeURL nor
SigningCertURL (who may write to the queue is its policy's business, and a message names nothing but files).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_plus

import msgspec

from leadsman_common.errors import InvalidEvent

_MAX_WRAPPERS = 2
# of what CloudTrail puts into the bucket beside its log files
_NOT_LOGS = ("/CloudTrail-Digest/", "/CloudTrail-Insight/", "/CloudTrail-NetworkActivity/")


@dataclass(frozen=True, slots=True)
class Object:
    """A file in S3; `region` is the bucket's where the message tells it."""

    bucket: str
    key: str
    region: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class TrailEvent:
    """One CloudTrail record, its bytes untouched."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing of ours, and why."""

    reason: str


Found = Object | TrailEvent | Ignored


class _Bucket(msgspec.Struct):
    name: str


class _S3Object(msgspec.Struct):
    key: str
    versionId: str = ""


class _S3(msgspec.Struct):
    bucket: _Bucket
    object: _S3Object


class _S3Record(msgspec.Struct):
    eventSource: str = ""
    eventName: str = ""
    awsRegion: str = ""
    s3: _S3 | None = None


class _EventBridgeObject(msgspec.Struct):
    key: str
    version_id: str = msgspec.field(name="version-id", default="")


class _EventBridgeDetail(msgspec.Struct):
    bucket: _Bucket
    object: _EventBridgeObject


class _Body(msgspec.Struct):
    """Every form at once: which it is, its fields tell."""

    Records: list[_S3Record] | None = None
    Event: str = ""  # s3:TestEvent
    Type: str = ""  # SNS
    Message: str | None = None
    TopicArn: str = ""
    s3Bucket: str = ""
    s3ObjectKey: list[str] | str = ""
    detail_type: str = msgspec.field(name="detail-type", default="")
    source: str = ""
    region: str = ""
    detail: msgspec.Raw = msgspec.Raw()


_body = msgspec.json.Decoder(_Body)
_detail = msgspec.json.Decoder(_EventBridgeDetail)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


def read(body: bytes) -> list[Found]:
    """Tell what a message's body holds. Raises InvalidEvent for a body that is none of the forms.

    S3 (docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html): keys are URL-encoded there,
    and nowhere else.
    """
    for _ in range(_MAX_WRAPPERS + 1):
        message = _decode(body)
        if message.Message is None:
            return _found(message)
        if message.Type in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            return [Ignored("SNS confirmation")]
        if not message.Message.lstrip().startswith("{"):
            return [_validation(message.Message)]
        body = message.Message.encode()
    raise InvalidEvent("a message wrapped by SNS again and again")


def _decode(body: bytes) -> _Body:
    try:
        return _body.decode(body)
    except _UNDECODABLE as error:
        raise InvalidEvent(f"no notification: {str(error)[:200]}") from error


def _validation(text: str) -> Ignored:
    """CloudTrail tries its topic with a line of text."""
    if text.startswith("CloudTrail validation message"):
        return Ignored("test event")
    raise InvalidEvent(f"no notification: {text[:100]!r}")


def _found(message: _Body) -> list[Found]:
    if message.Event == "s3:TestEvent":
        return [Ignored("test event")]
    if message.Records is not None:
        return [_of_s3(record) for record in message.Records]
    if message.s3Bucket and message.s3ObjectKey:
        keys = [message.s3ObjectKey] if isinstance(message.s3ObjectKey, str) else message.s3ObjectKey
        return [_wanted(Object(message.s3Bucket, key)) for key in keys]
    if message.detail_type:
        return [_of_event_bridge(message)]
    raise InvalidEvent("no notification: none of the known fields")


def _of_s3(record: _S3Record) -> Found:
    if record.s3 is None:
        raise InvalidEvent("no notification: a record without s3")
    if not record.eventName.removeprefix("s3:").startswith("ObjectCreated"):
        return Ignored("no new file")
    key = unquote_plus(record.s3.object.key)
    return _wanted(Object(record.s3.bucket.name, key, record.awsRegion, record.s3.object.versionId))


def _of_event_bridge(message: _Body) -> Found:
    detail = bytes(message.detail)
    if message.detail_type == "Object Created" and message.source == "aws.s3":
        try:
            created = _detail.decode(detail)
        except _UNDECODABLE as error:
            raise InvalidEvent(f"no notification: {str(error)[:200]}") from error
        return _wanted(Object(created.bucket.name, created.object.key, message.region, created.object.version_id))
    if message.detail_type.endswith("via CloudTrail"):  # AWS API Call, AWS Console Sign In, AWS Service Event
        return TrailEvent(detail)
    return Ignored("another event of EventBridge")


def _wanted(file: Object) -> Found:
    if any(part in f"/{file.key}" for part in _NOT_LOGS):
        return Ignored("no log file")
    return file
