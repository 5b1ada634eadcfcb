"""What AWS's command line prints of logs, taken apart: the records that stand as text inside its answers.

Pure; `readers` asks it for files. What CloudWatch Logs and Lambda carry is `leadsman_ingest_aws.envelope`'s.
"""

from __future__ import annotations

import msgspec

from leadsman_common.envelopes import UNDECODABLE
from leadsman_common.errors import InvalidEvent

_EVENT_JSON = "eventJson"


class _Event(msgspec.Struct):
    CloudTrailEvent: str


class _Lookup(msgspec.Struct):
    Events: list[_Event]


class _Query(msgspec.Struct):
    QueryResultRows: list[list[dict[str, str | None]]]


class _Message(msgspec.Struct):
    Body: str


class _Received(msgspec.Struct):
    Messages: list[_Message]


_lookup = msgspec.json.Decoder(_Lookup)
_query = msgspec.json.Decoder(_Query)
_received = msgspec.json.Decoder(_Received)


def looked_up(data: bytes) -> list[bytes]:
    """`aws cloudtrail lookup-events`: {"Events": [{"CloudTrailEvent": the text of a record}]}. Raises InvalidEvent.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    try:
        return [_bytes(event.CloudTrailEvent) for event in _lookup.decode(data).Events]
    except UNDECODABLE as error:
        raise InvalidEvent(f"no answer of lookup-events: {str(error)[:200]}") from error


def queried(data: bytes) -> list[bytes]:
    """`aws cloudtrail get-query-results`: the column eventJson of each row. Raises InvalidEvent where there is none.

    {"QueryResultRows": [[{"eventJson": the text of a record}, {"eventTime": ...}]]}.
    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_GetQueryResults.html
    """
    try:
        rows = _query.decode(data).QueryResultRows
    except UNDECODABLE as error:
        raise InvalidEvent(f"no answer of get-query-results: {str(error)[:200]}") from error
    found = [column.get(_EVENT_JSON) for row in rows for column in row if _EVENT_JSON in column]
    if len(found) < len(rows):
        raise InvalidEvent(f"rows of CloudTrail Lake without the column {_EVENT_JSON}: select it")
    return [_bytes(text) for text in found if text]


def received(data: bytes) -> list[bytes]:
    """`aws sqs receive-message`: {"Messages": [{"Body": text}]}. Raises InvalidEvent."""
    try:
        return [_bytes(message.Body) for message in _received.decode(data).Messages]
    except UNDECODABLE as error:
        raise InvalidEvent(f"no answer of receive-message: {str(error)[:200]}") from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
