"""What outlives a day is also written to the compacted topic `state`: a Put as a record, and back.

The key names the member, so a repeat takes the place of what it repeats. Where a later Put may take another's place in
the state (keep earliest or last), the time is in the key too: workers may write in another order than they put, and
the state sorts it out when it is rebuilt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from leadsman_common.alerts import Alert
from leadsman_common.kafka import Outgoing
from leadsman_detector.state import DAY_MS, Keep, Put

VERSION = 1


@dataclass(frozen=True, slots=True)
class Topics:
    """The detector's topics, as the broker calls them."""

    events: str
    alerts: str
    state: str
    shadow: str

    def of(self, alert: Alert) -> str:
        """Where an alert goes."""
        return self.shadow if alert.get("shadow") else self.alerts


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """A Put on the topic; fields are only ever added at the end."""

    version: int
    cluster: str
    group: str
    series: str
    time_ms: int
    member: bytes
    ttl_ms: int
    cap: int
    keep: Keep
    name: bytes


_DECODER: msgspec.msgpack.Decoder[Kept] = msgspec.msgpack.Decoder(Kept)


def outlives_a_day(put: Put) -> bool:
    """Whether the last day of audit.events would not bring it back."""
    return put.ttl_ms > DAY_MS


def outgoing(topic: str, put: Put) -> Outgoing:
    """The record of a Put."""
    kept = Kept(
        VERSION,
        _text(put.cluster),
        _text(put.group),
        _text(put.series),
        put.time_ms,
        put.member,
        put.ttl_ms,
        put.cap,
        put.keep,
        put.name,
    )
    name = put.name.hex() if put.name else hashlib.blake2b(put.member, digest_size=16).hexdigest()
    time = "" if put.keep == "latest" else str(put.time_ms)
    key = "\0".join((kept.cluster, kept.group, kept.series, name, time))
    return Outgoing(topic, key.encode(), msgspec.msgpack.encode(kept))


def put_of(value: bytes | None, written_ms: int, now_ms: int) -> Put | None:
    """The Put of a record; None for what has expired since it was written, and for what another release wrote."""
    if not value:
        return None
    try:
        kept = _DECODER.decode(value)
    except msgspec.MsgspecError:
        return None
    left_ms = written_ms + kept.ttl_ms - now_ms
    if kept.version != VERSION or left_ms <= 0:
        return None
    return Put(
        kept.series, kept.cluster, kept.time_ms, kept.member, left_ms, kept.cap, kept.group, kept.keep, kept.name
    )


def _text(text: str) -> str:
    """Text that msgpack takes: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
