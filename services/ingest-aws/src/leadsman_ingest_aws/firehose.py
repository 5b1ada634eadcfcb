"""The HTTP endpoint that Amazon Data Firehose delivers to: its protocol, on the common HTTP server.

https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html: a POST with X-Amz-Firehose-Request-Id
and X-Amz-Firehose-Access-Key, a body {"requestId", "timestamp", "records": [{"data": base64}]}, gzip or not; answered
with {"requestId", "timestamp"} and, where it is no 200, "errorMessage". Firehose sends again what is not answered so.
A record that is damaged would be damaged again: it goes to the dead letters, and the delivery counts as taken.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence

import msgspec

from leadsman_common.http_server import Head, Refused, Reply, Taken, json_body, retry_after
from leadsman_ingest_aws.config import Settings
from leadsman_ingest_aws.envelope import Split, split
from leadsman_ingest_aws.intake import Carried, Intake

_VERSION = "1.0"
_SOURCE_ARN = re.compile(r"arn:aws[a-z-]*:firehose:([a-z0-9-]+):(\d{12}):deliverystream/(.+)")
_MAX_ID = 512


class _Record(msgspec.Struct):
    data: str


class _Delivery(msgspec.Struct):
    records: list[_Record]
    requestId: str = ""


_delivery = msgspec.json.Decoder(_Delivery)


class FirehoseEndpoint:
    """Takes deliveries. `keys` is asked at each one, so that keys can be rotated under it."""

    source = "firehose"

    def __init__(self, settings: Settings, intake: Intake, keys: Callable[[], Sequence[str]]) -> None:
        self._settings = settings
        self._intake = intake
        self._keys = keys

    def admit(self, head: Head) -> None:
        """As the protocol of endpoints says: 401 before anything is read of a request without a right key."""
        if head.path != self._settings.firehose_path:
            raise Refused(404, "not found")
        if not self._known(head.headers.get("X-Amz-Firehose-Access-Key", "")):
            raise Refused(401, "the access key is missing or wrong")
        if head.method != "POST":
            raise Refused(405, "only POST")
        version = head.headers.get("X-Amz-Firehose-Protocol-Version", _VERSION)
        if version != _VERSION:
            raise Refused(400, f"protocol version {version[:20]} is not {_VERSION}")

    def take(self, head: Head, body: bytearray) -> Taken:
        """As the protocol of endpoints says."""
        delivery = json_body(_delivery, body)
        request_id = _request_id(head) or delivery.requestId
        now_ms = time.time_ns() // 1_000_000
        arn = _SOURCE_ARN.fullmatch(head.headers.get("X-Amz-Firehose-Source-Arn", ""))
        region, name = (arn[1], arn[3]) if arn else ("", "firehose")
        made = self._intake.make(
            (
                self._carried(record.data, f"firehose:{name}/{request_id}/{index}", region, now_ms)
                for index, record in enumerate(delivery.records)
            ),
            now_ms,
        )
        reply = Reply(200, _json(request_id, now_ms), "application/json")
        return Taken(made.handed(name), reply, lambda: self._intake.count(name, made))

    def refusal(self, head: Head, refused: Refused) -> Reply:
        """As the protocol of endpoints says."""
        body = _json(_request_id(head), time.time_ns() // 1_000_000, refused.reason)
        return Reply(refused.status, body, "application/json", retry_after(refused))

    def _carried(self, data: str, source_id: str, region: str, now_ms: int) -> Carried:
        try:
            record = base64.b64decode(data, validate=True)
        except ValueError as error:
            return Carried(data.encode(), Split(invalid=f"no base64: {error}"), source_id, region)
        parts = split(
            record,
            region=region,
            received_ms=now_ms,
            max_plain_bytes=self._settings.max_plain_bytes,
            groups=self._settings.subscribed_groups,
        )
        return Carried(record, parts, source_id, region)

    def _known(self, key: str) -> bool:
        """Compare with every key, in a time that tells nothing of any of them, its length neither."""
        given = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        right = False
        for known in self._keys():
            right |= hmac.compare_digest(hashlib.sha256(known.encode()).digest(), given)
        return right and bool(key)


def _request_id(head: Head) -> str:
    return head.headers.get("X-Amz-Firehose-Request-Id", "")[:_MAX_ID]


def _json(request_id: str, now_ms: int, error: str = "") -> bytes:
    answer: dict[str, str | int] = {"requestId": request_id, "timestamp": now_ms}
    if error:
        answer["errorMessage"] = error
    return msgspec.json.encode(answer)
