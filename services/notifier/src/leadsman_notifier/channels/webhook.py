"""Channel `webhook`: POST of a message's JSON form to a URL of the operator's, signed where a key is given.

The signature is that of Standard Webhooks in all but the secret's spelling: HMAC-SHA256 over `id.timestamp.body`,
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. The receiver checks it and
refuses a timestamp that is more than five minutes off; docs/notifications.md shows one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

from leadsman_common.alerts import to_json
from leadsman_common.settings import SettingError
from leadsman_notifier.channel import ChannelConfig, about
from leadsman_notifier.http import HttpTarget, check_url, idempotency_key
from leadsman_notifier.message import Message
from leadsman_notifier.net import Net
from leadsman_notifier.story import Story


class Config(ChannelConfig, frozen=True, kw_only=True, tag="webhook"):
    """A URL of your own."""

    url: Annotated[str, about("where it is posted")]
    token: Annotated[str, about("bearer token sent with it")] = ""
    hmac_key: Annotated[str, about("key that the body is signed with")] = ""
    ca_file: Annotated[str, about("certificates to trust instead of the usual ones")] = ""

    def open(self, net: Net) -> Webhook:
        """The channel."""
        check_url(self.url, net)
        if not (self.token.isascii() and (self.token + "-").isprintable()):
            raise SettingError("token holds what no header can")
        return Webhook(self, net)


def to_body(message: Message) -> dict[str, Any]:
    """An alert's JSON form (leadsman_common.alerts.to_json); of a digest its counts and some alerts."""
    if not message.is_digest:
        return to_json(message.alerts[0])
    return {
        "kind": "digest",
        "key": message.key,
        "level": message.level,
        "why": message.why,
        "count": message.total,
        "counts": [{"level": c.level, "rule": c.rule, "cluster": c.cluster, "count": c.count} for c in message.counts],
        "alerts": [to_json(alert) for alert in message.alerts],
    }


def render(message: Message) -> bytes:
    """The body: ASCII JSON."""
    return json.dumps(to_body(message), separators=(",", ":")).encode()


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhook:
    """Posts messages."""

    def __init__(self, config: Config, net: Net, clock: Callable[[], float] = time.time) -> None:
        self._key = config.hmac_key.encode()
        self._clock = clock
        headers = {"Authorization": f"Bearer {config.token}"} if config.token else {}
        self._target = HttpTarget(config.url, config.timeout_s, net, headers, config.ca_file)

    def send(self, message: Message, story: Story) -> None:  # noqa: ARG002 - for people
        """Post one message; its key is the Idempotency-Key and, signed, the webhook-id."""
        body = render(message)
        headers = {}
        if self._key:
            message_id, now_s = idempotency_key(message.key), int(self._clock())
            headers = {
                "webhook-id": message_id,
                "webhook-timestamp": str(now_s),
                "webhook-signature": signature(self._key, message_id, now_s, body),
            }
        self._target.post(body, message.key, headers)

    def close(self) -> None:
        """Close the connections."""
        self._target.close()
