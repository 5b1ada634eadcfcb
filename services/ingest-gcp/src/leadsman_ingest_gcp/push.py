"""POST /pubsub/push: Pub/Sub's push subscriptions. From here to raw.gcp; a success is an ack, so it waits for Kafka.

The wrapped form, {"message": {"data": base64, "messageId", ...}, "subscription"}, and the unwrapped one, whose body is
the LogEntry and whose headers hold the rest: https://cloud.google.com/pubsub/docs/push, .../payload-unwrapping.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import Any, Final

import msgspec

from leadsman_common import metrics
from leadsman_common.errors import InvalidEvent
from leadsman_common.http_server import Head, Refused, Reply, Taken, plain_refusal
from leadsman_common.kafka import Outgoing, dead_raw
from leadsman_common.raw import Bad, RawEvent
from leadsman_common.receipts import Handed
from leadsman_common.topics import DEAD_LETTER_SUFFIX
from leadsman_ingest_gcp.config import SERVICE
from leadsman_ingest_gcp.envelope import FORMAT, split
from leadsman_ingest_gcp.tokens import BadToken, Expected, KeySet, UnknownKey, verify

PATH: Final = "/pubsub/push"
_ID_HEADER = "X-Goog-Pubsub-Message-Id"
_SUBSCRIPTION_HEADER = "X-Goog-Pubsub-Subscription-Name"


class _Message(msgspec.Struct):
    data: str = ""
    messageId: str = ""


class _Push(msgspec.Struct):
    message: _Message
    subscription: str


_push = msgspec.json.Decoder(_Push)
_any = msgspec.json.Decoder(msgspec.Raw)
_UNDECODABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


class Push:
    """An endpoint of the common HTTP server."""

    source = "push"

    def __init__(self, topic: str, keys: KeySet, expected: Expected, log: Any) -> None:
        self._topic, self._keys, self._expected, self._log = topic, keys, expected, log
        self._subscription_label = metrics.Bounded(200)

    def admit(self, head: Head) -> None:
        """Refuse before the body is read: 404, 405, 401; 503 while there are no keys to verify with."""
        if head.path != PATH:
            raise Refused(404, f"POST {PATH}")
        if head.method != "POST":
            raise Refused(405, "messages are posted")
        keys = self._keys.now()
        if not keys:
            raise Refused(503, "not ready to verify tokens: try again", retry_after_s=5)
        kind, _, token = head.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refused(401, "no bearer token")
        try:
            verify(token.strip(), keys, self._expected, time.time())
        except UnknownKey as error:
            self._keys.look()
            raise Refused(401, str(error)) from None
        except BadToken as error:
            raise Refused(401, str(error)) from None

    def take(self, head: Head, body: bytearray) -> Taken:
        """Make a record of the message. What cannot be one goes to the dead letters: refused it would come for ever."""
        now_ms = time.time_ns() // 1_000_000
        subscription, one = read(head, bytes(body), now_ms)
        if isinstance(one, Bad):
            self._log.warning("bad message", reason=one.reason, subscription=subscription, message_id=one.raw.source_id)
            record = dead_raw(self._topic, one, SERVICE)
        else:
            record = Outgoing(self._topic, one.key(), one.value, one.headers())

        def acknowledged() -> None:
            label = self._subscription_label(subscription or "push")
            metrics.RECEIVED.labels(SERVICE, label).inc()
            metrics.LAST_RECEIVED.labels(SERVICE, label).set(now_ms / 1000)
            if isinstance(one, Bad):
                metrics.DEAD_LETTERED.labels(SERVICE, self._topic + DEAD_LETTER_SUFFIX).inc()
            else:
                metrics.PRODUCED.labels(SERVICE, self._topic).inc()

        return Taken(Handed([record], {subscription or "push": 1}), Reply(204), acknowledged)

    def refusal(self, head: Head, refused: Refused) -> Reply:  # noqa: ARG002 - every request has the same form
        """The reason as text; anything but success makes Pub/Sub deliver the message again."""
        return plain_refusal(refused)


def read(head: Head, body: bytes, now_ms: int) -> tuple[str, RawEvent | Bad]:
    """A request's subscription (empty: not known) and its event. Raises Refused where the body is no push at all."""
    unwrapped_id = head.headers.get(_ID_HEADER, "")
    try:
        pushed = None if unwrapped_id else _push.decode(body)
    except _UNDECODABLE:
        pushed = None
    if pushed is not None:
        message_id, subscription = pushed.message.messageId, pushed.subscription
        try:
            data = base64.b64decode(pushed.message.data, validate=True)
        except (ValueError, binascii.Error):
            return subscription, Bad(_raw(body, message_id, now_ms), "message.data is no base64")
    else:
        if not unwrapped_id:  # an unwrapped subscription that does not write metadata: it must be JSON at least
            _is_json(body)
        message_id = unwrapped_id or hashlib.blake2b(body, digest_size=16).hexdigest()
        subscription, data = head.headers.get(_SUBSCRIPTION_HEADER, ""), body
    try:
        return subscription, split(data, message_id, now_ms)
    except InvalidEvent as error:
        return subscription, Bad(_raw(data, message_id, now_ms), error.reason)


def _is_json(body: bytes) -> None:
    try:
        found = bytes(_any.decode(body))
    except _UNDECODABLE as error:
        raise Refused(400, f"no message: {str(error)[:200]}") from error
    if not found.startswith(b"{"):
        raise Refused(400, "no message: not an object")


def _raw(data: bytes, message_id: str, now_ms: int) -> RawEvent:
    return RawEvent(value=data, format=FORMAT, provider="gcp", source_id=message_id, received_ms=now_ms)
